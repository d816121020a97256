"""What verifying a run says after each thing that can happen to the table that it used.

The run's record is real (MLflow on SQLite), and everything is done to real tables by deltalake's own means.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from deltalake import DeltaTable
from lakes import Lake, written_later

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import InputReport, Verdict
from mlflow_dsver.errors import CorruptObject, DsverError, NotFound
from mlflow_dsver.model.refs import parse
from mlflow_dsver.providers.delta import DeltaProvider, snapshot

pytestmark = pytest.mark.usefixtures("tracking")


def used(lake: Lake, selector: str = "1") -> str:
    with dsver.start_run(inputs={"training": f"delta://{lake.folder}@{selector}"}) as run:
        pass
    return str(run.info.run_id)


def check(run_id: str, depth: str = "default") -> InputReport:
    (found,) = dsver.verify(run_id, depth=depth).inputs
    return found


def text(report: InputReport) -> str:
    return " ".join(f"{each.what} {each.found} {' '.join(each.paths)}" for each in report.findings)


def nothing(lake: Lake) -> None: ...


def later_versions(lake: Lake) -> None:
    lake.write([6])
    lake.write([7], mode="overwrite")
    DeltaTable(str(lake.folder)).create_checkpoint()


def vacuumed(lake: Lake) -> None:
    lake.write([9], mode="overwrite")
    assert lake.vacuum()


def vacuumed_but_kept(lake: Lake) -> None:
    lake.write([6])
    lake.write([9], mode="overwrite")
    assert lake.vacuum(keep_versions=[1])


def made_anew(lake: Lake) -> None:
    lake.remove()
    lake.write([1, 2, 3])
    lake.write([4, 5])


def removed(lake: Lake) -> None:
    lake.remove()


def restored_to_version_0(lake: Lake) -> None:
    DeltaTable(str(lake.folder)).restore(0)


def log_cut_back(lake: Lake) -> None:
    lake.commit(1).unlink()


def log_cleaned_up(lake: Lake) -> None:
    lake.write([6])
    DeltaTable(str(lake.folder)).create_checkpoint()
    lake.commit(0).unlink()
    lake.commit(1).unlink()


def log_cleaned_up_behind_a_checkpoint_of_it(lake: Lake) -> None:
    DeltaTable(str(lake.folder)).create_checkpoint()
    lake.write([6])
    lake.commit(0).unlink()
    lake.commit(1).unlink()


def history_forked(lake: Lake) -> None:
    """As where a copy that went another way took the table's place: the same table id, the same number."""
    lake.commit(1).unlink()
    lake.write([4, 5])


def log_entry_edited(lake: Lake) -> None:
    """Another file takes the place of the one that was added, of the same size."""
    (path,) = lake.data(1)
    shutil.copy2(path, path.with_name("part-other.parquet"))
    lake.commit(1).write_text(lake.commit(1).read_text().replace(path.name, "part-other.parquet"))


def words_of_the_log_edited(lake: Lake) -> None:
    lake.commit(1).write_text(lake.commit(1).read_text().replace('"WRITE"', '"MERGE"'))


def schema_edited_in_an_earlier_entry(lake: Lake) -> None:
    """The recorded entry is untouched, and the table reads differently."""
    lake.commit(0).write_text(lake.commit(0).read_text().replace(r"\"name\":\"label\"", r"\"name\":\"truth\""))


def log_damaged(lake: Lake) -> None:
    lake.commit(1).write_bytes(lake.commit(1).read_bytes()[:-30])


def file_overwritten(lake: Lake) -> None:
    """By as many other bytes, a minute later."""
    (path,) = lake.data(1)
    path.write_bytes(b"x" * path.stat().st_size)
    written_later(path)


def file_grown(lake: Lake) -> None:
    (path,) = lake.data(1)
    path.write_bytes(path.read_bytes() + b"x")


def file_gone(lake: Lake) -> None:
    lake.data(0)[0].unlink()


@pytest.mark.parametrize(
    ("happened", "verdict", "says"),
    [
        (nothing, Verdict.MATCH, ""),
        (later_versions, Verdict.MATCH, ""),
        (vacuumed_but_kept, Verdict.MATCH, ""),
        (restored_to_version_0, Verdict.MATCH, ""),
        (log_cleaned_up_behind_a_checkpoint_of_it, Verdict.MATCH, ""),
        (vacuumed, Verdict.MISSING, "part-"),
        (file_gone, Verdict.MISSING, "part-"),
        (made_anew, Verdict.MISSING, "another one"),
        (removed, Verdict.MISSING, "no Delta table"),
        (log_cut_back, Verdict.MISSING, "the newest one is 0"),
        (log_cleaned_up, Verdict.MISSING, "cleaned up before version 2"),
        (history_forked, Verdict.CHANGED, "content digest"),
        (log_entry_edited, Verdict.CHANGED, "content digest"),
        (words_of_the_log_edited, Verdict.CHANGED, "log entry of this version was edited"),
        (schema_edited_in_an_earlier_entry, Verdict.CHANGED, "schema"),
        (log_damaged, Verdict.CHANGED, "damaged"),
        (file_grown, Verdict.CHANGED, "part-"),
        (file_overwritten, Verdict.UNVERIFIABLE, "no proof of content"),
    ],
)
def test_what_happened_is_named(lake: Lake, happened: Callable[[Lake], None], verdict: Verdict, says: str) -> None:
    run_id = used(lake)
    happened(lake)
    report = check(run_id)
    assert report.verdict is verdict, text(report)
    assert says in text(report)


