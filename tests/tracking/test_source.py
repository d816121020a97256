"""The dataset source: what it claims, what it writes, what it reads, and that it cannot break `import mlflow`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracking_fakes import version

import mlflow_dsver as dsver
from mlflow_dsver.errors import CorruptObject, InvalidReference, NotFound
from mlflow_dsver.record.dataset_source import MAX_JSON
from mlflow_dsver.tracking.source import DatasetVersionSource

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["reference", "requested", "usage_bytes", "content_digest", "url", "schema", "later"])


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=dict(os.environ)
    )


@pytest.mark.parametrize(
    "first", ["mlflow", "mlflow_dsver", "mlflow_dsver.tracking.source", "mlflow_dsver.tracking.api", "mlflow.data"]
)
def test_the_source_is_registered_whatever_is_imported_first(first):
    """MLflow loads the entry point in the middle of its own import, which may be in the middle of ours."""
    done = python(
        "import warnings; warnings.simplefilter('error', UserWarning)\n"
        f"import {first}, mlflow, mlflow_dsver, mlflow.data\n"
        "mlflow_dsver.start_run\n"
        "from mlflow.data.dataset_source_registry import get_registered_sources\n"
        "from mlflow_dsver.tracking.source import DatasetVersionSource\n"
        "assert get_registered_sources().count(DatasetVersionSource) == 1\n"
    )
    assert done.returncode == 0, done.stderr


def test_import_mlflow_survives_whatever_is_broken_in_this_package():
    """Every module of ours but the entry module, and the one with its fields, may be missing or broken."""
    done = python(
        "import sys, importlib.abc\n"
        "class Broken(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        parts = name.split('.')\n"
        "        spared = '.'.join(parts[1:]) in "
        "('', '_former_names', '_version', 'record', 'record.dataset_source', 'tracking', 'tracking.source')\n"
        "        if parts[0] == 'mlflow_dsver' and not spared: raise RuntimeError('broken on purpose')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "import mlflow, mlflow.data\n"
        "from mlflow.data.dataset_source_registry import get_registered_sources\n"
        "source = next(each for each in get_registered_sources() if each.__name__ == 'DatasetVersionSource')\n"
        "assert source._can_resolve('local://digits') is False\n"
        "try:\n"
        "    import mlflow_dsver.model.refs\n"
        "except RuntimeError: print('broken indeed')\n"
    )
    assert done.stdout == "broken indeed\n", done.stderr


def test_our_share_of_import_mlflow_is_below_10_ms():
    """The modules that MLflow's import loads because of us, timed by Python itself; at the latest the third time."""
    shares = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import mlflow, mlflow.data"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        lines = [line.split("|") for line in done.stderr.splitlines() if "|" in line]
        ours = [
            (fields[2].strip(), int(fields[0].rpartition(":")[2])) for fields in lines if "mlflow_dsver" in fields[2]
        ]
        names = {name for name, _ in ours}
        assert names <= {
            "mlflow_dsver",
            "mlflow_dsver._former_names",
            "mlflow_dsver._version",
            "mlflow_dsver.record",
            "mlflow_dsver.record.dataset_source",
            "mlflow_dsver.tracking",
            "mlflow_dsver.tracking.source",
        }
        shares.append(sum(microseconds for _, microseconds in ours) / 1000)
        if shares[-1] < 10:
            return
    pytest.fail(f"{shares} ms")


@pytest.mark.parametrize(
    ("raw", "claimed"),
    [
        ("local://digits", True),
        ("LOCAL://digits@v1", True),
        ("paperspace://dst364npcw6ccok@fo5rp4m", True),
        ("clarifai://me/app/cats", True),
        ("local://not a reference@@", True),
        ("s3://bucket/key", False),
        ("https://clarifai.com/me/app/datasets/cats", False),
        ("file:///tmp/x", False),
        ("data.csv", False),
        ("local:/x", False),
        ("dst364npcw6ccok:fo5rp4m", False),
        ("", False),
        ("\x00", False),
        (b"local://digits", False),
        (None, False),
        (7, False),
        (["local://digits"], False),
        (dsver.parse("local://digits"), True),
        (version(), True),
    ],
)
def test_it_claims_what_is_ours_and_nothing_else(raw, claimed):
    assert DatasetVersionSource._can_resolve(raw) is claimed


@given(st.text(max_size=60) | st.binary(max_size=20) | st.integers() | JSON)
def test_claiming_never_raises(raw):
    assert DatasetVersionSource._can_resolve(raw) in (True, False)


@given(st.dictionaries(KEYS, JSON, max_size=8))
def test_reading_never_raises_and_what_is_read_stays_below_the_limit(fields):
    """Whatever somebody wrote into a run's source: it can be read, shown, and written again."""
    source = DatasetVersionSource.from_dict(fields)
    written = source.to_dict()
    assert DatasetVersionSource.from_dict(written).to_dict() == written
    assert written.get("url") is None or written["url"].lower().startswith(("http://", "https://"))


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)//https://",
        "data:text/html,<script>",
        "ftp://example.org",
        "//example.org",
        " https://example.org",
        "https://example.org/\nx",
        'https://example.org/"onclick=x',
        "https://example.org/" + "x" * 600,
    ],
)
def test_only_short_web_addresses_become_links(url):
    assert "url" not in DatasetVersionSource("fake://cats@v1", url=url).to_dict()


@given(
    dataset=st.text(st.characters(categories=("L", "N", "S", "Zs")), min_size=1, max_size=130),
    requested=st.text(max_size=1600),
    size=st.none() | st.integers(0, 2**80),
)
def test_the_json_stays_below_2_kilobytes(dataset, requested, size):
    try:
        ref = dsver.DatasetRef("fake", dataset, "v" * 30)
    except InvalidReference:
        return
    source = DatasetVersionSource(
        str(ref),
        requested=requested,
        usage_bytes=size,
        content_digest="blake3:" + "0" * 64,
        url="https://e.org/" + "x" * 450,
        dataset_name=requested,
    )
    assert len(source.to_json().encode()) <= MAX_JSON
    assert json.loads(source.to_json())["dataset"] == dataset


def test_keys_of_a_later_schema_are_passed_over():
    fields = {**DatasetVersionSource.of(version()).to_dict(), "schema": 2, "colour": "blue", "files": {"a": 1}}
    assert DatasetVersionSource.from_dict(fields) == DatasetVersionSource.of(version())


def test_a_record_that_names_no_version_cannot_be_loaded():
    for reference in ("", "local://digits", "javascript:alert(1)"):
        with pytest.raises(InvalidReference):
            DatasetVersionSource.from_dict({"reference": reference}).load()


def test_a_version_that_is_gone_or_has_other_content_is_not_loaded(digits):
    source = DatasetVersionSource.of(digits)
    other = DatasetVersionSource(source.reference, content_digest="blake3:" + "0" * 64)
    with pytest.raises(CorruptObject, match="differs from what was recorded"):
        other.load()
    dsver.get_provider("local").delete(digits)
    with pytest.raises(NotFound):
        source.load()


def test_loading_again_gives_the_same_folder(digits):
    source = DatasetVersionSource.of(digits)
    first = source.load()
    assert source.load() == first
