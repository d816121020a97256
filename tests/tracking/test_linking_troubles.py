"""Linking that meets with something: a resumed run, bad input, a provider that fails, a record left half-written."""

from __future__ import annotations

import mlflow
import pytest
from mlflow import MlflowClient
from tracking_fakes import all_runs, artifact, dsver_part, run_of, version

import mlflow_dsver as dsver
from mlflow_dsver.errors import (
    CorruptObject,
    InputConflict,
    InvalidArgument,
    InvalidReference,
    NotFound,
    ProviderUnavailable,
    RunNotFound,
    TrackingError,
    UnknownProvider,
)
from mlflow_dsver.record import schema
from mlflow_dsver.tracking import async_logging, record_writer


def test_a_second_version_for_a_role_is_a_conflict_and_changes_nothing(tracking, digits, fake):
    fake.has(version())
    with mlflow.start_run() as run:
        dsver.use("local://digits")
        before = run_of(run.info.run_id)
        with pytest.raises(InputConflict, match=r"'training' already; expected local://digits@.*got fake://cats@v1"):
            dsver.use("fake://cats", on_error="warn")
    after = run_of(run.info.run_id)
    assert before.data.params == after.data.params
    assert before.data.tags == after.data.tags
    assert schema.inputs_present(before) == schema.inputs_present(after)


def test_resuming_with_the_same_inputs_is_silent(tracking, digits, caplog):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    before, json_before = run_of(run.info.run_id), artifact(run.info.run_id, "training.json")
    with dsver.start_run(inputs={"training": "local://digits"}, run_id=run.info.run_id) as again:
        assert again.datasets["training"].path().is_dir()
    after = run_of(run.info.run_id)
    assert dsver_part(before.data.params) == dsver_part(after.data.params)
    seen = after.data.tags.pop("dsver.training.sealed")  # since its files were given out
    assert seen.endswith(" same")
    assert dsver_part(before.data.tags) == dsver_part(after.data.tags)
    assert schema.inputs_present(before) == schema.inputs_present(after)
    assert artifact(run.info.run_id, "training.json") == json_before
    assert not [each for each in caplog.records if each.name.startswith("mlflow_dsver")]


def test_resuming_by_the_environment_is_resuming(tracking, digits, monkeypatch):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    with dsver.start_run(inputs={"training": "local://digits"}) as again:
        pass
    assert again.info.run_id == run.info.run_id
    assert all_runs() == 1


def test_resuming_with_another_version_is_an_error_before_the_run_is_touched(tracking, digits, fake):
    fake.has(version())
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    with pytest.raises(InputConflict, match="another version"):
        dsver.start_run(inputs={"training": "fake://cats"}, run_id=run.info.run_id)
    assert mlflow.active_run() is None
    assert run_of(run.info.run_id).info.status == "FINISHED"


def test_resuming_with_a_selector_that_moved_goes_on_with_what_the_run_started_with(
    tracking, digits, digits_folder, caplog
):
    """A moving selector is resolved once, at the start of a run."""
    with dsver.start_run(inputs={"training": "local://digits@latest"}) as run:
        pass
    (digits_folder / "labels.csv").write_text("relabelled")
    moved = dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits@latest"}, run_id=run.info.run_id) as again:
        assert again.datasets["training"].version.ref == digits.ref
    assert f"means {moved} by now" in caplog.text
    with pytest.raises(InputConflict):
        dsver.start_run(inputs={"training": str(moved)}, run_id=run.info.run_id)


def test_resuming_with_a_tag_that_was_deleted_goes_on_with_what_the_run_started_with(tracking, fake, caplog):
    """Its version is on the record, and the tag was resolved once, at the start of the run."""
    fake.has(version())
    with dsver.start_run(inputs={"training": "fake://cats@clean"}) as run:
        pass
    fake.has(version(tags=()))
    with dsver.start_run(inputs={"training": "fake://cats@clean"}, run_id=run.info.run_id) as again:
        assert str(again.datasets["training"]) == "fake://cats@v1"
    assert "fake://cats@clean means nothing any more; the run goes on with fake://cats@v1" in caplog.text
    assert "dsver.training.error" not in run_of(run.info.run_id).data.tags
    with pytest.raises(NotFound, match="no such tag"):
        dsver.start_run(inputs={"training": "fake://cats@dirty"}, run_id=run.info.run_id)
    fake.known.clear()
    with pytest.raises(NotFound, match="no such version"):
        dsver.start_run(inputs={"training": "fake://cats@clean"}, run_id=run.info.run_id)


