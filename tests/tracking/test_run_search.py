"""One question finds every run that used a version, whatever way it was linked and whoever can be asked."""

from __future__ import annotations

import json
import secrets
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.store.entities.paged_list import PagedList
from tracking_fakes import version

import mlflow_dsver as dsver
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.errors import NotFound, ProviderUnavailable, TrackingError
from mlflow_dsver.lineage.api import report_of
from mlflow_dsver.record.reader import all_links_of
from mlflow_dsver.tracking import run_search
from mlflow_dsver.tracking.description import describe
from mlflow_dsver.tracking.source import DatasetVersionSource


def log_input(source: Any, name: str = "frame", context: str | None = None) -> str:
    """A run that was linked as MLflow's own users do it, by a dataset whose source is a version; gives its id."""
    of = DatasetVersionSource.of(source) if isinstance(source, dsver.DatasetVersion) else source
    dataset = Dataset(name, secrets.token_hex(4), "dataset_version", json.dumps(of.to_dict()))
    tags = [InputTag("mlflow.data.context", context)] if context is not None else []
    with mlflow.start_run() as run:
        MlflowClient().log_inputs(run.info.run_id, [DatasetInput(dataset, tags)])
    return str(run.info.run_id)


def linked(ref: object, role: str = "training") -> str:
    with dsver.start_run(inputs={role: ref}) as run:
        return str(run.info.run_id)


def users(ref: object, **how: str) -> list[str]:
    return [use.run_id for use in dsver.runs_using(ref, **how)]


@pytest.mark.parametrize("name", ["frame", "it's 100%\\", "local://digits@clean", "ä/b"])
def test_a_run_linked_by_mlflows_log_input_is_found_from_the_version(tracking, digits, name):
    """Whatever its dataset is called, with a context and without one, between runs with a record of ours."""
    first = log_input(digits, name, "training")
    second = linked(digits)
    third = log_input(digits, name)
    assert users(digits) == users(str(digits)) == users("local://digits") == [third, second, first]
    assert users(digits, role="training") == [second, first]
    assert next((use.role, str(use.grade)) for use in dsver.runs_using(digits)) == ("unknown", "D")
    assert [link.version.ref for link in dsver.inputs_of(third)] == [digits.ref]


def test_a_server_is_asked_for_its_names_of_datasets(server, fake, monkeypatch):
    """Over HTTP the answer is the same, with the names that MLflow tells and without them."""
    made = fake.has(version(f"http-{secrets.token_hex(4)}"))
    runs = [log_input(made, context="training"), linked(made)]
    assert users(made) == runs[::-1]
    client, experiment = MlflowClient(), server.experiment_id
    assert run_search.other_names(client, [experiment]) == ({"frame"}, set())
    monkeypatch.setattr(run_search, "MAX_SUMMARIES", 2)
    assert run_search.other_names(client, [experiment]) == ({"frame"}, {experiment}), "there may be more names"
    assert users(made) == runs[::-1]
    monkeypatch.setattr(run_search, "dataset_summaries", lambda *_: None)
    assert run_search.other_names(client, [experiment]) == (set(), {experiment}), "a server without that question"
    assert users(made) == runs[::-1]


def test_where_there_are_very_many_names_all_inputs_are_read(tracking, digits, monkeypatch):
    runs = [log_input(digits, name) for name in ("a", "b", "c")]
    assert run_search.other_names(MlflowClient(), [tracking.experiment_id]) == ({"a", "b", "c"}, set())
    monkeypatch.setattr(run_search, "NAMES", 2)
    assert users(digits) == runs[::-1]


def test_each_input_of_a_run_is_told_once_and_none_is_left_out(tracking, digits, digits_folder):
    (digits_folder / "labels.csv").write_text("other")
    other = dsver.create_version("local://digits", digits_folder)
    run_id = linked(digits)
    inputs = [
        (digits, "training"),
        (digits, None),
        (other, "training"),
        (other, "my role"),
        (other, None),
        (other, ""),
    ]
    for each, context in inputs:
        source = json.dumps(DatasetVersionSource.of(each).to_dict())
        dataset = Dataset("frame", secrets.token_hex(4), "dataset_version", source)
        tags = [InputTag("mlflow.data.context", context)] if context is not None else []
        MlflowClient().log_inputs(run_id, [DatasetInput(dataset, tags)])
    links = all_links_of(MlflowClient().get_run(run_id))
    assert {role: link.version.ref for role, link in links.items()} == {
        "my-role": other.ref,
        "training": digits.ref,
        "training-2": other.ref,
    }, "what repeats a version in its role, or without a role, is no further input"
    assert users(other, role="training") == [run_id]
    assert users(other, role="training-2") == [run_id]


@pytest.mark.parametrize("reference", ["local://x", "nonsense", 7, ["local://a@b"], None])
def test_a_source_that_names_no_version_is_no_link_and_harms_no_other(tracking, digits, reference, caplog):
    run_id = linked(digits)
    dataset = Dataset("n", "d", "dataset_version", json.dumps({"reference": reference}))
    MlflowClient().log_inputs(run_id, [DatasetInput(dataset, [])])
    assert users(digits) == [run_id]
    assert [link.role for link in dsver.inputs_of(run_id)] == ["training"]


