"""Runs in workspaces of a real server: linked there, sent there later, found over all of them, with their pages."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from servers import LONG, tracking_server

import mlflow_dsver as dsver
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import RunNotFound
from mlflow_dsver.text import markdown
from mlflow_dsver.tracking import async_logging, clients, outbox, sync

pytestmark = pytest.mark.skipif(not hasattr(mlflow, "set_workspace"), reason="this MLflow has no workspaces")
EXPERIMENT = "digits"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the workspaces default, team-a and team-b, and with the lineage pages."""
    folder = tmp_path_factory.mktemp("workspaces")
    options = ("--enable-workspaces", "--app-name", "dsver")
    with tracking_server(folder, f"sqlite:///{folder}/mlflow.db", options=options) as (address, _):
        client = MlflowClient(tracking_uri=address)
        for name in ("team-a", "team-b"):
            client.create_workspace(name)
        yield address


@pytest.fixture
def workspace(address: str) -> Iterator[Callable[[str | None], None]]:
    """Makes a workspace the active one."""
    mlflow.set_tracking_uri(address)
    yield mlflow.set_workspace
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_workspace(None)
    mlflow.set_tracking_uri(None)


@pytest.fixture
def version(digits_folder: Path, request: pytest.FixtureRequest) -> Any:
    """A version that no other test has."""
    return dsver.create_version(f"local://{request.node.name.replace('_', '-')[:40].strip('-')}", digits_folder)


def linked(name: str, version: Any) -> str:
    """A run in the active workspace that used the version."""
    mlflow.set_experiment(name)
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        pass
    async_logging.settle(run.info.run_id)
    return str(run.info.run_id)


def page(address: str, path: str, **headers: str) -> tuple[int, str]:
    try:
        request = urllib.request.Request(address + path, headers=headers)
        with urllib.request.urlopen(request, timeout=4 * LONG) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_run_is_linked_in_the_workspace_that_it_was_started_in(workspace: Any, version: Any) -> None:
    """Also when another one is the active one before its record is written."""
    workspace("team-a")
    mlflow.set_experiment(EXPERIMENT)
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        workspace("team-b")
        async_logging.settle(run.info.run_id)
        workspace("team-a")
    assert [link.version.ref for link in dsver.inputs_of(run.info.run_id)] == [version.ref]
    workspace("team-b")
    with pytest.raises(RunNotFound):
        dsver.inputs_of(run.info.run_id)
    assert "/team-a/" in run.info.artifact_uri


def test_questions_are_about_the_active_workspace_one_or_all(workspace: Any, version: Any) -> None:
    made = {}
    for name in ("team-a", "team-b"):
        workspace(name)
        made[name] = linked(EXPERIMENT, version)
    ref = str(version.ref)
    found = list(dsver.runs_using(ref))
    assert [(use.workspace, use.run_id) for use in found] == [("team-b", made["team-b"])]
    assert [use.run_id for use in dsver.runs_using(ref, workspace="team-a")] == [made["team-a"]]
    everywhere = list(dsver.runs_using(ref, workspace="*"))
    assert [(use.workspace, use.run_id) for use in everywhere] == [
        ("team-b", made["team-b"]),
        ("team-a", made["team-a"]),
    ], "newest first"
    assert everywhere[0].to_json()["workspace"] == "team-b"
    assert list(dsver.runs_using(ref, workspace="default")) == []
    workspace(None)
    assert list(dsver.runs_using(ref)) == []


def test_models_of_the_same_name_in_two_workspaces_are_two(workspace: Any, version: Any) -> None:
    made = {}
    for name in ("team-a", "team-b"):
        workspace(name)
        made[name] = linked(EXPERIMENT, version)
        client = MlflowClient()
        client.create_registered_model(f"model of {version.ref.dataset}")
        client.create_model_version(f"model of {version.ref.dataset}", f"runs:/{made[name]}/model", made[name])
    uses = list(dsver.models_using(version, workspace="*"))
    assert {(use.workspace, use.run_id) for use in uses} == set(made.items())
    assert [use.workspace for use in dsver.models_using(version)] == ["team-b"]
    report = dsver.report_of(workspace="*")
    mine = [run for run in report.runs if run.run_id in made.values()]
    assert {run.place for run in mine} == {"team-a / digits", "team-b / digits"}
    assert len({model.key for run in mine for model in run.models}) == 2


def test_the_commands(workspace: Any, version: Any, run: Any, address: str) -> None:
    workspace("team-a")
    run_id = linked(EXPERIMENT, version)
    workspace(None)
    ref = str(version.ref)
    assert run_id not in run("runs", ref).stdout
    shown = run("runs", ref, "--all-workspaces").stdout
    assert "WORKSPACE" in shown
    assert "team-a" in shown
    data = json.loads(run("runs", ref, "--workspace", "team-a", "--json").stdout)
    assert [(each["workspace"], each["run_id"]) for each in data["runs"]] == [("team-a", run_id)]
    assert run("runs", ref, "--workspace", "team-a", "--all-workspaces").returncode == 2
    report = run("lineage", "--all-workspaces").stdout
    assert markdown("team-a / digits") in report
    assert f"/runs/{run_id}?workspace=team-a" in report


