"""`mlflow-dsver sync` and `attach --from`, as people run them: what is shown, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from processes import Run

from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import Link, now
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.tracking import outbox


@pytest.fixture
def run_id(tracking) -> str:
    with mlflow.start_run() as run:
        pass
    return str(run.info.run_id)


def put(run_id: str, reference: str) -> Path:
    version = get_provider("local").resolve(parse(reference))
    link = Link("training", reference, version, get_provider("local").grade(version), now())
    ticket = outbox.put(outbox.PendingRecord(run_id, "0", mlflow.get_tracking_uri(), (link,)))
    ticket.release()
    return ticket.path


def test_nothing_waits(run: Run) -> None:
    for words in (("sync",), ("sync", "--list")):
        done = run(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "nothing waits\n", "")


def test_what_waits_is_listed_and_then_sent(run: Run, run_id: str, made: str) -> None:
    path = put(run_id, made)
    listed = run("sync", "--list")
    assert listed.returncode == 0
    assert listed.stdout.split()[:6] == ["ID", "OUTCOME", "RUN", "INPUTS", "SINCE", "DETAIL"]
    assert listed.stdout.splitlines()[1].startswith(f"{outbox.entry_id(path)}  waiting")
    assert f"waiting  {run_id}  training={made}" in listed.stdout
    assert path.is_file()
    sent = run("sync", "--json")
    assert sent.returncode == 0, sent.stderr
    [outcome] = json.loads(sent.stdout)["outcomes"]
    assert outcome["outcome"] == "sent"
    assert (outcome["run_id"], outcome["kept"]) == (run_id, False)
    assert outcome["inputs"] == [{"role": "training", "reference": made, "offline": False}]
    assert run("sync").stdout == "nothing waits\n"
    assert made in run("inputs", run_id).stdout


def test_what_cannot_be_sent_is_a_finding_until_it_is_forgotten(run: Run, tracking: object, made: str) -> None:
    put("f" * 32, made)
    done = run("sync")
    assert done.returncode == 1
    assert "no run  " in done.stdout
    forgotten = run("sync", "--forget")
    assert forgotten.returncode == 0
    assert "forgotten" in forgotten.stdout
    assert run("sync").stdout == "nothing waits\n"


def test_an_entry_is_forgotten_by_its_id_and_nothing_is_sent(run: Run, run_id: str, made: str) -> None:
    path = put(run_id, made)
    wrong = run("sync", "--forget", "nobody")
    assert wrong.returncode == 2
    assert "nothing waits under nobody" in wrong.stderr
    done = run("sync", "--forget", outbox.entry_id(path), "--json")
    assert done.returncode == 0, done.stderr
    [outcome] = json.loads(done.stdout)["outcomes"]
    assert (outcome["id"], outcome["outcome"], outcome["kept"]) == (outbox.entry_id(path), "forgotten", False)
    assert run("sync").stdout == "nothing waits\n"
    assert made not in run("inputs", run_id).stdout


def test_a_store_that_is_away_is_exit_code_3(run: Run, run_id: str, made: str, unused_port: int) -> None:
    mlflow.set_tracking_uri(f"http://127.0.0.1:{unused_port}")
    put(run_id, made)
    done = run("sync", MLFLOW_DSVER_TRACKING_TIMEOUT="1")
    assert done.returncode == 3
    assert "unreachable" in done.stdout
    assert "waiting" in run("sync", "--list").stdout


def test_list_does_not_go_with_forget(run: Run) -> None:
    done = run("sync", "--list", "--forget")
    assert done.returncode == 2
    assert "does not go with --forget" in done.stderr


def test_many_are_attached_from_a_file(run: Run, run_id: str, made: str, tmp_path: Path) -> None:
    """One line a row and the counts; again, all are there; as JSON the same."""
    (tmp_path / "runs.csv").write_text(f"run_id,reference,role\n{run_id},{made},\n{run_id},{made},test\n")
    done = run("attach", "--from", "runs.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"attached       {run_id}  training  {made}",
        f"attached       {run_id}  test  {made}",
        "2 attached",
    ]
    assert run("attach", "--from", "runs.csv").stdout.endswith("2 already there\n")
    again = json.loads(run("attach", "--from", "runs.csv", "--json").stdout)
    assert again["counts"] == {"already there": 2}
    assert again["rows"][1] == {
        "line": 3, "run_id": run_id, "role": "test", "requested": made,
        "reference": made, "outcome": "already there", "detail": "",
    }  # fmt: skip


def test_rows_that_cannot_be_attached_are_exit_code_1(run: Run, run_id: str, made: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(f"run_id,reference\n{'f' * 32},{made}\n{run_id},{made}\n")
    done = run("attach", "--from", "runs.csv")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 attached, 1 no such run"


def test_a_file_with_bad_rows_is_exit_code_2_and_nothing_is_written(
    run: Run, run_id: str, made: str, tmp_path: Path
) -> None:
    (tmp_path / "runs.csv").write_text(f"run_id,reference\n{run_id},{made}\n{run_id},\x1b[31mx\n")
    done = run("attach", "--from", "runs.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "runs.csv: 1 bad row: line 3: " in done.stderr
    assert "\x1b" not in done.stderr
    assert run("inputs", run_id).stdout == "this run has no linked dataset version\n"


@pytest.mark.parametrize(
    "words", [("attach",), ("attach", "x"), ("attach", "x", "y", "--from", "-"), ("attach", "--from", "no-such.csv")]
)
def test_wrong_usage_of_attach(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_an_empty_file_is_refused(run: Run) -> None:
    done = run("attach", "--from", "-")
    assert done.returncode == 2
    assert "expected the header run_id,reference,role" in done.stderr


def test_one_is_attached_as_ever(run: Run, run_id: str, made: str) -> None:
    done = run("attach", run_id, made)
    assert done.returncode == 0
    assert "A (attached later)" in done.stdout
