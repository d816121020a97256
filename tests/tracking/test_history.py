"""From runs to versions and back: what is read when records are partial, hostile or somebody else's."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from tracking_fakes import version

import mlflow_dsver as dsver
from mlflow_dsver.errors import InvalidReference, NotFound, RunNotFound


def linked(ref: object, role: str = "training") -> str:
    with dsver.start_run(inputs={role: ref}) as run:
        return run.info.run_id


def users(ref: object, **how: str) -> list[str]:
    return [use.run_id for use in dsver.runs_using(ref, **how)]


def test_runs_are_found_by_id_tag_latest_and_dataset(tracking, digits, digits_folder):
    first = linked("local://digits@clean")
    (digits_folder / "labels.csv").write_text("relabelled")
    later = dsver.create_version("local://digits", digits_folder)
    second = linked(later)
    assert users(str(digits)) == users("local://digits@clean") == users(digits) == [first]
    assert users("local://digits@latest") == users(later) == [second]
    assert users("local://digits") == users(dsver.parse("local://digits")) == [second, first]
    assert users("local://digits", role="test") == []
    (use,) = dsver.runs_using(digits)
    assert (use.role, str(use.ref), str(use.grade), use.status) == ("training", str(digits), "A", "FINISHED")
    assert json.loads(json.dumps(use.to_json()))["run_id"] == first
    with pytest.raises(NotFound):
        dsver.runs_using("local://digits@nothing")


def test_runs_of_all_experiments_are_found(tracking, digits):
    first = linked("local://digits")
    mlflow.set_experiment("another")
    second = linked("local://digits")
    assert users(digits) == [second, first]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a_b", "axb"),
        ("100%", "100x25"),
        ("it's", "its"),
        ("a/b", "a/b/c"),
        ("cats", "cats2"),
        ("ä", "%C3%A4"),
        ("A", "a"),
    ],
)
def test_names_with_wildcards_and_quotes_mean_themselves(tracking, fake, name, other):
    fake.known.clear()
    for each in (name, other):
        fake.has(version(each, f"v-{each.replace('/', '-')}"))
    mine = linked(version(name, "v1"))
    linked(version(other, "v1"))
    assert users(dsver.DatasetRef("fake", name)) == [mine]
    assert users(version(name, "v1")) == [mine]


def test_a_run_with_two_roles_is_found_once_a_role(tracking, digits):
    with dsver.start_run(inputs={"training": "local://digits", "test": "local://digits"}):
        pass
    assert sorted(use.role for use in dsver.runs_using(digits)) == ["test", "training"]


def test_a_run_without_links_has_none_and_a_missing_run_is_an_error(tracking):
    with mlflow.start_run() as run:
        pass
    assert dsver.inputs_of(run.info.run_id) == []
    for missing in ("0" * 32, "", "../x", "a\x00b"):
        with pytest.raises(RunNotFound):
            dsver.inputs_of(missing)


def test_a_role_that_is_none_is_refused(tracking, digits):
    with pytest.raises(InvalidReference):
        dsver.runs_using(digits, role="a role")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 2}',
        '{"schema": 1}',
        '{"schema": 1, "role": 7}',
        "[" * 100_000,
        "\x00",
        '"x"',
        '{"schema": 1, "role": "training", "requested": "x", "grade": "A", "linked": "2026-01-01", "version": []}',
    ],
)
def test_a_damaged_artifact_is_passed_over(tracking, digits, content):
    """Params, tags and inputs are read instead."""
    run_id = linked("local://digits")
    artifact(run_id).write_text(content)
    (link,) = dsver.inputs_of(run_id)
    assert link.version.ref == digits.ref
    assert link.version.content_digest == digits.content_digest
    assert link.version.message is None


def test_an_artifact_that_tells_of_another_version_is_not_believed(tracking, digits, caplog):
    run_id = linked("local://digits")
    path = artifact(run_id)
    forged = json.loads(path.read_text())
    forged["version"]["reference"] = "local://digits@forged"
    path.write_text(json.dumps(forged))
    (link,) = dsver.inputs_of(run_id)
    assert link.version.ref == digits.ref
    assert "tells of local://digits@forged" in caplog.text


def test_a_huge_artifact_is_not_read(tracking, digits):
    run_id = linked("local://digits")
    with artifact(run_id).open("wb") as stream:
        stream.truncate(100 << 20)
    assert dsver.inputs_of(run_id)[0].version.ref == digits.ref


def test_hostile_records_are_passed_over_with_a_warning(tracking, digits, caplog):
    run_id = linked("local://digits")
    client = MlflowClient()
    for key, value in {
        "dsver.evil.version": "javascript:alert(1)",
        "dsver.worse.version": "local://../../etc/passwd@x",
        "dsver.none.version": "local://digits",
        "dsver.training.grade": "AAA <script>",
        "dsver.a b.version": "local://digits@v1",
    }.items():
        client.set_tag(run_id, key, value)
    for source in ("{", "[]", "null", '{"reference": 7}', '{"reference": "local://x@' + "y" * 9000 + '"}'):
        entity = Dataset(f"name {len(source)}", "digest", "dataset_version", source)
        client.log_inputs(run_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", "odd")])])
    (link,) = dsver.inputs_of(run_id)
    assert link.role == "training"
    assert str(link.grade) == "D"
    assert "its evil input is not a link" in caplog.text
    assert users(digits) == [run_id]


def test_only_http_addresses_survive_a_hostile_source(tracking):
    with mlflow.start_run() as run:
        source = json.dumps({"reference": "fake://cats@v1", "url": "javascript:alert(1)", "usage_bytes": -5})
        entity = Dataset("fake://cats@v1", "digest", "dataset_version", source)
        tag = InputTag("mlflow.data.context", "training")
        MlflowClient().log_inputs(run.info.run_id, datasets=[DatasetInput(entity, [tag])])
    (link,) = dsver.inputs_of(run.info.run_id)
    assert link.version.web_url is None
    assert link.version.usage_bytes is None


def artifact(run_id: str) -> Path:
    return Path(mlflow.get_run(run_id).info.artifact_uri.removeprefix("file://"), "dsver", "training.json")
