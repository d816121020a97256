"""Linking on a SQLite store: what a run gets, key by key, and what happens in every kind of start and failure."""

from __future__ import annotations

import gzip
import json
import re
import threading
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from tracking_fakes import version

import mlflow_dsver as dsver
from mlflow_dsver import manifests
from mlflow_dsver.errors import (
    InputConflict,
    InvalidArgument,
    InvalidReference,
    NotFound,
    ProviderUnavailable,
    RunNotFound,
    TrackingError,
    UnknownProvider,
)
from mlflow_dsver.tracking import record, writing


def run_of(run_id: str):
    return MlflowClient().get_run(run_id)


def dsver_part(fields: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in fields.items() if key.startswith("dsver.")}


def artifact(run_id: str, name: str) -> bytes:
    return Path(run_of(run_id).info.artifact_uri.removeprefix("file://"), "dsver", name).read_bytes()


def all_runs() -> int:
    client = MlflowClient()
    return len(client.search_runs([each.experiment_id for each in client.search_experiments()]))


def test_the_whole_record_key_by_key(tracking, digits):
    """Everything that a run is promised is there, and nothing else of ours."""
    with dsver.start_run(inputs={"training": "local://digits@latest"}) as run:
        pass
    found = run_of(run.info.run_id)
    assert dsver_part(found.data.params) == {
        "dsver.training.version": str(digits),
        "dsver.training.requested": "local://digits@latest",
        "dsver.training.tags": "clean",
        "dsver.training.usage_bytes": str(digits.usage_bytes),
        "dsver.training.content_digest": digits.content_digest,
    }
    assert dsver_part(found.data.tags) == {
        "dsver.schema": "1",
        "dsver.training.version": str(digits),
        "dsver.training.grade": "A",
    }
    (each,) = found.inputs.dataset_inputs
    assert each.dataset.name == str(digits)
    assert each.dataset.digest == record.digest(digits)
    assert len(each.dataset.digest) == 16
    assert each.dataset.source_type == "dataset_version"
    assert json.loads(each.dataset.source) == {
        "schema": 1,
        "provider": "local",
        "dataset": "digits",
        "version": digits.id,
        "reference": str(digits),
        "requested": "local://digits@latest",
        "usage_bytes": digits.usage_bytes,
        "content_digest": digits.content_digest,
    }
    assert len(each.dataset.source) < 2048
    profile = json.loads(each.dataset.profile)
    assert profile["provider"] == "local"
    assert profile["grade"] == "A"
    assert profile["files"] == "5"
    assert len(profile) <= 10
    assert [(tag.key, tag.value) for tag in each.tags] == [("mlflow.data.context", "training")]
    whole = json.loads(artifact(run.info.run_id, "training.json"))
    assert whole["schema"] == 1
    assert whole["version"]["reference"] == str(digits)
    assert whole["version"]["raw"]["digest"] == digits.content_digest
    lines = gzip.decompress(artifact(run.info.run_id, "training.manifest.jsonl.gz")).decode().splitlines()
    assert json.loads(lines[0])["content_digest"] == digits.content_digest
    assert len(lines) == 1 + 5
    assert str(digits) in artifact(run.info.run_id, "card.md").decode()


def test_what_a_provider_does_not_know_is_said_or_left_out(tracking, fake):
    """Without bytes: usage `unknown`, no content digest, no manifest; with a page: its address is in the source."""
    fake.has(version(usage_bytes=None, tags=()))
    with dsver.start_run(inputs={"eval": "fake://cats"}) as run:
        pass
    found = run_of(run.info.run_id)
    assert dsver_part(found.data.params) == {
        "dsver.eval.version": "fake://cats@v1",
        "dsver.eval.requested": "fake://cats",
        "dsver.eval.tags": "",
        "dsver.eval.usage_bytes": "unknown",
    }
    source = json.loads(found.inputs.dataset_inputs[0].dataset.source)
    assert source["url"] == "https://data.example/cats/v1"
    assert source["usage_bytes"] is None
    assert source["content_digest"] is None
    folder = Path(found.info.artifact_uri.removeprefix("file://"), "dsver")
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "eval.json"]