def test_versions_that_runs_of_any_workspace_need_are_held(workspace: Any, version: Any) -> None:
    runs = []
    for name in ("team-a", "team-b"):
        workspace(name)
        runs.append(linked("holds", version))
    workspace(None)
    found = {need.ref: need for need in dsver.holds(apply=True).needs}[version.ref]
    assert {each.reason for each in found.held} == {f"run:{run_id}" for run_id in runs}
    workspace("team-b")
    mlflow.delete_run(runs[1])
    workspace("team-a")
    found = {need.ref: need for need in dsver.holds(apply=True).needs}[version.ref]
    assert [each.reason for each in found.held] == [f"run:{runs[0]}"]


def test_what_waits_is_sent_to_its_workspace(workspace: Any, version: Any) -> None:
    """Whichever is the active one by then, or none."""
    found = {}
    for name in ("team-a", None):
        workspace(name)
        experiment = mlflow.set_experiment(EXPERIMENT)
        run = MlflowClient().create_run(experiment.experiment_id)
        link = dsver.inputs_of(linked(EXPERIMENT, version))[0]
        entry = outbox.PendingRecord(
            run.info.run_id, run.info.experiment_id, mlflow.get_tracking_uri(), (link,), workspace=name
        )
        put = outbox.put(entry)
        assert put is not None
        put.release()
        found[name] = run.info.run_id
    workspace("team-b")
    outcomes = list(sync.sync())
    assert [str(each.state) for each in outcomes] == ["sent", "sent"], outcomes
    assert [each.to_json().get("workspace") for each in outcomes] == ["team-a", None]
    for name, run_id in found.items():
        workspace(name)
        assert [link.version.ref for link in dsver.inputs_of(run_id)] == [version.ref]


def test_an_entry_says_the_workspace_of_its_run(workspace: Any, version: Any, monkeypatch: Any) -> None:
    workspace("team-a")
    mlflow.set_experiment(EXPERIMENT)
    entries = []
    real = outbox.put
    monkeypatch.setattr(outbox, "put", lambda entry: entries.append(entry) or real(entry))
    linked(EXPERIMENT, version)
    assert [entry.workspace for entry in entries] == ["team-a"]


def test_the_card_and_the_description_lead_into_the_workspace(workspace: Any, version: Any) -> None:
    workspace("team-a")
    linked(EXPERIMENT, version)
    run_id = linked(EXPERIMENT, version)
    card = mlflow.artifacts.load_text(f"runs:/{run_id}/dsver/card.md")
    links = [part.partition(">")[0] for part in card.split("(<#/")[1:]]
    assert len(links) >= 2
    assert all(link.endswith("workspace=team-a") for link in links), links
    assert "workspace=team-a" in dsver.describe(run_id)


def test_pages_are_about_one_workspace_and_so_are_their_links(workspace: Any, version: Any, address: str) -> None:
    made = {}
    for name in ("team-a", "team-b"):
        workspace(name)
        made[name] = linked(EXPERIMENT, version)
        client = MlflowClient()
        client.create_registered_model(f"page of {version.ref.dataset}")
        client.create_model_version(
            f"page of {version.ref.dataset}", "s3://models/1", made[name] if name == "team-a" else None
        )
        if name == "team-a":
            dsver.tag_model(f"page of {version.ref.dataset}", "1")
    path = f"/dsver/version?ref={version.ref}"
    status, text = page(address, f"{path}&workspace=team-a")
    assert status == 200
    assert made["team-a"] in text
    assert made["team-b"] not in text
    inner = [part.partition('"')[0] for part in text.split('href="/')[1:]]
    assert inner
    assert all("workspace=team-a" in link for link in inner), inner
    assert 'name="workspace" value="team-a"' in text
    assert page(address, path, **{"X-MLflow-Workspace": "team-b"})[1].count(made["team-b"]) > 0
    assert page(address, path)[0] == 404, "in the default workspace nothing used it"
    assert page(address, f"/dsver/run?id={made['team-a']}&workspace=team-a")[0] == 200
    assert page(address, f"/dsver/run?id={made['team-a']}&workspace=team-b")[0] == 404
    assert page(address, "/dsver?workspace=team-none")[0] == 404
    assert page(address, "/dsver?workspace=%0d%0aX:y")[0] == 200, "no name of a workspace: the default one"
    status, text = page(address, "/dsver?workspace=team-b")
    assert status == 200
    assert 'href="/dsver?workspace=team-a">team-a</a>' in text
    assert '<strong aria-current="page">team-b</strong>' in text
    # a model of the same name in the other workspace is not the one that is tagged with the version
    assert "page of" in page(address, f"{path}&workspace=team-a")[1]
    assert "page of" not in page(address, f"{path}&workspace=team-b")[1]


def test_without_workspaces_no_request_is_added(server: Any, version: Any) -> None:
    """A server that has none is asked for them when all are meant; then what there is, is all."""
    linked(EXPERIMENT, version)
    assert [use.workspace for use in dsver.runs_using(str(version.ref), workspace="*")] == [None]
    assert "workspace" not in next(dsver.runs_using(str(version.ref))).to_json()
    client = clients.new_client()
    assert clients.workspace_of(client) is None
    assert clients.within(client, Deadline(LONG), "be here", lambda: 1) == 1