def test_resuming_may_add_a_role(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    both = {"training": "local://digits", "test": "local://digits"}
    with dsver.start_run(inputs=both, run_id=run.info.run_id):
        pass
    assert [link.role for link in dsver.inputs_of(run.info.run_id)] == ["test", "training"]
    card = artifact(run.info.run_id, "card.md").decode()
    assert "| training |" in card
    assert "| test |" in card


def test_resuming_a_run_that_does_not_exist_says_so(tracking, digits):
    with pytest.raises(RunNotFound, match="no run 0123456789abcdef0123456789abcdef"):
        dsver.start_run(inputs={"training": "local://digits"}, run_id="0123456789abcdef0123456789abcdef")
    assert mlflow.active_run() is None


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"training": "local://nothing"}, NotFound),
        ({"training": "local://digits@nothing"}, NotFound),
        ({"training": "nowhere://digits"}, UnknownProvider),
        ({"training": "not a reference"}, InvalidReference),
        ({"training": "local://di\x00gits"}, InvalidReference),
        ({"training": "local://" + "x" * 5000}, InvalidReference),
        ({"training": ""}, InvalidReference),
        ({"tra:ining": "local://digits"}, InvalidReference),
        ({"": "local://digits"}, InvalidReference),
        ({"training": 7}, InvalidReference),
        ({"good": "local://digits", "bad": "local://nothing"}, NotFound),
    ],
)
def test_a_bad_input_leaves_no_run_behind(tracking, digits, inputs, error):
    with pytest.raises(error):
        dsver.start_run(inputs=inputs)
    assert mlflow.active_run() is None
    assert all_runs() == 0
    with pytest.raises(error):
        dsver.use(inputs.popitem()[1] if "good" in inputs else next(iter(inputs.values())), next(iter(inputs), ""))
    assert all_runs() == 0


def test_a_policy_that_does_not_exist_is_refused(tracking, digits):
    with pytest.raises(InvalidArgument, match="raise, warn or offline"):
        dsver.use("local://digits", on_error="ignore")


def test_under_warn_training_goes_on_and_the_run_says_what_failed(tracking, digits, fake, caplog):
    fake.failure = ProviderUnavailable("no answer", provider="fake", operation="resolve", reference="fake://cats")
    both = {"training": "local://digits", "validation": "fake://cats"}
    with dsver.start_run(inputs=both, on_error="warn") as run:
        assert run.datasets["training"].path().is_dir()
        with pytest.raises(ProviderUnavailable, match="no answer"):
            run.datasets["validation"].path()
    tags = run_of(run.info.run_id).data.tags
    assert "no answer" in tags["dsver.validation.error"]
    assert tags["dsver.training.version"] == str(digits)
    assert "dsver.validation.version" not in tags
    assert "no answer" in caplog.text


