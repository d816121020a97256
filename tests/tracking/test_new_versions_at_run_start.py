"""Versions that are made when a run starts: whatever the provider, and once for ranks, children and processes."""

from __future__ import annotations

import json
import logging
import subprocess
from typing import Any

import mlflow
import pytest
from tracking_fakes import FakeProvider, all_runs, artifact, run_of, version

import mlflow_dsver as dsver
from mlflow_dsver.errors import (
    InputConflict,
    InvalidArgument,
    InvalidReference,
    LockConflict,
    NotFound,
    ProviderUnavailable,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import creation

ASKED = "fake://cats?create&message=round 3"


@pytest.fixture
def making(fake, monkeypatch):
    """The fake provider makes versions; gives what it was asked for, in order."""
    asked: list[dict[str, Any]] = []

    def create(
        self, dataset, folder=None, *, colour: str = "", deep: bool = False, depth: int | None = None, **common
    ):
        if self.failure is not None:
            raise self.failure
        given = {"folder": folder, **common, "colour": colour, "deep": deep, "depth": depth}
        asked.append({name: value for name, value in given.items() if value not in (None, "", (), False)})
        return self.has(version(name=f"made-{len(asked)}", ref=DatasetRef("fake", dataset, f"made-{len(asked)}")))

    monkeypatch.setattr(FakeProvider, "create", create)
    return asked


def used(run_id: str, role: str = "training") -> str:
    return run_of(run_id).data.tags[f"dsver.{role}.version"]


def test_a_folder_becomes_a_version_when_the_run_starts(tracking, digits_folder):
    new = dsver.NewVersion("local://fresh", digits_folder, message="round 3", tags=["raw"], metadata={"by": "me"})
    with dsver.start_run(inputs={"training": new}) as run:
        made = run.datasets["training"].version
    assert (made.message, made.tags, made.metadata) == ("round 3", ("raw",), {"by": "me"})
    data = run_of(run.info.run_id).data
    assert data.params["dsver.training.version"] == str(made.ref)
    assert data.params["dsver.training.requested"] == "local://fresh"
    assert data.tags["dsver.training.created"] == str(new)
    assert data.tags["dsver.training.grade"] == "A"
    assert json.loads(artifact(run.info.run_id, "training.json"))["created"] == str(new)
    assert dsver.verify(run.info.run_id).verdict == "MATCH"
    assert dsver.inputs_of(run.info.run_id)[0].created == str(new)


def test_a_version_that_was_there_has_no_such_tag(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    assert "dsver.training.created" not in run_of(run.info.run_id).data.tags
    assert "created" not in json.loads(artifact(run.info.run_id, "training.json"))


def test_the_variable_makes_one_version_for_all_runs_of_the_process(tracking, making, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSVER_INPUTS", f"training={ASKED}&tag=a&colour=red&deep=yes&depth=3")
    dsver.autolink({})
    runs = []
    for _ in range(3):
        with mlflow.start_run() as run:
            runs.append(run.info.run_id)
    assert making == [{"message": "round 3", "tags": ("a",), "colour": "red", "deep": True, "depth": 3}]
    assert {used(each) for each in runs} == {"fake://cats@made-1"}


def test_children_have_the_version_that_was_made_for_their_parent(tracking, making):
    with dsver.start_run(inputs={"training": ASKED}):
        for inputs in ({"training": ASKED}, None):
            with dsver.start_run(nested=True, inputs=inputs) as child:
                assert str(child.datasets["training"]) == "fake://cats@made-1"
        with mlflow.start_run(nested=True) as child:
            assert str(dsver.use(ASKED)) == "fake://cats@made-1"
            assert str(dsver.use(ASKED)) == "fake://cats@made-1"
    with dsver.start_run(inputs={"training": ASKED}) as another:
        assert str(another.datasets["training"]) == "fake://cats@made-2"
    assert len(making) == 2


def test_a_cell_that_is_run_twice_makes_one_version(tracking, making):
    with mlflow.start_run():
        assert str(dsver.use(ASKED)) == str(dsver.use(ASKED)) == "fake://cats@made-1"
    assert len(making) == 1


def test_a_run_that_is_resumed_keeps_the_version_that_was_made_for_it(tracking, making):
    with dsver.start_run(inputs={"training": ASKED}) as run:
        pass
    with dsver.start_run(run_id=run.info.run_id, inputs={"training": ASKED}) as again:
        assert str(again.datasets["training"]) == "fake://cats@made-1"
    with pytest.raises(InputConflict):
        dsver.start_run(run_id=run.info.run_id, inputs={"training": "fake://dogs?create"})
    assert len(making) == 1


def test_nothing_is_made_when_another_input_cannot_be_had(tracking, making):
    making_nothing = {"training": ASKED, "test": "fake://cats@nowhere"}
    with pytest.raises(NotFound):
        dsver.start_run(inputs=making_nothing)
    with pytest.raises(InvalidReference):
        dsver.start_run(inputs={"training": ASKED, "test": "nothing"})
    assert making == []
    assert all_runs() == 0


def test_frozen_mode_takes_no_new_version(tracking, making, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSVER_FROZEN", "1")
    with pytest.raises(LockConflict, match="No version was made"):
        dsver.start_run(inputs={"training": ASKED})
    assert making == []


def test_training_goes_on_where_no_version_can_be_made_and_the_run_says_so(
    tracking, making, fake, monkeypatch, caplog
):
    monkeypatch.setattr(fake, "failure", ProviderUnavailable("is away", provider="fake", operation="create"))
    with caplog.at_level(logging.WARNING), dsver.start_run(inputs={"training": ASKED}, on_error="warn") as run:
        assert run.datasets["training"].error is not None
    assert "is away" in run_of(run.info.run_id).data.tags["dsver.training.error"]
    with pytest.raises(ProviderUnavailable):
        dsver.start_run(inputs={"training": ASKED})


@pytest.mark.parametrize(
    ("words", "says"),
    [("colour=red&shape=round", "shape"), ("deep=perhaps", "yes or no"), ("depth=many", "a number")],
)
def test_an_option_that_the_provider_does_not_have_is_named_with_those_that_it_has(tracking, making, words, says):
    with pytest.raises(InvalidArgument, match=says) as caught:
        dsver.start_run(inputs={"training": f"fake://cats?create&{words}"})
    assert "\n" not in str(caught.value)
    assert making == []
    assert all_runs() == 0


def test_a_run_that_is_over_gets_no_new_version(tracking, making):
    with mlflow.start_run() as run:
        pass
    for call in (lambda: dsver.attach(run.info.run_id, ASKED), lambda: dsver.resolve(ASKED)):
        with pytest.raises(InvalidReference, match="only an input of a run that starts"):
            call()
    assert making == []


def test_ranks_make_one_version_between_them(tracking, digits_folder, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("PMIX_NAMESPACE", "job-1")
    made = []
    real = creation.create
    monkeypatch.setattr(creation, "create", lambda new: made.append(new) or real(new))
    for rank in ("1", "0"):
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", rank)
        with dsver.start_run(inputs={"training": f"local://fresh?create&folder={digits_folder}"}):
            pass
        (digits_folder / "later.txt").write_text("changed between the ranks")
    assert len(made) == 1


def test_a_process_below_has_what_this_one_made(tracking, digits_folder, monkeypatch, prepared):
    monkeypatch.setenv("MLFLOW_DSVER_INPUTS", f"training=local://fresh?create&folder={digits_folder}")
    dsver.autolink({})
    with mlflow.start_run() as run:
        pass
    (digits_folder / "later.txt").write_text("changed")
    script = "import mlflow\nwith mlflow.start_run() as run: print(run.info.run_id)"
    done = subprocess.run([*prepared.python, "-c", script], capture_output=True, text=True, check=True)
    assert used(done.stdout.split()[-1]) == used(run.info.run_id)


def test_paperspace_makes_one_committed_or_not_as_asked(tracking, paperspace_emulator):
    paperspace_emulator.add_dataset("cats")
    asked = 'paperspace://cats?create&message=round 3&tag=r3&metadata={"by":"me"}'
    with dsver.start_run(inputs={"training": f"{asked}&commit=yes", "test": f"{asked}&commit=no"}) as run:
        committed, open_one = (run.datasets[role].version for role in ("training", "test"))
    assert (committed.immutable, open_one.immutable) == (True, False)
    assert (committed.message, committed.metadata["by"]) == ("round 3", "me")
    tags = run_of(run.info.run_id).data.tags
    assert (tags["dsver.training.grade"], tags["dsver.test.grade"]) == ("B", "D (uncommitted)")


def test_clarifai_makes_a_snapshot_with_filter_and_metadata(tracking, clarifai_emulator):
    clarifai_emulator.add_dataset("cats")
    asked = 'clarifai://cats?create&message=round 3&version_id=r3&visibility=private&metadata={"by":"me"}'
    with dsver.start_run(inputs={"training": asked}) as run:
        made = run.datasets["training"].version
    assert (made.id, made.message, dict(made.metadata)["by"]) == ("r3", "round 3", "me")
    assert get_provider("clarifai").get(made.ref.dataset, "r3").ref == made.ref
    assert run_of(run.info.run_id).data.tags["dsver.training.grade"] == "B"
