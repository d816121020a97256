"""`mlflow-dsver clarifai …` on the emulator: versions with all options, listed, shown and deleted as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_dsver.cli import emulator as commands
from mlflow_dsver.cli.main import run
from mlflow_dsver.providers.clarifai import polling
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClarifaiEmulator]:
    monkeypatch.setattr(polling, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(polling, "LAST_PAUSE", 0.02)
    with ClarifaiEmulator(seed=True) as running:
        for name, value in running.variables.items():
            monkeypatch.setenv(name, value)
        yield running


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run([*words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_snapshot_takes_id_visibility_filter_and_metadata(
    emulator: ClarifaiEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answer(
        capsys, "clarifai", "snapshot", "cats", "--id", "round-3", "--visibility", "org", "--filter", "checked",
        "--metadata", '{"round": 3}', "--tag", "best,checked",
    )  # fmt: skip
    assert made["reference"] == "clarifai://demo-user/demo-app/cats@round-3"
    assert (made["metadata"], made["tags"]) == ({"round": 3}, ["best", "checked"])
    assert made["raw"]["visibility"] == {"gettable": 30}


@pytest.mark.parametrize("outcome", ["never", "failure"])
def test_everyday_commands_take_a_version_in_any_state(
    emulator: ClarifaiEmulator, capsys: pytest.CaptureFixture[str], outcome: str
) -> None:
    """List, show, tag, update and delete neither wait for a version nor refuse one that failed."""
    emulator.add_version("cats", id="odd", outcome=outcome)
    odd = "clarifai://cats@odd"
    state = {"never": "in progress", "failure": "failure"}[outcome]
    assert run(["versions", "list", "clarifai://cats"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:2] == ["VERSION", "STATE"]
    assert f"cats@odd  {state}" in table[1]
    assert answer(capsys, "versions", "show", odd)["state"] == state
    assert answer(capsys, "versions", "tag", odd, "broken")["tags"] == ["broken"]
    assert answer(capsys, "versions", "update", odd, "-m", "why it failed")["message"] == "why it failed"
    deleted = answer(capsys, "versions", "delete", odd, "--yes")["deleted"]
    assert deleted == "clarifai://demo-user/demo-app/cats@odd"


def test_versions_of_the_service_are_listed_with_status_in_pages(
    emulator: ClarifaiEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asked for them, in any state, in the service's own JSON."""
    emulator.add_version("cats", id="odd", outcome="failure")
    found = answer(capsys, "clarifai", "versions", "list", "cats")["items"]
    assert [(each["id"], each["status"]["code"]) for each in found] == [
        ("odd", 64020), ("auto-generated-1", 64015), ("v2", 64015), ("v1", 64015),
    ]  # fmt: skip
    page = answer(capsys, "clarifai", "versions", "list", "cats", "--page", "2", "--per-page", "3")["items"]
    assert [each["id"] for each in page] == ["v1"]
    made = answer(capsys, "clarifai", "versions", "list", "cats", "--origin", "training")["items"]
    assert [each["id"] for each in made] == ["auto-generated-1"]
    assert run(["clarifai", "versions", "list", "cats", "--limit", "1"]) == 0
    assert "64020 failure" in capsys.readouterr().out
    for words in (["--page", "0"], ["--page", "1", "--per-page", "0"], ["--per-page", "5"], ["--limit", "0"]):
        assert run(["clarifai", "versions", "list", "cats", *words]) == 2
        assert "per-page" in (said := capsys.readouterr().err) or "--page" in said or "--limit" in said


def test_version_of_the_service_is_shown_and_deleted_in_any_state(
    emulator: ClarifaiEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.add_version("cats", id="odd", outcome="failure")
    assert answer(capsys, "clarifai", "versions", "show", "cats@odd")["status"]["code"] == 64020
    assert run(["clarifai", "versions", "show", "cats@odd"]) == 0
    assert "64020 failure" in capsys.readouterr().out
    told = answer(capsys, "clarifai", "versions", "delete", "cats@odd", "--yes")
    assert told["status"]["details"] == "Dataset version 'odd' deleted"
    assert run(["clarifai", "versions", "show", "cats@odd"]) == 2
    assert run(["clarifai", "versions", "delete", "cats@latest", "--yes"]) == 2


def test_emulators_command_serves_grpc_where_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address is told; without the option, and for the other vendor, there is none."""
    served: list[Any] = []
    over = SimpleNamespace(wait=lambda: served.append(capsys.readouterr()))
    monkeypatch.setattr(commands, "_until_signal", lambda: over)
    assert run(["emulator", "clarifai", "--grpc-port", "0"]) == 0
    assert "gRPC on http://127.0.0.1:" in served[0].err
    assert run(["emulator", "clarifai"]) == 0
    assert "gRPC" not in served[1].err
    assert run(["emulator", "paperspace", "--grpc-port", "0"]) == 2
