"""`mlflow-dsver verify` in process: exit codes, files for CI, tags, choosing runs, wrong usage."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.cli.main import run as command

pytestmark = pytest.mark.usefixtures("tracking")


@pytest.fixture
def run_id(digits_folder: Path) -> str:
    dsver.create_version("local://digits", digits_folder, reference=True)
    with dsver.start_run(inputs={"training": "local://digits@latest"}, run_name="fit") as run:
        return str(run.info.run_id)


def test_a_match_exits_with_0_and_states_its_proof(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", run_id]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"MATCH  fit ({run_id})")
    assert "unchanged since it was hashed (stat cache): 5 files" in shown


def test_a_change_ends_with_1_and_names_the_file(
    run_id: str, digits_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (digits_folder / "labels.csv").write_text("other")
    assert command(["verify", run_id]) == 1
    assert "changed  labels.csv" in capsys.readouterr().out


def test_what_could_not_be_checked_ends_with_3(run_id: str) -> None:
    assert command(["verify", run_id, "--metadata"]) == 3


def test_a_run_that_does_not_exist_ends_with_2(tracking: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", "0" * 32]) == 2
    assert "no run" in capsys.readouterr().err


def test_a_grade_below_the_required_one_ends_with_1(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", run_id, "--require", "A"]) == 1
    assert "unmet: grade C, and A is required" in capsys.readouterr().out
    assert command(["verify", run_id, "--require", "C"]) == 0


def test_json_junit_and_markdown_tell_the_same(
    run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit, summary = tmp_path / "report.xml", tmp_path / "summary.md"
    summary.write_text("# Job\n")
    assert command(["verify", run_id, "--json", "--junit", str(junit), "--markdown", str(summary)]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["run_id"] == run_id
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "0"
    assert summary.read_text().startswith("# Job\n## Data of 1 run: MATCH\n")


def test_a_file_that_cannot_be_written_is_wrong_usage(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", run_id, "--junit", "/nowhere/report.xml"]) == 2
    assert "/nowhere" in capsys.readouterr().err


def test_only_tag_writes_to_the_run(run_id: str) -> None:
    assert command(["verify", run_id]) == 0
    assert "dsver.verdict" not in mlflow.get_run(run_id).data.tags
    assert command(["verify", run_id, "--tag", "--full"]) == 0
    words = mlflow.get_run(run_id).data.tags["dsver.verdict"].split()
    assert (words[0], words[2]) == ("MATCH", "(full)")
    assert words[1].endswith("Z")


def test_experiments_filters_and_ages_choose_runs(
    run_id: str, capsys: pytest.CaptureFixture[str], tracking: object
) -> None:
    with mlflow.start_run(run_name="bare"):
        pass
    name = mlflow.get_experiment(mlflow.get_run(run_id).info.experiment_id).name
    assert command(["verify", "--experiment", name, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    assert command(["verify", "--experiment", name, "--require-links"]) == 1
    assert (
        command(["verify", "--experiment", name, "--filter", "attributes.run_name = 'fit'", "--require-links"]) == 0
    )
    assert command(["verify", "--since", "1h", "--filter", "attributes.run_name = 'fit'"]) == 0
    capsys.readouterr()
    assert command(["verify", "--since", "2999-01-01"]) == 3
    assert capsys.readouterr().out.startswith("0 runs")


@pytest.fixture
def signed(run_id: str, tmp_path: Path) -> list[str]:
    """The run, and the options with a statement about it."""
    key, file = tmp_path / "key.pem", tmp_path / "run.dsse.json"
    assert command(["statement", "key", str(key)]) == 0
    assert command(["statement", "sign", run_id, "--key", str(key), "-o", str(file)]) == 0
    return [run_id, "--signature", str(file), "--key", f"{key}.pub"]


def test_a_good_signature_belongs_to_the_match(signed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command(["verify", *signed]) == 0
    assert f"MATCH         signature  {signed[2]}  signed by the owner of {signed[4]}" in capsys.readouterr().out


def test_a_bad_signature_is_a_finding_in_every_report(
    signed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when all data matches."""
    file, junit, summary = Path(signed[2]), tmp_path / "report.xml", tmp_path / "summary.md"
    envelope = json.loads(file.read_text())
    envelope["payload"] = "QUJD" + envelope["payload"][4:]
    file.write_text(json.dumps(envelope))
    capsys.readouterr()
    assert command(["verify", *signed, "--json", "--junit", str(junit), "--markdown", str(summary)]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["verdict"], run["inputs"][0]["verdict"], run["signature"]["verdict"]) == (
        "CHANGED",
        "MATCH",
        "CHANGED",
    )
    assert "signature is not good" in run["signature"]["findings"][0]["what"]
    (failure,) = ElementTree.parse(junit).getroot().iter("failure")
    assert "signature is not good" in failure.attrib["message"]
    assert "signature: **CHANGED**" in summary.read_text()