def test_a_pass_says_what_it_rests_on(lake: Lake) -> None:
    report = check(used(lake))
    assert report.grade is not None
    assert report.grade.letter == "C"
    assert "size and date" in str(report.statement)
    assert "against accident" in str(report.statement)


def test_reading_every_byte_is_no_proof_where_the_log_has_no_checksums(lake: Lake) -> None:
    report = check(used(lake), "full")
    assert report.verdict is Verdict.UNVERIFIABLE
    assert "no checksum" in text(report)


def test_latest_that_moved_on_is_told(lake: Lake) -> None:
    run_id = used(lake, "latest")
    lake.write([6])
    report = check(run_id)
    assert report.verdict is Verdict.MATCH
    assert [each.verdict for each in report.findings] == [Verdict.ALIAS_MOVED]


@pytest.mark.parametrize("happened", [vacuumed, file_gone, made_anew, removed])
def test_a_table_that_is_not_there_is_not_loaded(
    lake: Lake, happened: Callable[[Lake], None], tmp_path: Path
) -> None:
    provider = DeltaProvider()
    version = provider.resolve(parse(f"delta://{lake.folder}@1"))
    happened(lake)
    with pytest.raises(NotFound):
        provider.table(version, "pandas")
    with pytest.raises(DsverError):
        provider.materialise(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_an_error_of_this_package(lake: Lake, tmp_path: Path) -> None:
    provider = DeltaProvider()
    version = provider.resolve(parse(f"delta://{lake.folder}@1"))
    file_overwritten(lake)
    with pytest.raises(CorruptObject, match="cannot be read as a table"):
        provider.table(version, "arrow")
    file_grown(lake)
    with pytest.raises(CorruptObject, match="not what was recorded"):
        provider.materialise(version, tmp_path / "out")


@pytest.mark.parametrize("happened", [history_forked, log_entry_edited, schema_edited_in_an_earlier_entry])
def test_a_log_that_says_otherwise_now_gives_no_table(lake: Lake, happened: Callable[[Lake], None]) -> None:
    (link,) = dsver.inputs_of(used(lake))
    happened(lake)
    snapshot.forget()
    with pytest.raises(CorruptObject):
        DeltaProvider().table(link.version, "arrow")


def test_a_damaged_copy_is_not_given_out(lake: Lake) -> None:
    provider = DeltaProvider()
    version = provider.resolve(parse(f"delta://{lake.folder}@1"))
    folder = provider.path(version)
    next(folder.glob("part-*")).write_bytes(b"other")
    with pytest.raises(CorruptObject):
        provider.path(version)


def test_a_run_on_a_vacuumed_version_is_told(lake: Lake) -> None:
    vacuumed(lake)
    version = DeltaProvider().resolve(parse(f"delta://{lake.folder}@1"))
    assert "2 of its files are gone" in str(DeltaProvider().grade(version))
    (link,) = dsver.inputs_of(used(lake))
    assert "2 of its files are gone" in str(link.grade)


def test_a_relative_folder_means_the_same_table_from_everywhere(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(lake.folder.parent)
    with dsver.start_run(inputs={"training": "delta://./lake@latest"}) as run:
        pass
    (link,) = dsver.inputs_of(run.info.run_id)
    assert link.requested == f"delta://file{lake.folder}@latest"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert check(run.info.run_id).findings == ()


def test_what_mlflow_itself_recorded_is_shown_as_inexact(lake: Lake) -> None:
    from mlflow.data.delta_dataset_source import DeltaDatasetSource

    from mlflow_dsver.tracking.history import all_inputs_of

    with mlflow.start_run() as run:
        for number in (0, 1):  # MLflow takes datasets of the same content for one and keeps the first one's source
            source = DeltaDatasetSource(path=str(lake.folder), delta_table_version=number)
            frame = DeltaTable(str(lake.folder), version=number).to_pandas()
            mlflow.log_input(mlflow.data.from_pandas(frame, source=source), context=f"part-{number}")
    found = all_inputs_of(run.info.run_id)
    assert sorted(found.inexact) == [f"part-0=delta://file{lake.folder}", f"part-1=delta://file{lake.folder}@1"]


def test_the_whole_way_of_a_run(lake: Lake) -> None:
    with dsver.start_run(inputs={"training": f"delta://{lake.folder}@0"}) as run:
        data = run.datasets["training"]
        assert data.revision == "0"
        assert sorted(data.table("pandas")["id"]) == [1, 2, 3]
        mlflow.log_metric("rows", 3)
    (link,) = dsver.inputs_of(run.info.run_id)
    assert link.requested.endswith("@0")
    assert link.version.id.startswith("0-")
    assert len(list(dsver.runs_using(link.version))) == 1
