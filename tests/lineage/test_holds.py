"""Which versions are needed over a whole tracking server, and holding and releasing them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.errors import InvalidArgument, NotFound, RunNotFound, TrackingError, VersionHeld
from mlflow_dsver.lineage import retention
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers import dataset_history as history
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution.lock_file import LockEntry, write_lock
from mlflow_dsver.tracking.queries import Tracking

reasons = st.builds(
    Hold, st.sampled_from(["run:a", "run:b", "model:m/1", "lock:/x", "note:ü"]), st.sampled_from([None, "http://s"])
)
calls = st.lists(st.tuples(st.booleans(), st.lists(reasons, max_size=3)), max_size=8)


@given(calls)
def test_any_calls_leave_the_set_of_what_was_held_and_not_released(calls: list[tuple[bool, list[Hold]]]) -> None:
    state = history.State("d")
    created = history.operation(
        "create", "a" * 16, digest="blake3:" + "a" * 64, files=1, bytes=1, kept=True, manifest=""
    )
    history.apply(state, {"manifest": "0" * 32, **created})
    expected: set[Hold] = set()
    for put, some in calls:
        change = history.hold_operation if put else history.release_operation
        operation = change(state, "a" * 16, some)
        if operation is not None:
            history.apply(state, json.loads(json.dumps(operation)))
        expected = expected | set(some) if put else expected - set(some)
        assert set(history.holds_of(state, "a" * 16)) == expected
        assert change(state, "a" * 16, some) is None, "doing it again changes nothing"


@pytest.mark.parametrize(
    "text", ["", "run:", "because", "note:a\nb", "note:" + "x" * 500, "note:\x1b[2J", "RUN:a", "note:\ud800"]
)
def test_reasons_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Hold(text)


@given(reasons)
def test_a_hold_goes_to_json_and_back(hold: Hold) -> None:
    assert Hold.from_json(json.loads(json.dumps(hold.to_json()))) == hold


@pytest.fixture
def version(digits_folder: Path) -> DatasetVersion:
    return dsver.create_version("local://held", digits_folder)


def run_with(version: DatasetVersion, experiment: str = "one") -> str:
    mlflow.set_experiment(experiment)
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        pass
    return str(run.info.run_id)


def needs(report: retention.HoldReport) -> dict[str, tuple[int, int, list[str]]]:
    return {
        str(need.ref): (need.runs, need.models, sorted(each.reason for each in need.held)) for need in report.needs
    }


@pytest.mark.usefixtures("tracking")
def test_runs_of_all_experiments_models_and_locks_need_versions(version: DatasetVersion, tmp_path: Path) -> None:
    first, second = run_with(version), run_with(version, "two")
    client = MlflowClient()
    client.create_registered_model("m")
    client.create_model_version("m", "file:///nowhere", run_id=second)
    lock = tmp_path / "dsver.lock"
    write_lock(lock, {"training": LockEntry("training", "local://held@latest", version.ref)})
    planned = dsver.holds(locks=[lock])
    assert needs(planned) == {str(version.ref): (2, 1, [])}
    assert planned.exit_code == 1
    assert get_provider("local").holds(version) == (), "nothing is written unless it is asked for"
    applied = dsver.holds(locks=[lock], apply=True)
    expected = sorted([f"lock:{lock}", "model:m/1", f"run:{first}", f"run:{second}"])
    assert needs(applied) == {str(version.ref): (2, 1, expected)}
    assert applied.exit_code == 0
    assert dsver.holds(locks=[lock]).exit_code == 0, "idempotent"
    with pytest.raises(VersionHeld, match="4 reasons"):
        get_provider("local").delete(version)
    client.delete_run(first)
    client.delete_run(second)
    assert needs(dsver.holds(apply=True)) == {str(version.ref): (0, 1, [f"lock:{lock}", "model:m/1"])}, (
        "the model needs it although its run was deleted, and a lock file that was not given says nothing"
    )
    client.delete_registered_model("m")
    write_lock(lock, {})
    assert needs(dsver.holds(locks=[lock], apply=True)) == {str(version.ref): (0, 0, [])}
    get_provider("local").delete(version)


@pytest.mark.usefixtures("tracking")
def test_notes_and_holds_of_other_servers_are_never_taken_back(version: DatasetVersion) -> None:
    others = [Hold("note:audit"), Hold("run:" + "0" * 32, "http://another.example")]
    get_provider("local").hold(version, others)
    dsver.holds(apply=True)
    assert list(get_provider("local").holds(version)) == others


@pytest.mark.usefixtures("tracking")
def test_nothing_is_taken_back_while_something_could_not_be_read(
    version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_with(version)
    dsver.holds(apply=True)
    MlflowClient().delete_run(run_id)

    def fails(self: Tracking) -> Any:
        raise TrackingError("the registry does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "model_versions", fails)
        report = dsver.holds(apply=True)
    assert report.exit_code == 3
    assert "does not answer" in report.unread[0]
    assert [each.reason for each in get_provider("local").holds(version)] == [f"run:{run_id}"]
    dsver.holds(apply=True)
    assert get_provider("local").holds(version) == ()


@pytest.mark.usefixtures("tracking")
def test_a_version_is_held_for_at_most_a_hundred_runs_and_as_long_as_any_needs_it(
    version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST", 2)
    ids = [run_with(version) for _ in range(4)]
    (need,) = dsver.holds(apply=True).needs
    assert (need.runs, len(need.held)) == (4, 2)
    assert dsver.holds().exit_code == 0
    for held in need.held:
        MlflowClient().delete_run(held.reason.partition(":")[2])
    (need,) = dsver.holds(apply=True).needs
    assert {each.reason for each in need.held} < {f"run:{run_id}" for run_id in ids}
    assert len(need.held) == 2


@pytest.mark.usefixtures("tracking")
def test_a_run_a_model_and_a_reference_are_held_and_released(version: DatasetVersion) -> None:
    run_id = run_with(version)
    client = MlflowClient()
    client.create_registered_model("m")
    client.create_model_version("m", "file:///nowhere", run_id=run_id)
    client.set_registered_model_alias("m", "champion", "1")
    provider = get_provider("local")
    for target, reason in (
        (run_id, f"run:{run_id}"), ("models:/m/1", "model:m/1"), ("models:/m@champion", "model:m/1"),
        (str(version.ref), "note:held by hand"), ("local://held", None),
    ):  # fmt: skip
        if reason is None:
            with pytest.raises(InvalidArgument, match="which version"):
                dsver.hold(target)
            continue
        dsver.hold(target, apply=False)
        assert provider.holds(version) == ()
        dsver.hold(target)
        dsver.hold(target)
        assert [each.reason for each in provider.holds(version)] == [reason]
        dsver.release(target)
        dsver.release(target)
        assert provider.holds(version) == ()
    dsver.hold(str(version.ref), note="audit")
    dsver.hold(str(version.ref), note="paper")
    dsver.release(str(version.ref), note="audit")
    assert [each.reason for each in provider.holds(version)] == ["note:paper"]
    for target, error in (("models:/m/7", NotFound), ("models:/m@nobody", NotFound), ("no-run", RunNotFound)):
        with pytest.raises(error):
            dsver.hold(target)


@pytest.mark.usefixtures("tracking")
def test_a_version_that_is_gone_is_a_problem(version: DatasetVersion) -> None:
    run_with(version)
    get_provider("local").delete(version)
    report = dsver.holds(apply=True)
    assert report.exit_code == 3
    assert "not there" in str(report.needs[0].problem)


@pytest.mark.usefixtures("tracking")
def test_the_commands_as_processes(version: DatasetVersion, process: Callable[..., Any]) -> None:
    run_id = run_with(version)
    client = MlflowClient()
    client.create_registered_model("m")
    client.create_model_version("m", "file:///nowhere", run_id=run_id)
    planned = process("holds", "--json")
    assert planned.returncode == 1, planned.stderr
    reasons = [each["reason"] for each in json.loads(planned.stdout)["versions"][0]["hold"]]
    assert sorted(reasons) == ["model:m/1", f"run:{run_id}"]
    assert "nothing was changed" in process("holds").stdout
    assert process("holds", "--apply").returncode == 0
    refused = process("versions", "delete", str(version.ref), "--yes")
    assert refused.returncode == 2
    assert f"run {run_id}" in refused.stderr
    assert "1 model was made from" in refused.stderr
    assert "m version 1" in refused.stderr
    assert "mlflow-dsver release" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert process("release", run_id, "--apply").returncode == 0
    held = process("hold", str(version.ref), "--note", "audit", "--apply")
    assert (held.returncode, "audit" in held.stdout) == (0, True)
    for wrong in (("hold",), ("hold", "local://held"), ("hold", "models:/none/1"), ("hold", "x", "--note", "y")):
        found = process(*wrong)
        assert found.returncode == 2, wrong
        assert len(found.stderr.strip().splitlines()) <= 3
