"""The difference of two versions, and what changed inside tables."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pandas
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.checks.diff import diff
from mlflow_dsver.checks.table_diff import compare_tables
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.errors import CorruptObject, Unsupported


@pytest.fixture
def two(digits_folder: Path) -> tuple[str, str]:
    """Two versions: labels.csv changed in two rows and a column, one file added, removed and renamed each."""
    old = dsver.create_version("local://digits", digits_folder, tags=["old"])
    (digits_folder / "labels.csv").write_text(
        "file,label,by\n0/0.txt,7,me\n1/1.txt,1,me\n0/2.txt,2,me\n9/9.txt,9,me\n"
    )
    (digits_folder / "0" / "0.txt").unlink()
    (digits_folder / "1" / "1.txt").rename(digits_folder / "1" / "one.txt")
    (digits_folder / "new.txt").write_text("new")
    return str(old), str(dsver.create_version("local://digits", digits_folder))


def test_a_version_does_not_differ_from_itself(two: tuple[str, str]) -> None:
    report = diff(two[0], "local://digits@old")
    assert not report
    assert report.difference.unchanged == 5


def test_added_removed_changed_renamed_with_bytes(two: tuple[str, str]) -> None:
    found = diff(*two).difference
    assert [entry.path for entry in found.added] == ["new.txt"]
    assert [entry.path for entry in found.removed] == ["0/0.txt"]
    assert [(a.path, b.path) for a, b in found.renamed] == [("1/1.txt", "1/one.txt")]
    assert [(a.path, a.bytes, b.bytes) for a, b in found.changed] == [("labels.csv", 51, 66)]
    assert found.growth == 3 - 80 + 66 - 51


def test_rows_and_columns_of_changed_tables_on_request(two: tuple[str, str]) -> None:
    [table] = diff(*two, rows=True).tables
    assert (table.path, table.key) == ("labels.csv", "file")
    assert (table.rows_before, table.rows_after) == (4, 4)
    assert (table.added, table.removed, table.changed) == (1, 1, 1)
    assert (table.columns_added, table.cells) == (("by",), {"label": 1})
    assert diff(*two).tables == ()


def test_no_data_is_read_without_rows(two: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_dsver.providers.local import LocalProvider

    monkeypatch.setattr(LocalProvider, "path", lambda *_: pytest.fail("data was asked for"))
    assert diff(*two)


def test_rows_without_a_key_are_counted_as_wholes() -> None:
    old = pandas.DataFrame({"a": [1, 1, 2], "b": ["x", "x", "y"]})
    new = pandas.DataFrame({"a": [1, 2, 2, 3], "b": ["x", "y", "y", "z"]})
    table = compare_tables(pandas, "t.csv", old, new)
    assert (table.key, table.added, table.removed, table.changed) == (None, 2, 1, 0)


def test_equal_tables_with_missing_values_do_not_differ() -> None:
    table = pandas.DataFrame({"id": [1, 2], "b": [None, 0.5], "c": [pandas.NaT, pandas.Timestamp("2026-01-01")]})
    found = compare_tables(pandas, "t.csv", table, table.iloc[::-1])
    assert (found.added, found.removed, found.changed, found.cells) == (0, 0, 0, {})


def test_a_table_that_cannot_be_read_is_reported_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    versions = []
    for content in (b"a,b\n1,2\n", b"\xff\xfe\x00 no table"):
        (folder / "t.csv").write_bytes(content)
        versions.append(dsver.create_version("local://t", folder))
    [table] = diff(*versions, rows=True).tables
    assert table.failure


def test_a_damaged_manifest_is_an_error(two: tuple[str, str], tmp_path: Path) -> None:
    for manifest in (tmp_path / "dsver-home" / "store" / "manifests").glob("*.gz"):
        manifest.chmod(0o644)
        manifest.write_bytes(manifest.read_bytes()[:-9])
    with pytest.raises(CorruptObject):
        diff(*two)


def test_a_version_whose_files_nobody_knows_is_unsupported(
    two: tuple[str, str], tracking: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_dsver.providers.local import LocalProvider

    monkeypatch.setattr(LocalProvider, "local_copy", lambda *_: None)
    monkeypatch.setattr(LocalProvider, "manifest", lambda *_: None)
    with pytest.raises(Unsupported, match="no manifest of this version was found"):
        diff(*two)


def test_a_manifest_is_found_on_a_run_that_used_the_version(
    two: tuple[str, str], tracking: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_dsver.providers.local import LocalProvider

    for reference in two:
        with mlflow.start_run():
            dsver.use(reference)
    expected = diff(*two).difference
    monkeypatch.setattr(LocalProvider, "local_copy", lambda *_: None)
    monkeypatch.setattr(LocalProvider, "manifest", lambda *_: None)
    assert diff(*two).difference == expected


def test_the_command_ends_with_1_when_there_is_a_difference(
    two: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["diff", two[0], two[0]]) == 0
    assert command(["diff", *two, "--rows"]) == 1
    shown = capsys.readouterr().out
    assert "renamed  1/1.txt → 1/one.txt" in shown
    assert "label changed in 1 row" in shown
    assert command(["diff", *two, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["difference"]["unchanged"] == 2
    assert command(["diff", two[0], "local://nothing"]) == 2
