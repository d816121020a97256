"""Finding a file in versions, runs and models with the index: it is updated, rebuilt if damaged, and complete."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import mlflow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.checks.manifest_index import Index
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.manifests import FileEntry, Manifest


def entry(path: str, content: int) -> FileEntry:
    from blake3 import blake3

    return FileEntry(path, content, blake3(str(content).encode()).hexdigest())


def file_of(manifest: Manifest) -> io.BytesIO:
    return io.BytesIO(manifest.to_bytes())


manifests = st.lists(
    st.dictionaries(st.text("abcd/é\"", min_size=1, max_size=3).filter(
        lambda path: all(part not in ("", ".", "..") for part in path.split("/"))
    ), st.integers(0, 9), min_size=1, max_size=30), max_size=5,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(manifests)
def test_the_index_finds_exactly_what_is_in_the_manifests(described: list[dict[str, int]]) -> None:
    made = [Manifest(tuple(entry(path, content) for path, content in sorted(each.items()))) for each in described]
    with Index(Path("/dev/null/never")) as index:  # cannot be written, so it lives in memory
        for each in made:
            assert index.add(file_of(each)) == each.digest
        known = {each.digest: each for each in made}
        for content in range(10):
            wanted = entry("x", content).digest
            expected = {(d, e) for d, m in known.items() for e in m.entries if e.digest == wanted}
            assert set(index.by_content(f"blake3:{wanted}")) == expected
        for path in {"a", "b/c", "é"}:
            assert set(index.by_path(path)) == {(d, e) for d, m in known.items() for e in m.entries if e.path == path}


def test_many_equal_files_are_all_found(tmp_path: Path) -> None:
    manifest = Manifest(tuple(entry(f"{number:05}", 0 if number < 6000 else number) for number in range(7000)))
    with Index(tmp_path / "index") as index:
        index.add(file_of(manifest))
        assert len(list(index.by_content("blake3:" + entry("", 0).digest))) == 6000
        for number in (6000, 6999):
            assert [found.path for _, found in index.by_content("blake3:" + entry("", number).digest)] == [
                f"{number:05}"
            ]


@pytest.fixture
def world(digits_folder: Path, tracking: object) -> dict[str, str]:
    """A run on `local://digits`, with a registered model, and one on other data."""
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits@latest"}, run_name="fit") as run:
        pass
    client = MlflowClient()
    client.create_registered_model("reader")
    client.create_model_version("reader", f"runs:/{run.info.run_id}/model", run_id=run.info.run_id)
    return {"run": run.info.run_id, "version": str(run.datasets["training"].version)}


def test_a_copy_of_a_file_a_digest_and_a_path_find_the_same(world: dict[str, str], digits_folder: Path) -> None:
    copy = digits_folder.parent / "copy.bin"
    shutil.copyfile(digits_folder / "0" / "2.txt", copy)
    by_copy = dsver.contains(copy)
    by_digest = dsver.contains(digest=by_copy.asked)
    by_path = dsver.contains(path="0/2.txt")
    for report in (by_copy, by_digest, by_path):
        [holding] = report.holdings
        assert holding.versions == (world["version"],)
        assert [use.run_id for use in holding.uses] == [world["run"]]
        assert holding.models == {world["run"]: ("reader version 1",)}
        assert [found.path for found in holding.files] == ["0/2.txt"]
    assert not dsver.contains(path="0/2")


def test_new_runs_and_versions_are_seen_at_once_and_deleted_runs_go(
    world: dict[str, str], digits_folder: Path
) -> None:
    assert not dsver.contains(path="new.txt")
    (digits_folder / "new.txt").write_text("new")
    dsver.create_version("local://digits", digits_folder)
    assert len(dsver.contains(path="new.txt").holdings) == 1
    with dsver.start_run(inputs={"test": "local://digits@latest"}) as run:
        pass
    [holding] = dsver.contains(path="new.txt").holdings
    assert [use.run_id for use in holding.uses] == [run.info.run_id]
    MlflowClient().delete_run(run.info.run_id)
    [holding] = dsver.contains(path="new.txt", refresh="all").holdings
    assert holding.uses == ()


def test_it_rebuilds_itself_from_the_runs_when_index_and_store_are_gone(
    world: dict[str, str], tmp_path: Path
) -> None:
    assert dsver.contains(path="0/2.txt")
    shutil.rmtree(tmp_path / "dsver-home")
    [holding] = dsver.contains(path="0/2.txt").holdings
    assert holding.versions == (world["version"],)


def test_a_damaged_index_is_made_anew(world: dict[str, str], tmp_path: Path) -> None:
    index = tmp_path / "dsver-home" / "cache" / "contents.sqlite"
    assert dsver.contains(path="0/2.txt")
    size = index.stat().st_size
    with index.open("r+b") as stream:
        stream.seek(size // 2)
        stream.write(b"\xff" * (size - size // 2))
    assert dsver.contains(path="0/2.txt", refresh="all")
    index.write_bytes(b"no database at all")
    assert dsver.contains(path="0/2.txt")


def test_versions_whose_files_nobody_listed_are_named(world: dict[str, str]) -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("dsver.training.version", "paperspace://dst364npcw6ccok@fo5rp4m")
        mlflow.set_tag("dsver.schema", "1")
    report = dsver.contains(path="0/2.txt")
    assert report.unlisted == ("paperspace://dst364npcw6ccok@fo5rp4m",)
    assert run.info.run_id not in {use.run_id for each in report.holdings for use in each.uses}


def test_a_tracking_server_that_is_down_is_said_and_the_rest_answers(
    world: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_dsver.errors import TrackingError
    from mlflow_dsver.tracking.queries import Tracking

    def down(*_: object, **__: object) -> None:
        raise TrackingError("down")

    monkeypatch.setattr(Tracking, "linked_runs", down)
    report = dsver.contains(path="0/2.txt")
    assert report
    assert report.failures == ("the tracking server: down",)
    assert report.as_of is None


def test_the_command(world: dict[str, str], digits_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["contains", str(digits_folder / "labels.csv")]) == 0
    shown = capsys.readouterr().out
    assert f"training of run fit ({world['run']})" in shown
    assert "model reader version 1" in shown
    assert command(["contains", "--path", "labels.csv", "--json", "--refresh", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["found"][0]["versions"] == [world["version"]]
    assert command(["contains"]) == 2
    assert command(["contains", "--digest", "abc"]) == 2


def test_exactly_one_thing_is_looked_for() -> None:
    for wrong in ({}, {"path": "a", "digest": "b"}, {"digest": "a" * 63}):
        with pytest.raises(InvalidArgument):
            dsver.contains(**wrong)
