"""Every endpoint of Paperspace's datasets and versions from the command line, on the emulator's own command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from prepared import Prepared
from processes import in_process

KEY = "emulated-key-0123456789"
CATS = "dst364npcw6ccok"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that the emulator's command prints, while it runs."""
    home = tmp_path_factory.mktemp("home")
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "PAPERSPACE_", "CLARIFAI_"))
    }
    clean |= {"HOME": str(home), "MLFLOW_DSVER_HOME": str(home / "dsver")}
    command = [sys.executable, "-m", "mlflow_dsver", "emulator", "paperspace", "--seed", "demo", "--key", KEY]
    process = subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(2)]
    pairs = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    yield clean | pairs
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "not compared with the live service" in said


def run(environment: dict[str, str], *arguments: str, code: int = 0) -> str:
    with mock.patch.dict(os.environ, environment, clear=True):
        done = in_process(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def data(environment: dict[str, str], *arguments: str) -> Any:
    return json.loads(run(environment, *arguments, "--json"))


def test_versions_from_creation_to_deletion(environment: dict[str, str]) -> None:
    """The everyday family and the service's own endpoints, each with what it takes."""
    made = data(environment, "versions", "create", "paperspace://cats", "-m", "round 3", "--tag", "new")
    reference = made["reference"]
    assert reference.startswith(f"paperspace://{CATS}@")
    assert data(environment, "versions", "show", reference)["state"] == "uncommitted"
    assert data(environment, "versions", "tag", "paperspace://cats@new", "draft")["tags"] == ["draft", "new"]
    assert data(environment, "versions", "tag", reference, "--remove", "draft")["tags"] == ["new"]
    assert data(environment, "paperspace", "commit", reference)["immutable"] is True
    assert data(environment, "versions", "show", "paperspace://cats@latest")["reference"] == reference
    assert data(environment, "versions", "tag", reference, "clean")["tags"] == ["clean", "new"]
    assert data(environment, "versions", "show", f"{CATS}:clean")["reference"] == reference
    assert data(environment, "versions", "update", reference, "--metadata", '{"a": 1}')["metadata"] == {"a": 1}
    listed = data(environment, "versions", "list", f"paperspace://{CATS}", "--tag", "clean")
    assert [each["reference"] for each in listed["versions"]] == [reference]
    run(environment, "versions", "delete", reference, "--yes")
    assert "no version" in run(environment, "versions", "show", reference, code=2)


def test_endpoints_of_versions(environment: dict[str, str]) -> None:
    own = ("paperspace", "versions")
    raw = data(environment, *own, "create", "digits", "--message", "m", "--tag", "a", "--metadata", '{"k": 1}')
    name = f"dsr5zdx0thjhfe2:{raw['version']}"
    assert (raw["message"], raw["tags"], raw["metadata"], raw["isCommitted"]) == ("m", ["a"], {"k": 1}, False)
    changed = data(environment, *own, "update", name, "--tag", "b", "--tag", "c", "--committed")
    assert (changed["tags"], changed["isCommitted"]) == (["b", "c"], True)
    assert data(environment, *own, "show", "digits:c")["version"] == raw["version"], "by a tag as well"
    assert data(environment, *own, "update", name, "--tag", "x, y")["tags"] == ["x", "y"], "as the service has them"
    assert data(environment, *own, "update", name, "--no-tags")["tags"] == []
    assert data(environment, *own, "show", name)["version"] == raw["version"]
    options = ("--order", "asc", "--order-by", "dtCreated", "--page-size", "1", "--limit", "1")
    assert [each["version"] for each in data(environment, *own, "list", "digits", *options)["items"]] == ["a1b2c3d"]
    assert [each["version"] for each in data(environment, *own, "list", "digits", "--tags", "raw")["items"]] == [
        "a1b2c3d"
    ]
    assert "--yes" in run(environment, *own, "delete", name, code=2)
    gone = data(environment, *own, "delete", name, "--yes")
    assert gone["deleted"] == name
    assert gone["answer"] == {"datasetId": "dsr5zdx0thjhfe2", "version": raw["version"]}
    assert "Nothing to change" in run(environment, *own, "update", name, code=2)


def test_listing_says_where_the_next_page_begins(environment: dict[str, str]) -> None:
    """`--after` is fed with what the page before says, in JSON and for people, until there is no more."""
    own = ("paperspace", "versions", "list", CATS, "--limit", "3")
    whole = [each["version"] for each in data(environment, *own[:4])["items"]]
    first = data(environment, *own, "--page-size", "2")
    assert ([each["version"] for each in first["items"]], first["hasMore"]) == (whole[:3], True)
    assert f"there are more: --after {first['nextPage']}" in run(environment, *own)
    last = data(environment, *own, "--after", first["nextPage"])
    assert [each["version"] for each in last["items"]] == whole[3:]
    assert (last["hasMore"], last["nextPage"]) == (False, None)
    datasets = ("paperspace", "datasets", "list", "--limit", "1")
    mark = data(environment, *datasets)["nextPage"]
    assert len(data(environment, *datasets, "--after", mark)["items"]) == 1


def test_commit_takes_a_tag(environment: dict[str, str]) -> None:
    made = data(environment, "versions", "create", "paperspace://cats", "--tag", "ready")["reference"]
    assert data(environment, "paperspace", "commit", "cats:ready") | {"raw": 0} == data(
        environment, "versions", "show", made
    ) | {"raw": 0}
    run(environment, "versions", "delete", made, "--yes")


def test_deleting_says_first_which_runs_use_it(
    environment: dict[str, str], tmp_path: Path, prepared: Prepared, empty_database: Path
) -> None:
    """In both families; and where the tracking server cannot be reached, that it could not be checked."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    linked = environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    made = [data(linked, "versions", "create", f"paperspace://{CATS}")["reference"] for _ in range(3)]
    script = (
        "import mlflow_dsver as dsver\n"
        f"for ref in {made[:2]}:\n"
        "    with dsver.start_run(inputs={'training': ref}) as run: print(run.info.run_id)"
    )
    done = subprocess.run(
        [*prepared.python, "-c", script],
        env=linked | {"MLFLOW_DSVER_PAPERSPACE_UNCOMMITTED": "link"},
        capture_output=True,
        text=True,
        check=False,
    )
    first, second = done.stdout.split()[:2]
    refused = run(linked, "versions", "delete", made[0], code=2)
    assert f"1 run uses {made[0]}: {first}" in refused
    assert "Nothing was deleted" in refused
    assert data(linked, "versions", "delete", made[0], "--yes")["runs"] == [first]
    name = made[1].removeprefix("paperspace://").replace("@", ":")
    assert f"1 run uses {made[1]}: {second}" in run(linked, "paperspace", "versions", "delete", name, code=2)
    assert data(linked, "paperspace", "versions", "delete", name, "--yes")["runs"] == [second]
    away = linked | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    told = data(away, "versions", "delete", made[2], "--yes")
    assert (told["runs"], "127.0.0.1:1" in told["runs_unchecked"]) == ([], True)


def test_endpoints_of_datasets(environment: dict[str, str]) -> None:
    own = ("paperspace", "datasets")
    made = data(environment, *own, "create", "dogs", "--description", "barking")
    assert data(environment, *own, "show", "dogs")["id"] == made["id"]
    assert data(environment, *own, "update", "dogs", "--name", "hounds", "--description", "")["description"] is None
    names = [each["name"] for each in data(environment, *own, "list", "--privacy", "PRIVATE")["items"]]
    assert names == ["hounds", "digits", "cats"]
    run(environment, *own, "delete", made["id"], "--yes")
    assert "hounds" not in run(environment, *own, "list")


def test_the_rest(environment: dict[str, str]) -> None:
    assert "t40f5ou8vp" in run(environment, "paperspace", "session")
    storage = data(environment, "paperspace", "storage")
    assert "secretAccessKey" not in json.dumps(storage)
    assert data(environment, "paperspace", "storage", storage["items"][0]["id"]) == storage
    assert int(data(environment, "paperspace", "storage", "--usage")["datasetUsage"]) > 0
    command = [sys.executable, "-m", "mlflow_dsver", "doctor"]  # a process: what other tests leave here is not its
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accepts the key of team" in done.stdout
    assert KEY not in done.stdout + done.stderr


@pytest.mark.parametrize("wrong", [["--switch", "x"], ["--switch", "x=y"], ["--fault", "x"], ["--port", "x"]])
def test_wrong_usage_of_the_emulator(environment: dict[str, str], wrong: list[str]) -> None:
    assert run(environment, "emulator", "paperspace", *wrong, code=2).startswith("mlflow-dsver: ")


@pytest.mark.parametrize("vendor", ["paperspace", "clarifai"])
def test_switches_and_faults_are_listed(environment: dict[str, str], vendor: str) -> None:
    said = run(environment, "emulator", vendor, "--list")
    assert "SWITCH" in said
    assert "drip-headers" in said


def test_an_emulator_that_was_started_with_interrupts_ignored_goes_on(environment: dict[str, str]) -> None:
    """As nohup and a script's `&` start it; SIGTERM ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow_dsver", "emulator", "paperspace"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout is not None
    base = process.stdout.readline().strip().removeprefix("export PAPERSPACE_API_URL=")
    process.send_signal(signal.SIGINT)
    assert "no datasets" in run(environment | {"PAPERSPACE_API_URL": base}, "paperspace", "datasets", "list")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stdout.close()


def test_state_is_kept_in_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlflow_dsver", "emulator", "paperspace", "--state", str(tmp_path / "s.json")]
    for description in ("first", "second"):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        base = process.stdout.readline().strip().removeprefix("export PAPERSPACE_API_URL=")
        pointed = environment | {"PAPERSPACE_API_URL": base}
        run(pointed, "paperspace", "datasets", "create", description)
        listed = run(pointed, "paperspace", "datasets", "list")
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()
    assert "first" in listed
    assert "second" in listed
