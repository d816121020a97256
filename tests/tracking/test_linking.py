"""Linking on a SQLite store: what a run gets, key by key, and by which calls."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from tracking_fakes import all_runs, artifact, dsver_part, run_of, version

import mlflow_dsver as dsver
from mlflow_dsver.errors import (
    InputConflict,
    InvalidReference,
    RunNotFound,
)
from mlflow_dsver.model import manifests
from mlflow_dsver.record import schema


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
    tags = dsver_part(found.data.tags)
    sums = schema.parse_artifacts(tags.pop("dsver.training.artifacts"))
    assert tags == {"dsver.schema": "1", "dsver.training.version": str(digits), "dsver.training.grade": "A"}
    (each,) = found.inputs.dataset_inputs
    assert each.dataset.name == str(digits)
    assert each.dataset.digest == schema.digest(digits)
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
    names = ("training.json", "training.manifest.jsonl.gz")
    assert sums == {name: hashlib.sha256(artifact(run.info.run_id, name)).hexdigest() for name in names}
    assert whole["manifest_sha256"] == sums["training.manifest.jsonl.gz"]


def test_artifacts_that_are_written_again_get_their_sums_again(tracking, digits):
    """A second attempt at an incomplete record writes the artifacts anew, with another date."""
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    run_id = run.info.run_id
    before = artifact(run_id, "training.json")
    mlflow.MlflowClient().set_tag(run_id, "dsver.error", "something was missing")
    with dsver.start_run(run_id=run_id, inputs={"training": "local://digits"}):
        pass
    after = artifact(run_id, "training.json")
    assert after != before
    sums = schema.parse_artifacts(run_of(run_id).data.tags["dsver.training.artifacts"])
    assert sums["training.json"] == hashlib.sha256(after).hexdigest()
    assert set(sums) == {"training.json", "training.manifest.jsonl.gz"}


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
    present = schema.inputs_present(run_of(run.info.run_id))
    assert {(name, role) for name, _, role in present} == {(str(digits), "training"), (str(digits), "validation")}
    assert len({digest for _, digest, _ in present}) == 2
    assert [link.role for link in dsver.inputs_of(run.info.run_id)] == ["training", "validation"]


def test_the_longest_roles_are_read_back_as_they_are(tracking, digits):
    roles = {"r" * 64, "s" * 61}
    with dsver.start_run(inputs=dict.fromkeys(roles, "local://digits")) as run:
        pass
    assert {link.role for link in dsver.inputs_of(run.info.run_id)} == roles
    assert {use.role for use in dsver.runs_using("local://digits@clean")} == roles


def test_use_of_a_version_in_a_second_role_is_not_lost(tracking, digits):
    """`use` does not know what the run has; what MLflow drops silently is seen and written again."""
    with mlflow.start_run() as run:
        dsver.use("local://digits", "training")
        second = dsver.use("local://digits", "validation")
    present = schema.inputs_present(run_of(run.info.run_id))
    assert {role for _, _, role in present} == {"training", "validation"}
    assert second.dataset.digest == schema.digest(digits, "validation")


def test_a_metric_can_name_the_linked_dataset(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits", "test": "local://digits"}) as run:
        for role in ("training", "test"):
            mlflow.log_metric(f"{role}_loss", 0.5, dataset=run.datasets[role].dataset)
    present = schema.inputs_present(run_of(run.info.run_id))
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


def test_create_version_refuses_a_selector_and_reads_tags_from_one_text(digits_folder):
    with pytest.raises(InvalidReference, match="no id before it is created"):
        dsver.create_version("local://digits@v1", digits_folder)
    assert dsver.create_version("local://digits", digits_folder, tags="clean, raw").tags == ("clean", "raw")
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
    assert len(found.data.params["dsver.training.tags"]) <= schema.VALUE_LIMIT
    assert {"a,b", "%2C"} <= set(schema.parse_tags(found.data.params["dsver.training.tags"]))
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


def test_many_roles_are_one_record(tracking, fake):
    """More params than MLflow takes in one batch."""
    fake.has(version())
    roles = [f"shard-{index}" for index in range(30)]
    with dsver.start_run(inputs=dict.fromkeys(roles, "fake://cats")) as run:
        pass
    assert len(run.inputs.dataset_inputs) == 30
    assert [link.role for link in dsver.inputs_of(run.info.run_id)] == sorted(roles)


def test_the_first_use_of_a_dataset_by_many_threads_on_sqlite(tracking, fake):
    fake.has(version())

    def start(_: int) -> str:
        with dsver.start_run(inputs={"training": "fake://cats", "test": "fake://cats"}) as run:
            return run.info.run_id

    with ThreadPoolExecutor(12) as threads:
        run_ids = list(threads.map(start, range(12)))
    assert all(len(dsver.inputs_of(run_id)) == 2 for run_id in run_ids)
    assert all(len(run_of(run_id).inputs.dataset_inputs) == 2 for run_id in run_ids)