def test_the_policy_may_come_from_the_settings(tracking, fake, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSVER_ON_ERROR", "warn")
    fake.failure = ProviderUnavailable("no answer", provider="fake", operation="resolve")
    with mlflow.start_run() as run:
        linked = dsver.use("fake://cats")
    assert isinstance(linked.error, ProviderUnavailable)
    assert "no answer" in run_of(run.info.run_id).data.tags["dsver.training.error"]


def test_a_resumed_run_whose_provider_is_down_keeps_its_link_under_warn(tracking, fake):
    fake.has(version())
    with dsver.start_run(inputs={"training": "fake://cats"}) as run:
        pass
    fake.failure = ProviderUnavailable("no answer", provider="fake", operation="resolve")
    with dsver.start_run(inputs={"training": "fake://cats"}, on_error="warn", run_id=run.info.run_id) as again:
        assert str(again.datasets["training"]) == "fake://cats@v1"
    assert "dsver.training.error" not in run_of(run.info.run_id).data.tags
    with pytest.raises(ProviderUnavailable):
        dsver.start_run(inputs={"training": "fake://cats"}, run_id=run.info.run_id)


@pytest.mark.parametrize("how", ["start_run", "use"])
def test_long_labels_never_take_the_version_down(tracking, fake, monkeypatch, how):
    """Where the server refuses params of more than 500 characters (MLflow before 2.8, Azure ML), labels are cut."""
    monkeypatch.setattr("mlflow.utils.validation.MAX_PARAM_VAL_LENGTH", 500)
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    made = fake.has(version(tags=tuple(f"2026-11-{day:02d}-nightly" for day in range(1, 41))))
    if how == "start_run":
        with dsver.start_run(inputs={"training": "fake://cats"}) as run:
            pass
    else:
        with mlflow.start_run() as run:
            dsver.use("fake://cats")
    found = run_of(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert "dsver.error" not in found.data.tags
    assert found.data.params["dsver.training.version"] == "fake://cats@v1"
    assert found.data.params["dsver.training.usage_bytes"] == "4096"
    kept = schema.parse_tags(found.data.params["dsver.training.tags"])
    assert found.data.params["dsver.training.tags"].endswith(f",… {40 - len(kept)} more")
    assert dsver.inputs_of(run.info.run_id)[0].version.tags == made.tags, "the artifact has them all"


def test_what_is_refused_for_another_reason_is_not_tried_for_ever(tracking, fake, monkeypatch):
    calls = []

    def refuse(*_: object, **more: object) -> None:
        calls.append(more)
        raise mlflow.MlflowException("INVALID_PARAMETER_VALUE: no such thing")

    fake.has(version(tags=("x" * 300,)))
    monkeypatch.setattr(record_writer, "log_batch", refuse)
    with mlflow.start_run(), pytest.raises(TrackingError, match="no such thing"):
        dsver.use("fake://cats")
    linking = [each for each in calls if each.get("params")]
    assert len(linking) == 2, "whole, and with short labels"


@pytest.mark.parametrize("step", ["_log_inputs", "_read_back", "_log_artifacts"])
def test_a_failure_half_way_is_told_by_the_run_and_repaired_by_the_next_call(tracking, digits, monkeypatch, step):
    """Never silently half a link: the error is raised, the run has a tag, and linking again completes the record."""

    def broken(*_, **__):
        raise OSError("the disk is full")

    with mlflow.start_run() as run:
        with monkeypatch.context() as patched:
            patched.setattr(record_writer, step, broken)
            with pytest.raises(TrackingError, match="the disk is full"):
                dsver.use("local://digits")
        assert "the disk is full" in run_of(run.info.run_id).data.tags["dsver.error"]
        dsver.use("local://digits")
    found = run_of(run.info.run_id)
    assert "dsver.error" not in found.data.tags
    assert len(found.inputs.dataset_inputs) == 1
    assert artifact(run.info.run_id, "training.json")


def test_a_resumed_run_completes_what_a_failure_left_out(tracking, digits, monkeypatch):
    def broken(*_, **__):
        raise OSError("the disk is full")

    with (
        monkeypatch.context() as patched,
        dsver.start_run() as run,
    ):
        patched.setattr(record_writer, "_log_artifacts", broken)
        linked = dsver.use("local://digits", on_error="warn")
        assert linked.path().is_dir()
        assert isinstance(linked.error, TrackingError)
    with dsver.start_run(inputs={"training": "local://digits"}, run_id=run.info.run_id):
        pass
    assert "dsver.error" not in run_of(run.info.run_id).data.tags
    assert artifact(run.info.run_id, "training.json")


def test_start_run_that_cannot_be_linked_fails_its_run(tracking, digits, monkeypatch):
    def broken(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(record_writer, "_log_inputs", broken)
    monkeypatch.setenv("MLFLOW_DSVER_BACKGROUND", "no")
    with pytest.raises(TrackingError, match="the disk is full"):
        dsver.start_run(inputs={"training": "local://digits"})
    assert mlflow.active_run() is None
    (run,) = MlflowClient().search_runs([tracking.experiment_id])
    assert run.info.status == "FAILED"
    assert "the disk is full" in run.data.tags["dsver.error"]


def test_a_store_of_files_refuses_a_second_version_as_well(tmp_path, digits, fake, monkeypatch):
    """It reports a changed param as an internal error, and writes a batch one by one."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    fake.has(version())
    with mlflow.start_run() as run:
        dsver.use("local://digits")
        dsver.use("local://digits@clean")
        before = run_of(run.info.run_id).data.params
        with pytest.raises(InputConflict):
            dsver.use("fake://cats")
    assert run_of(run.info.run_id).data.params == before
    assert [use.run_id for use in dsver.runs_using("local://digits")] == [run.info.run_id]


def test_a_link_can_do_without_a_manifest_that_cannot_be_read_and_the_run_says_so(
    tracking, digits, fake, monkeypatch
):
    """The version is known all the same; only which files it has is not on the run."""
    fake.has(version())

    def unreadable(*_):
        raise CorruptObject("its manifest is damaged", reference="fake://cats@v1")

    monkeypatch.setattr(fake, "manifest", unreadable)
    with dsver.start_run(inputs={"training": "fake://cats", "test": "local://digits"}) as run:
        pass
    found = run_of(run.info.run_id)
    assert found.data.params["dsver.training.version"] == "fake://cats@v1"
    assert "its manifest is damaged" in found.data.tags["dsver.training.error"]
    assert "dsver.error" not in found.data.tags
    assert artifact(run.info.run_id, "training.json")
    assert artifact(run.info.run_id, "test.manifest.jsonl.gz")
    monkeypatch.setenv("MLFLOW_DSVER_OVERLAP", "raise")
    with pytest.raises(CorruptObject):
        dsver.start_run(inputs={"training": "fake://cats", "test": "local://digits"})


def test_runs_that_end_without_a_with_block_leave_nothing_in_memory(tracking, digits):
    for _ in range(3):
        run = dsver.start_run(inputs={"training": "local://digits"})
        assert run.inputs.dataset_inputs
        mlflow.end_run()
    assert len(async_logging._open) <= 1


def test_a_child_of_an_overridden_run_is_not_overridden_once_more(tracking, digits, digits_folder, monkeypatch):
    (digits_folder / "new.txt").write_text("new")
    other = dsver.create_version("local://digits", digits_folder)
    monkeypatch.setenv("MLFLOW_DSVER_OVERRIDE", f"training={digits}")
    with dsver.start_run(inputs={"training": str(other)}) as parent, dsver.start_run(nested=True) as child:
        pass
    assert run_of(parent.info.run_id).data.tags["dsver.training.overridden"] == str(other)
    assert dsver.inputs_of(child.info.run_id)[0].version.ref == digits.ref
    assert "dsver.training.overridden" not in run_of(child.info.run_id).data.tags