def test_the_run_inside_the_block_is_mlflows_own_with_inputs_filled(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits"}, run_name="mine", tags={"a": "b"}) as run:
        assert isinstance(run, mlflow.ActiveRun)
        assert mlflow.active_run().info.run_id == run.info.run_id
        assert run.inputs.dataset_inputs[0].dataset.name == str(digits)
        assert run.data.tags["a"] == "b"
        assert run.info.run_name == "mine"
        linked = run.datasets["training"]
        assert (linked.path() / "labels.csv").is_file()
        assert str(linked) == str(digits)
        assert Path(linked) == linked.path()
    assert mlflow.active_run() is None
    assert run_of(run.info.run_id).info.status == "FINISHED"


def test_mlflows_source_gives_the_files_back_whatever_happened_to_the_folder(tracking, digits, digits_folder):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    (digits_folder / "labels.csv").write_text("overwritten")
    source = mlflow.data.get_source(run.inputs.dataset_inputs[0])
    loaded = Path(source.load())
    assert (loaded / "labels.csv").read_text().startswith("file,label")
    other = Path(source.load(dst_path="elsewhere"))
    assert (other / "labels.csv").read_bytes() == (loaded / "labels.csv").read_bytes()


def test_without_a_with_block_the_run_goes_on_until_end_run(tracking, digits):
    run = dsver.start_run(inputs={"training": "local://digits"})
    mlflow.log_metric("loss", 1)
    mlflow.end_run()
    assert run_of(run.info.run_id).info.status == "FINISHED"


def test_start_run_without_inputs_is_mlflows_start_run(tracking):
    with dsver.start_run(run_name="plain") as run:
        assert run.datasets == {}
    assert dsver_part(run_of(run.info.run_id).data.tags) == {}


def test_an_exception_in_the_block_fails_the_run_and_leaves_the_record(tracking, digits):
    with pytest.raises(ZeroDivisionError), dsver.start_run(inputs={"training": "local://digits"}) as run:
        raise ZeroDivisionError
    assert run_of(run.info.run_id).info.status == "FAILED"
    assert dsver.inputs_of(run.info.run_id)[0].version.ref == digits.ref


def test_nested_runs_have_inputs_of_their_own(tracking, digits, fake):
    fake.has(version())
    with (
        dsver.start_run(inputs={"training": "local://digits"}) as outer,
        dsver.start_run(inputs={"training": "fake://cats"}, nested=True) as inner,
    ):
        pass
    assert str(dsver.inputs_of(outer.info.run_id)[0].version) == str(digits)
    assert str(dsver.inputs_of(inner.info.run_id)[0].version) == "fake://cats@v1"
    assert run_of(inner.info.run_id).data.tags["mlflow.parentRunId"] == outer.info.run_id


def test_one_version_in_two_roles_is_two_inputs(tracking, digits):
    """MLflow keeps one input of a name and digest on a run; the second role has a digest of its own."""
    with dsver.start_run(inputs={"training": "local://digits", "validation": "local://digits@clean"}) as run:
        pass
    present = record.inputs_present(run_of(run.info.run_id))
    assert {(name, role) for name, _, role in present} == {(str(digits), "training"), (str(digits), "validation")}
    assert len({digest for _, digest, _ in present}) == 2
    assert [link.role for link in dsver.inputs_of(run.info.run_id)] == ["training", "validation"]


def test_use_of_a_version_in_a_second_role_is_not_lost(tracking, digits):
    """`use` does not know what the run has; what MLflow drops silently is seen and written again."""
    with mlflow.start_run() as run:
        dsver.use("local://digits", "training")
        second = dsver.use("local://digits", "validation")
    present = record.inputs_present(run_of(run.info.run_id))
    assert {role for _, _, role in present} == {"training", "validation"}
    assert second.digest == record.digest(digits, "validation")


def test_a_metric_can_name_the_linked_dataset(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits", "test": "local://digits"}) as run:
        for role in ("training", "test"):
            mlflow.log_metric(f"{role}_loss", 0.5, dataset=run.datasets[role].dataset)
    present = record.inputs_present(run_of(run.info.run_id))
    assert sorted(role for _, _, role in present) == ["test", "training"]


def test_use_links_the_active_run_and_starts_one_if_there_is_none(tracking, digits):
    linked = dsver.use(digits, role="test")
    run = mlflow.active_run()
    mlflow.end_run()
    (link,) = dsver.inputs_of(run.info.run_id)
    assert (link.role, link.requested, link.version.ref) == ("test", str(digits), digits.ref)
    assert linked.link.version == digits


def test_use_in_a_thread_without_a_run_never_touches_the_run_of_another(tracking, digits):
    with mlflow.start_run() as run:
        thread = threading.Thread(target=lambda: (dsver.use("local://digits"), mlflow.end_run()))
        thread.start()
        thread.join()
    assert dsver.inputs_of(run.info.run_id) == []
    assert all_runs() == 2


def test_using_the_same_again_is_silent_and_doubles_nothing(tracking, digits):
    with mlflow.start_run() as run:
        dsver.use("local://digits@clean")
        dsver.use("local://digits@clean")
        dsver.use("local://digits@latest")
    found = run_of(run.info.run_id)
    assert len(found.inputs.dataset_inputs) == 1
    assert found.data.params["dsver.training.requested"] == "local://digits@clean"


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
    assert record.inputs_present(before) == record.inputs_present(after)


def test_resuming_with_the_same_inputs_is_silent(tracking, digits, caplog):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    before, json_before = run_of(run.info.run_id), artifact(run.info.run_id, "training.json")
    with dsver.start_run(inputs={"training": "local://digits"}, run_id=run.info.run_id) as again:
        assert again.datasets["training"].path().is_dir()
    after = run_of(run.info.run_id)
    assert dsver_part(before.data.params) == dsver_part(after.data.params)
    assert dsver_part(before.data.tags) == dsver_part(after.data.tags)
    assert record.inputs_present(before) == record.inputs_present(after)
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
    with pytest.raises(InvalidArgument, match="raise or warn"):
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


@pytest.mark.parametrize("step", ["_log_inputs", "_read_back", "_log_artifacts"])
def test_a_failure_half_way_is_told_by_the_run_and_repaired_by_the_next_call(tracking, digits, monkeypatch, step):
    """Never silently half a link: the error is raised, the run has a tag, and linking again completes the record."""

    def broken(*_, **__):
        raise OSError("the disk is full")

    with mlflow.start_run() as run:
        with monkeypatch.context() as patched:
            patched.setattr(writing, step, broken)
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
        patched.setattr(writing, "_log_artifacts", broken)
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

    monkeypatch.setattr(writing, "_log_inputs", broken)
    with pytest.raises(TrackingError, match="the disk is full"):
        dsver.start_run(inputs={"training": "local://digits"})
    assert mlflow.active_run() is None
    (run,) = MlflowClient().search_runs([tracking.experiment_id])
    assert run.info.status == "FAILED"
    assert "the disk is full" in run.data.tags["dsver.error"]


def test_attach_links_a_run_that_is_over(tracking, digits):
    with mlflow.start_run() as run:
        pass
    linked = dsver.attach(run.info.run_id, "local://digits@clean", role="training")
    assert str(linked.grade) == "A (attached later)"
    (link,) = dsver.inputs_of(run.info.run_id)
    assert link == linked.link
    found = run_of(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["dsver.training.grade"] == "A (attached later)"
    assert len(found.inputs.dataset_inputs) == 1


def test_attach_of_what_is_linked_already_keeps_its_grade(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    assert str(dsver.attach(run.info.run_id, "local://digits@clean", "training").grade) == "A"
    assert run_of(run.info.run_id).data.tags["dsver.training.grade"] == "A"


def test_attach_refuses_another_version_and_runs_that_are_not_there(tracking, digits, fake):
    fake.has(version())
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    with pytest.raises(InputConflict):
        dsver.attach(run.info.run_id, "fake://cats", "training")
    for run_id in ("0" * 32, "no/such\x00run", ""):
        with pytest.raises(RunNotFound):
            dsver.attach(run_id, "local://digits", "training")
    with pytest.raises(InvalidReference):
        dsver.attach(run.info.run_id, "local://digits", "a role")


def test_create_version_refuses_a_selector_and_tags_that_are_one_text(digits_folder):
    with pytest.raises(InvalidReference, match="no id before it is made"):
        dsver.create_version("local://digits@v1", digits_folder)
    with pytest.raises(InvalidArgument, match="tags are a list"):
        dsver.create_version("local://digits", digits_folder, tags="clean")
    with pytest.raises(InvalidReference, match="comma"):
        dsver.create_version("local://digits", digits_folder, tags=["a,b"])


def test_a_reference_is_a_source_for_mlflows_datasets(tracking, digits):
    """Without a warning (each would be an error here), and the version is on the run's dataset."""
    import pandas

    frame = pandas.DataFrame({"a": [1.0, 2.0]})
    dataset = mlflow.data.from_pandas(frame, source="local://digits@clean", name="frame")
    assert dataset.source.reference == str(digits)
    assert dataset.source.requested == "local://digits@clean"
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training")
    source = mlflow.data.get_source(run_of(run.info.run_id).inputs.dataset_inputs[0])
    assert (Path(source.load()) / "labels.csv").is_file()
    assert mlflow.data.from_pandas(frame, source=digits).source.reference == str(digits)


def test_our_dataset_works_with_mlflows_log_input(tracking, digits):
    from mlflow_dsver.tracking.dataset import VersionedDataset

    with mlflow.start_run() as run:
        mlflow.log_input(VersionedDataset(digits), context="training")
    (link,) = dsver.inputs_of(run.info.run_id)
    assert link.version.ref == digits.ref
    assert str(link.grade) == "D"
    assert [use.role for use in dsver.runs_using(digits)] == ["training"]


def test_the_card_tells_what_changed_since_the_last_linked_run(tracking, digits, digits_folder):
    with dsver.start_run(inputs={"training": "local://digits"}, run_name="first") as first:
        pass
    with mlflow.start_run():
        pass
    (digits_folder / "labels.csv").write_text("relabelled")
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as second:
        pass
    assert "No earlier run" in artifact(first.info.run_id, "card.md").decode()
    card = artifact(second.info.run_id, "card.md").decode()
    assert f"Compared with first (`{first.info.run_id}`)" in card
    assert "1 file changed, 4 unchanged" in card
    assert "`labels.csv`" in card


def test_hostile_words_of_a_provider_are_recorded_and_cannot_hurt(tracking, fake):
    tags = ("a,b", "%2C", "x" * 9000, "<script>", "nul\x00", "\ud800")
    nasty = "](javascript:alert(1)) <img src=x onerror=y> | \n# heading \u202e"
    fake.has(version(tags=tags, message=nasty, web_url="javascript:alert(1)", raw={"text": nasty + "\ud800"}))
    with dsver.start_run(inputs={"training": "fake://cats"}) as run:
        pass
    found = run_of(run.info.run_id)
    assert "url" not in json.loads(found.inputs.dataset_inputs[0].dataset.source)
    assert len(found.data.params["dsver.training.tags"]) <= record.VALUE_LIMIT
    assert {"a,b", "%2C"} <= set(record.parse_tags(found.data.params["dsver.training.tags"]))
    card = artifact(run.info.run_id, "card.md").decode()
    assert "](javascript" not in card
    assert not re.search(r"(?<!\\)<img", card)
    assert "\n# heading" not in card
    assert json.loads(artifact(run.info.run_id, "training.json"))["version"]["raw"]["text"].startswith("](java")


def test_the_manifest_on_the_run_is_the_versions(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    import io

    recorded = manifests.read(io.BytesIO(artifact(run.info.run_id, "training.manifest.jsonl.gz")))
    assert recorded.digest == digits.content_digest
