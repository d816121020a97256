"""What a script is handed can be copied, pickled and hashed, and works in another process."""

from __future__ import annotations

import copy
import pickle
import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pytest
from tracking_fakes import version

import mlflow_dsver as dsver
from mlflow_dsver.errors import DsverError, NotFound
from mlflow_dsver.tracking import async_logging
from mlflow_dsver.tracking.active_run import LinkedDataset


def there_and_back(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.fixture
def linked(tracking: Any, digits: Any) -> Any:
    with dsver.start_run(inputs={"training": "local://digits", "test": "local://digits@clean"}) as run:
        yield run


def test_a_linked_dataset_has_its_version_and_its_files_in_another_process(linked, digits, tmp_path, prepared):
    (tmp_path / "linked.pickle").write_bytes(pickle.dumps(linked.datasets["training"]))
    script = (
        "import pickle, pathlib, sys\n"
        "data = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(data, data.grade, data.role, sorted(each.name for each in pathlib.Path(data).iterdir()))\n"
    )
    ran = subprocess.run(
        [*prepared.python, "-c", script, str(tmp_path / "linked.pickle")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.strip() == f"{digits} A training ['0', '1', 'labels.csv']"


def test_a_run_can_be_pickled_while_it_is_being_recorded_and_after(linked):
    early = there_and_back(linked)
    async_logging.settle(linked.info.run_id)
    late = there_and_back(linked)
    for each in (early, late):
        assert each.info.run_id == linked.info.run_id
        assert each.datasets == linked.datasets
    assert {each.dataset.name for each in late.inputs.dataset_inputs} == {str(linked.datasets["training"])}
    assert late.data.params["dsver.training.version"] == str(linked.datasets["training"])


def test_each_role_keeps_its_own_dataset_input_in_another_process(linked):
    """One version in two roles has two digests: a metric that names the dataset names the right one."""
    for each in (there_and_back(linked), copy.deepcopy(linked)):
        for role in ("training", "test"):
            assert each.datasets[role].dataset.digest == linked.datasets[role].dataset.digest
    assert len({each.dataset.digest for each in linked.datasets.values()}) == 2


def test_a_copy_in_this_process_still_waits_for_the_record(linked):
    copied = copy.deepcopy(linked)
    assert copied.data.params["dsver.training.version"] == str(linked.datasets["training"])


def test_what_could_not_be_linked_says_so_in_another_process(tracking, fake):
    with dsver.start_run(inputs={"training": "fake://cats@v9"}, on_error="warn") as run:
        data = there_and_back(run.datasets["training"])
    assert isinstance(data.error, NotFound)
    with pytest.raises(NotFound, match="no such"):
        data.path()


def test_a_recording_that_failed_says_so_in_another_process(tracking, digits, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise mlflow.MlflowException("no space")

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", refuse)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    found = there_and_back(run).datasets["training"]
    assert isinstance(found.error, DsverError)
    assert str(found.error) == str(run.datasets["training"].error)


def test_everything_handed_to_a_script_can_be_pickled(linked, digits):
    async_logging.settle()
    run_id = linked.info.run_id
    handed: list[Any] = [
        digits,
        dsver.parse("local://digits@clean"),
        dsver.use("local://digits", role="eval"),
        dsver.attach(run_id, "local://digits", role="extra"),
        dsver.resolve("local://digits"),
        dsver.inputs_of(run_id),
        list(dsver.runs_using("local://digits")),
        dsver.verify(run_id),
        dsver.seal(run_id, tag=False),
        dsver.diff("local://digits", "local://digits@clean"),
        dsver.compare(run_id, run_id),
        dsver.get_provider("local").manifest(digits),
    ]
    for value in handed:
        assert there_and_back(value) == value, value


def test_every_error_can_be_pickled_with_all_its_parts():
    def kinds(kind: type[DsverError]) -> list[type[DsverError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in kinds(sub))]

    for kind in kinds(DsverError):
        made = kind("it failed", reference="a://b@c", expected="this", got="that", done="Nothing", tip="again")
        back = there_and_back(made)
        assert type(back) is kind
        assert (str(back), vars(back)) == (str(made), vars(made))


def test_equal_versions_are_one_in_a_set(digits):
    again, other = copy.deepcopy(digits), version(metadata={"a": [1]})
    assert again == digits
    assert hash(again) == hash(digits)
    assert {digits, again, other, version(metadata={"a": [1]})} == {digits, other}
    assert isinstance(hash(LinkedDataset("training", "local://digits", None)), int)


def test_ctrl_c_while_the_end_of_a_run_waits_ends_the_run_and_is_heard(tracking, digits, monkeypatch):
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(async_logging.Recording, "settle", interrupted)
    with pytest.raises(KeyboardInterrupt), dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    assert mlflow.active_run() is None
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_ctrl_c_while_the_end_of_an_autolinked_run_waits_ends_the_run_and_is_heard(tracking, digits, monkeypatch):
    from mlflow_dsver.tracking import autolink

    def interrupted() -> None:
        raise KeyboardInterrupt

    dsver.autolink({"training": "local://digits"})
    try:
        run = mlflow.start_run()
        with monkeypatch.context() as patched:
            patched.setattr(autolink, "ending", interrupted)
            with pytest.raises(KeyboardInterrupt):
                mlflow.end_run()
    finally:
        dsver.autolink({})
    assert mlflow.active_run() is None
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_the_files_of_a_pickled_dataset_are_those_of_its_version(linked, digits):
    assert Path(there_and_back(linked.datasets["training"])) == linked.datasets["training"].path()
