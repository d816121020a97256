"""How people write references to the Hub, which of them mean the same, and what MLflow recorded."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_dsver.errors import InvalidReference, NotFound
from mlflow_dsver.model.refs import parse
from mlflow_dsver.providers.hf import HfProvider
from mlflow_dsver.providers.hf.emulator import HfEmulator
from mlflow_dsver.providers.hf.info import normalised, spelling
from mlflow_dsver.providers.hf.recorded import from_mlflow

SHA = "0123456789" * 4


def meant(text: str) -> tuple[str, str | None]:
    ref = parse(text)
    place, selector = normalised(ref.dataset, ref.selector)
    return place.dataset, selector


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://datasets/o/n", ("datasets/o/n", None)),
        ("hf://datasets/squad@v1", ("datasets/squad", "v1")),
        ("hf://o/n@main", ("o/n", "main")),
        ("hf://models/o/n@main", ("o/n", "main")),
        ("hf://spaces/o/n", ("spaces/o/n", None)),
        ("hf://datasets/o/n/data/train.csv@v1", ("datasets/o/n/data/train.csv", "v1")),
        ("hf://datasets/o/n@feature/x", ("datasets/o/n", "feature/x")),
        ("hf://datasets/o/n@refs/convert/parquet", ("datasets/o/n", "refs/convert/parquet")),
        ("hf://datasets/o/n@refs%2Fpr%2F3", ("datasets/o/n", "refs/pr/3")),
        ("hf://datasets/o/n@refs/pr/3/data", ("datasets/o/n/data", "refs/pr/3")),
        ("hf://datasets/o/n@refs%2Fpr%2F3/data/a b.csv", ("datasets/o/n/data/a b.csv", "refs/pr/3")),
        ("hf://datasets/o/n@~parquet", ("datasets/o/n", "refs/convert/parquet")),
        ("hf://datasets/o/n@~parquet/default/0.parquet", ("datasets/o/n/default/0.parquet", "refs/convert/parquet")),
        (f"hf://datasets/o/n@{SHA}/data", ("datasets/o/n/data", SHA)),
        ("hf://datasets/o/n@main/data", ("datasets/o/n/data", "main")),
        ("https://huggingface.co/datasets/o/n", ("datasets/o/n", None)),
        ("https://hf.co/o/n", ("o/n", None)),
        ("https://huggingface.co/datasets/o/n/tree/refs%2Fpr%2F3/data", ("datasets/o/n/data", "refs/pr/3")),
        ("https://huggingface.co/datasets/o/n/blob/main/a%20b.csv?download=1", ("datasets/o/n/a b.csv", "main")),
        (f"https://huggingface.co/o/n/commit/{SHA}", ("o/n", SHA)),
    ],
)
def test_spellings_that_mean_the_same(text: str, expected: tuple[str, str | None]) -> None:
    assert meant(text) == expected
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "hf://buckets/o/b",
        "hf://kernels/o/k",
        "hf://datasets",
        "hf://datasets/squad@main/plain_text",
        "hf://datasets/o/../n",
        "hf://datasets/o/n/..%2F..",
        "hf://datasets/o/n@../../x",
    ],
)
def test_what_names_no_version_of_a_repository_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        meant(text)


@pytest.mark.parametrize(
    "page",
    [
        "someone",
        "docs/hub",
        "datasets/o/n/discussions/3",
        "datasets/o/n/viewer/default/train",
        "",
        "datasets",
        "papers/1",
    ],
)
def test_other_pages_of_the_hub_are_no_spelling(page: str) -> None:
    assert spelling(f"https://huggingface.co/{page}") is None
    assert spelling(f"https://huggingface.co.elsewhere.example/{page}") is None


def test_what_a_revision_means_is_resolved_to_the_commit(hub: HfEmulator, provider: HfProvider) -> None:
    """Branches, tags, refs, the beginning of an id, in either case; with a path behind it where only one fits."""
    name = "datasets/o/n"
    first = hub.commit(name, {"data/a.csv": b"1\n", "b.txt": b"2"})
    second = hub.commit(name, {"data/a.csv": b"3\n"})
    hub.tag(name, "v1.0", first)
    hub.commit(name, {"data/a.csv": b"4\n"}, ref="refs/heads/feature/x")
    converted = hub.commit(name, {"default/train.parquet": b"PAR1"}, ref="refs/convert/parquet")
    for selector, commit in [
        ("latest", second), ("main", second), ("v1.0", first), (first, first), (first.upper(), first),
        (first[:9], first), ("refs/convert/parquet", converted), ("refs%2Fconvert%2Fparquet", converted),
    ]:  # fmt: skip
        found = provider.resolve(parse(f"hf://{name}@{selector}"))
        assert (found.ref.dataset, found.id) == (name, commit), selector
    for selector, path, size in [("v1.0/data", "data", 2), ("feature/x/data/a.csv", "data/a.csv", 2)]:
        found = provider.resolve(parse(f"hf://{name}@{selector}"))
        assert (found.ref.dataset, found.usage_bytes) == (f"{name}/{path}", size)
    for selector in ("v2.0", "feature", "data", "feature/y", "0" * 7):
        with pytest.raises(NotFound, match="no such branch, tag, ref or commit"):
            provider.resolve(parse(f"hf://{name}@{selector}"))
    with pytest.raises(NotFound, match=r"v1\.0"):
        provider.resolve(parse(f"hf://{name}@v1"))


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("data/*.csv", ["a.csv", "b.csv"]),
        ("data/?.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["data/a.csv", "data/b.csv", "data/more/deep/c.csv", "top.csv"]),
        ("data/**/c.csv", ["more/deep/c.csv"]),
        ("*.csv", ["top.csv"]),
        ("data/*/*/*", ["more/deep/c.csv"]),
        ("data/**", ["a.csv", "b.csv", "b.txt", "more/deep/c.csv"]),
        ("no/*.csv", []),
        ("data/[ab].csv", []),
        ("data/*.c.v", []),
    ],
)
def test_a_pattern_means_the_files_that_match_it(
    hub: HfEmulator, provider: HfProvider, pattern: str, files: list[str]
) -> None:
    """As in addresses that pandas, Polars and DuckDB read; `*` stays within a name."""
    name = "datasets/o/n"
    names = ["data/a.csv", "data/b.csv", "data/b.txt", "data/more/deep/c.csv", "top.csv"]
    hub.commit(name, {path: path.encode() for path in names})
    if not files:
        with pytest.raises(NotFound, match=r"no (such )?file or folder"):
            provider.resolve(parse(f"hf://{name}/{pattern}"))
        return
    version = provider.resolve(parse(f"hf://{name}/{pattern}"))
    assert parse(str(version)) == version.ref
    assert [entry.path for entry in provider.manifest(version).entries] == files
    with provider.open(version, files[0]) as stream:
        assert stream.read().decode().endswith(files[0])


@pytest.mark.parametrize("hub", [{"short-commit": "404"}], indirect=True)
def test_the_beginning_of_an_id_is_searched_where_the_hub_does_not_know_it(
    hub: HfEmulator, provider: HfProvider
) -> None:
    commit = hub.commit("o/model", {"a": b"1"})
    hub.commit("o/model", {"a": b"2"})
    assert provider.resolve(parse(f"hf://o/model@{commit[:7]}")).id == commit
    with pytest.raises(NotFound):
        provider.resolve(parse(f"hf://o/model@{commit[:6]}"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"path": "o/n", "revision": SHA}, (f"hf://datasets/o/n@{SHA}", f"hf://datasets/o/n@{SHA}")),
        ({"path": "o/n", "revision": "main"}, ("hf://datasets/o/n", "hf://datasets/o/n@main")),
        ({"path": "o/n", "revision": SHA[:9]}, ("hf://datasets/o/n", f"hf://datasets/o/n@{SHA[:9]}")),
        ({"path": "squad", "revision": None}, ("hf://datasets/squad", "hf://datasets/squad")),
        ({"path": "csv", "data_files": "x.csv"}, None),
        (
            {"path": "csv", "data_files": {"train": [f"hf://datasets/o/n@{SHA}/a.csv", "b.csv"], "test": "c.csv"}},
            (f"hf://datasets/o/n@{SHA}", f"hf://datasets/o/n@{SHA}"),
        ),
        (
            {"path": "parquet", "data_files": ["hf://datasets/o/n@main/a.parquet", "hf://../x", "s3://b/k"]},
            ("hf://datasets/o/n", "hf://datasets/o/n@main"),
        ),
        ({"path": "./data"}, None),
        ({"path": "/data/x"}, None),
        ({"path": "script.py"}, None),
        ({"path": "a/b/c"}, None),
        ({"path": None}, None),
        ({}, None),
    ],
)
def test_a_source_of_mlflow_is_exact_only_with_a_commit(
    source: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    found = [(each.reference, each.requested) for each in from_mlflow(source)]
    assert found == ([] if expected is None else [expected])