def test_a_run_whose_record_failed_half_way_is_found(tracking, digits):
    """Tags and params are there, the dataset input is not, and the run says that its record failed."""
    with mlflow.start_run() as run:
        mlflow.log_param("dsver.training.version", str(digits))
        mlflow.set_tag("dsver.error", "training: the tracking server did not answer in time")
    assert users(digits) == [run.info.run_id]


def test_the_name_of_a_dataset_stands_on_the_run_beside_its_id(tracking, fake, capsys):
    """Where people look: tags, the dataset's profile and source, the card, the description, the lists of runs."""
    fake.has(version("dst364npcw6ccok", dataset_name="cats | <b>\x1b[31m"))
    run_id = linked("fake://dst364npcw6ccok")
    run = MlflowClient().get_run(run_id)
    shown = "cats | <b>\\x1b[31m"
    assert run.data.tags["dsver.training.dataset_name"] == shown
    (given,) = run.inputs.dataset_inputs
    assert json.loads(given.dataset.profile)["dataset_name"] == shown
    assert json.loads(given.dataset.source)["dataset_name"] == "cats | <b>\x1b[31m"
    assert r"**cats \| \<b\>" in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/dsver/card.md")
    assert r"**cats \| \<b\>" in describe(run_id)
    (use,) = dsver.runs_using("fake://dst364npcw6ccok@v1")
    assert use.dataset_name == use.to_json()["dataset_name"] == shown
    for words in (["runs", "fake://dst364npcw6ccok@v1"], ["inputs", run_id]):
        assert command(words) == 0
        assert f"fake://dst364npcw6ccok@v1 ({shown})" in " ".join(capsys.readouterr().out.split())
    (told,) = report_of().runs
    assert told.uses[0].dataset_name == shown


@pytest.fixture
def named(fake, monkeypatch):
    """The provider knows the dataset `cats` under the id `ds1`, as services do."""
    made = fake.has(version("ds1", "v1", dataset_name="cats"))
    real = fake.resolve
    names = {"cats": "ds1"}

    def resolve(self, ref):
        return real(self, dsver.DatasetRef("fake", names.get(ref.dataset, ref.dataset), ref.selector))

    monkeypatch.setattr(fake, "resolve", resolve)
    return made


def test_runs_are_found_by_the_name_of_their_dataset(tracking, fake, named):
    run_id = linked("fake://cats@clean")
    for words in ("fake://cats", "fake://cats@clean", "fake://cats@latest", "fake://ds1", "fake://ds1@v1"):
        assert users(words) == [run_id], words
        assert dsver.runs_using(words).note is None


def test_the_canonical_reference_of_a_recorded_version_needs_no_provider(tracking, fake, named, monkeypatch):
    """Deleted there, the key expired, or no network: MLflow has the answer."""
    run_id = linked("fake://cats@clean")
    monkeypatch.setattr(fake, "resolve", None)
    assert users("fake://ds1@v1") == users("fake://ds1") == users(named) == [run_id]


def test_words_that_nobody_can_resolve_find_the_runs_that_asked_for_them_and_say_so(tracking, fake, named, capsys):
    run_id = linked("fake://cats@clean")
    fake.failure = ProviderUnavailable("no answer", provider="fake")
    for words in ("fake://cats", "fake://cats@clean"):
        found = dsver.runs_using(words)
        assert [use.run_id for use in found] == [run_id]
        assert "no answer" in found.note
        assert "asked for it" in found.note
    with pytest.raises(ProviderUnavailable):
        dsver.runs_using("fake://cats@other")
    assert command(["runs", "fake://cats", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["note"]
    assert "could not say" in said.err
    assert command(["runs", "fake://dogs"]) == 3, "not answered, so not none"


def test_a_name_that_no_provider_and_no_run_has_is_none_and_an_unknown_tag_an_error(tracking, fake, named):
    assert users("fake://dogs") == []
    with pytest.raises(NotFound):
        dsver.runs_using("fake://cats@nothing")


def test_the_command_says_when_there_are_more_runs_than_it_shows(tracking, digits, capsys):
    runs = [linked(digits) for _ in range(3)]
    assert command(["runs", "local://digits", "--limit", "2", "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert ([each["run_id"] for each in told["runs"]], told["more"]) == (runs[:0:-1], True)
    assert "there are more" in said.err
    assert command(["runs", "local://digits", "--limit", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["more"] is False


def test_a_listing_that_repeats_its_page_is_an_error_and_no_end(tracking):
    client = MlflowClient()

    def search(**_: Any) -> Any:
        return PagedList([1], "again")

    with pytest.raises(TrackingError, match="repeats a page"):
        list(run_search.pages(client, "search", search))
    empty = iter([PagedList([], "b"), PagedList([1], None)])
    assert [list(page) for page in run_search.pages(client, "search", lambda **_: next(empty))] == [[1]], (
        "an empty page with a mark of a next one is not the end"
    )