def test_a_run_that_says_otherwise_than_was_signed_is_a_finding(
    signed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow.MlflowClient().set_tag(signed[0], "mlflow.source.git.commit", "d" * 40)
    assert command(["verify", *signed]) == 1
    assert "CHANGED: signature: the run: gitCommit was" in capsys.readouterr().out


def test_without_the_library_a_signature_could_not_be_checked(
    signed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "securesystemslib.dsse", None)
    assert command(["verify", *signed]) == 3
    assert "UNVERIFIABLE: signature: signatures need another package" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["--signature", "--key"])
def test_a_statement_or_key_that_cannot_be_read_is_wrong_usage(
    signed: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed[signed.index(name) + 1] = str(tmp_path / "none")
    capsys.readouterr()
    assert command(["verify", *signed]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_sample_is_drawn_again_with_its_seed(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", run_id, "--sample", "2", "--seed", "5"]) == 0
    assert "2 of 5 files drawn at random (seed 5)" in capsys.readouterr().out
    assert command(["verify", run_id, "--confidence", "0.9", "--bound", "0.5"]) == 0
    assert "sample: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["x", "--experiment", "y"],
        ["x", "--since", "yesterday"],
        ["x", "--seed", "1"],
        ["x", "--full", "--sample", "3"],
        ["x", "--sample", "3", "--bound", "0.1"],
        ["x", "--sample", "0"],
        ["x", "--confidence", "1"],
        ["x", "--require", "E"],
        ["--experiment", "no such experiment"],
        ["x", "--signature", "file"],
        ["x", "--key", "file"],
        ["x", "y", "--signature", "file", "--key", "file"],
        ["--since", "1d", "--signature", "file", "--key", "file"],
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", *words]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_thousand_runs_over_twenty_versions_send_at_most_twenty_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version is looked up once and its files are read once, however many runs used it."""
    from dataclasses import replace

    from mlflow_dsver.checks.byte_checks import ReadOptions
    from mlflow_dsver.checks.reports import Verdict
    from mlflow_dsver.checks.verify import check_runs
    from mlflow_dsver.providers.local import LocalProvider
    from mlflow_dsver.tracking.queries import Tracking

    folder = tmp_path / "data"
    folder.mkdir()
    runs = []
    for number in range(20):
        (folder / "a.txt").write_text(str(number))
        dsver.create_version("local://many", folder)
        with dsver.start_run(inputs={"training": "local://many@latest"}) as run:
            pass
        runs.append(Tracking().run(run.info.run_id))  # the link is whole when the run has ended
    thousand = [replace(run, name=f"copy {copy}") for copy in range(50) for run in runs]
    asked: list[str] = []
    hashed: list[str] = []
    for name in ("get", "resolve"):
        plain = getattr(LocalProvider, name)
        monkeypatch.setattr(
            LocalProvider, name, lambda self, *words, plain=plain: asked.append("") or plain(self, *words)
        )
    local_copy = LocalProvider.local_copy
    monkeypatch.setattr(
        LocalProvider, "local_copy", lambda self, version: hashed.append("") or local_copy(self, version)
    )
    kept = {}

    def files(run: object, manifests: bool) -> dict[str, bytes]:
        key = run.run_id  # type: ignore[attr-defined]
        if key not in kept:
            kept[key] = Tracking().record_files(run, manifests=manifests)  # type: ignore[arg-type]
        return kept[key]

    report = check_runs(thousand, options=ReadOptions(), files=files)
    assert len(report.runs) == 1000
    assert report.verdict is Verdict.MATCH
    assert report.resolutions == len(asked) <= 20
    assert len(hashed) == 20
