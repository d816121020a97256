"""Runs that used a store of another machine are UNREACHABLE and never MISSING."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import mlflow_dsver as dsver
from mlflow_dsver.checks.render import report_lines
from mlflow_dsver.checks.reports import Verdict
from mlflow_dsver.checks.verify import verify, verify_runs
from mlflow_dsver.model.versions import this_host
from mlflow_dsver.providers.local import LocalProvider

pytestmark = pytest.mark.usefixtures("tracking")


@pytest.fixture
def run_id(digits_folder: Path) -> str:
    """A run that used `local://digits@latest` of this machine's store."""
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits@latest"}) as run:
        pass
    return str(run.info.run_id)


@pytest.fixture
def elsewhere(run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate another machine, whose store does not exist yet."""
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path / "other-home"))
    return tmp_path / "other-home"


def other_content(tmp_path: Path) -> Path:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    return folder


@pytest.mark.parametrize("has", ["no store", "another dataset", "other versions of a dataset of that name"])
@pytest.mark.parametrize("depth", ["metadata", "default", "full"])
def test_a_store_that_never_had_the_version_does_not_report_it_missing(
    run_id: str, elsewhere: Path, tmp_path: Path, has: str, depth: str
) -> None:
    """The report names the store and host of the link and what to set; it does not suggest creating a dataset."""
    store = dsver.inputs_of(run_id)[0].version.store
    if has != "no store":
        name = "another" if has == "another dataset" else "digits"
        dsver.create_version(f"local://{name}", other_content(tmp_path))
    report = verify(run_id, depth=depth)
    assert (report.verdict, report.exit_code) == (Verdict.UNREACHABLE, 3)
    [finding] = report.inputs[0].findings
    assert finding.what == f"this store does not have it; the link was made on {this_host()}"
    assert finding.expected == f"the store {store}"
    assert "MLFLOW_DSVER_HOME" in (finding.found or "")
    text = "\n".join(report_lines(verify_runs(runs=[run_id], depth=depth)))
    assert "versions create" not in text
    assert str(elsewhere) not in text


def test_another_store_that_has_the_version_is_as_good(run_id: str, elsewhere: Path, digits_folder: Path) -> None:
    """An id is the beginning of the content digest, so it means the same bytes in every store."""
    dsver.create_version("local://digits", digits_folder)
    assert verify(run_id, depth="full").verdict is Verdict.MATCH


def test_a_copied_store_is_the_same_store(run_id: str, elsewhere: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "dsver-home", elsewhere)
    assert verify(run_id).verdict is Verdict.MATCH
    LocalProvider().delete(LocalProvider().get("digits", dsver.inputs_of(run_id)[0].version.id))
    assert verify(run_id).verdict is Verdict.MISSING


def test_a_record_without_a_store_is_missing_only_where_the_dataset_is_known(
    run_id: str, elsewhere: Path, tmp_path: Path
) -> None:
    """Links of earlier versions of this package."""
    version = replace(dsver.inputs_of(run_id)[0].version, store=None)
    assert LocalProvider().elsewhere(version) is not None
    dsver.create_version("local://digits", other_content(tmp_path))
    assert LocalProvider().elsewhere(version) is None


def test_the_link_says_where_it_was_made(run_id: str) -> None:
    [link] = dsver.inputs_of(run_id)
    assert link.host == this_host()
    assert link.version.store == LocalProvider().store.id()
