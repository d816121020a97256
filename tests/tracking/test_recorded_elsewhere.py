"""What MLflow's own sources and other tools recorded on a run, as far as a provider understands it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag
from processes import Run

import mlflow_dsver as dsver
from mlflow_dsver import plugins
from mlflow_dsver.errors import NotFound
from mlflow_dsver.plugins import RecordedVersion


def from_source(source: Mapping[str, Any]) -> list[RecordedVersion]:
    reference = f"local://{source['name']}"
    exact = f"{reference}@{source['version']}"
    return [RecordedVersion(exact if source.get("exact") else reference, exact)]


def from_tags(tags: Mapping[str, str]) -> list[RecordedVersion]:
    return [RecordedVersion(tags["tool_reference"], tags["tool_reference"], tags.get("tool_role"))]


@pytest.fixture(autouse=True)
def understanding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local provider understands a source type and a tag."""
    infos = dict(plugins.provider_infos())
    infos["local"] = replace(
        infos["local"],
        recorded_sources={"tool": f"{__name__}:from_source"},
        recorded_tags={"tool_reference": f"{__name__}:from_tags"},
    )
    monkeypatch.setattr(plugins, "provider_infos", lambda: MappingProxyType(infos))


@pytest.fixture
def new_run(tracking: Any) -> Callable[..., str]:
    """Makes a run with a dataset input of the type `tool`, its source as given, and tags."""

    def make(source: Any = None, context: str = "training", **tags: str) -> str:
        with mlflow.start_run() as run:
            mlflow.set_tags(tags)
        if source is not None:
            text = source if isinstance(source, str) else json.dumps(source)
            dataset = Dataset(name="cats", digest="0", source_type="tool", source=text)
            entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
            mlflow.MlflowClient().log_inputs(run.info.run_id, [entry])
        return str(run.info.run_id)

    return make


def test_an_exact_record_is_an_input_of_grade_d_until_it_is_attached(
    new_run: Callable[..., str], digits: dsver.DatasetVersion
) -> None:
    run = new_run({"name": "digits", "version": digits.id, "exact": True})
    (link,) = dsver.inputs_of(run)
    assert (link.role, link.version.ref, str(link.grade)) == ("training", digits.ref, "D (recorded by MLflow)")
    assert dsver.attach_recorded(run)["training"].ref == digits.ref
    (link,) = dsver.inputs_of(run)
    assert str(link.grade) == "A (attached later)"
    assert dsver.verify(run)


def test_a_record_that_names_no_exact_version_is_shown_and_is_no_version(
    new_run: Callable[..., str], digits: dsver.DatasetVersion, run: Run
) -> None:
    made = new_run({"name": "digits", "version": "clean"}, context="eval")
    assert dsver.inputs_of(made) == []
    shown = run("inputs", made)
    assert "eval=local://digits@clean" in shown.stdout
    assert "no exact version" in shown.stdout
    with pytest.raises(NotFound, match="eval=local://digits@clean"):
        dsver.attach_recorded(made)


def test_tags_of_another_tool_are_understood(new_run: Callable[..., str], digits: dsver.DatasetVersion) -> None:
    run = new_run(tool_reference=str(digits), tool_role="test")
    (link,) = dsver.inputs_of(run)
    assert (link.role, link.version.ref, str(link.grade)) == ("test", digits.ref, "D (recorded by tags)")


def test_a_link_is_not_listed_twice_and_keeps_its_role(
    new_run: Callable[..., str], digits: dsver.DatasetVersion
) -> None:
    other = {"name": "digits", "version": "0" * 16, "exact": True}
    run = new_run(other, tool_reference=str(digits))
    dsver.attach(run, digits)
    assert [(link.role, link.version.id) for link in dsver.inputs_of(run)] == [
        ("training", digits.id),
        ("training-2", "0" * 16),
    ]


@pytest.mark.parametrize("source", ["", "[]", "no JSON", "{}", '{"name": "../x", "version": "1"}', '{"name": 3}'])
def test_a_record_that_cannot_be_read_is_no_input_and_no_failure(new_run: Callable[..., str], source: str) -> None:
    assert dsver.inputs_of(new_run(source, tool_reference="no reference")) == []


def test_checks_take_what_was_recorded_by_others_for_no_link(
    new_run: Callable[..., str], digits: dsver.DatasetVersion
) -> None:
    run = new_run({"name": "digits", "version": digits.id, "exact": True})
    assert not dsver.verify(run).inputs
