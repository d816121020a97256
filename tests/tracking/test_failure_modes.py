"""Runs linked without a line when something is wrong: training ends as ever, and the run says what failed."""

from __future__ import annotations

import json
import logging
from importlib import import_module
from types import ModuleType
from typing import Any

import mlflow
import pytest
from processes import in_process
from tracking_fakes import run_of
from training_scripts import BARE, INPUTS, links, until

import mlflow_dsver as dsver
from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.resolution import resolver
from mlflow_dsver.testing import paperspace_emulator
from mlflow_dsver.tracking import autolink, autolog_patch, mlflow_private

__all__ = ["paperspace_emulator"]

CATS = "paperspace://dst364npcw6ccok"
SEEDED = pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)

SCRIPT = """
    import mlflow, time
    begun = time.monotonic()
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.5)
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.4)
    print("trained", time.monotonic() - begun < 60)
"""


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("training=local://nothing", "local://nothing"),
        ("training=local://digits;training=local://digits", "occurs twice"),
        ("local://digits", "an input without a role"),
        ("training=nowhere://digits", "nowhere"),
    ],
)
def test_inputs_that_are_wrong_are_told_and_training_goes_on(train, inputs, told):
    linked = train(SCRIPT, {"MLFLOW_DSVER_INPUTS": inputs})
    assert (linked.code, linked.out) == (0, "trained True\n")
    assert told in linked.err
    assert "Traceback" not in linked.err
    for run in linked.runs:
        errors = [value for key, value in run.data.tags.items() if key in ("dsver.error", "dsver.training.error")]
        assert told in errors[0]
        assert "dsver.training.version" not in run.data.tags


def test_under_raise_they_stop_training_before_a_run_is_made(train):
    linked = train(SCRIPT, {"MLFLOW_DSVER_INPUTS": "training=local://nothing"}, MLFLOW_DSVER_ON_ERROR="raise")
    assert linked.code == 1
    assert "NotFound: local resolve: local://nothing" in linked.err.splitlines()[-1]
    assert linked.runs == []


@SEEDED
def test_a_provider_that_hangs_holds_all_runs_of_a_process_once_and_for_its_bound(train, paperspace_emulator):
    paperspace_emulator.inject("hang")
    inputs = {"MLFLOW_DSVER_INPUTS": f"training={CATS}@latest", "MLFLOW_DSVER_PROVIDER_TIMEOUT": "3"}
    linked = train(SCRIPT, inputs)
    assert (linked.code, linked.out) == (0, "trained True\n"), linked.err
    assert len(linked.runs) == 2
    assert all("3 seconds" in run.data.tags["dsver.training.error"] for run in linked.runs)


@SEEDED
def test_offline_takes_the_last_known_answer_says_so_and_sync_confirms_it(train, paperspace_emulator):
    """The grade says `offline` until `mlflow-dsver sync` has asked the provider."""
    inputs = {"MLFLOW_DSVER_INPUTS": f"training={CATS}@latest", "MLFLOW_DSVER_CACHE_TTL": "0"}
    online = train(SCRIPT, inputs)
    paperspace_emulator.inject("503")
    more = {"MLFLOW_DSVER_ON_ERROR": "offline", "MLFLOW_DSVER_PROVIDER_TIMEOUT": "3"}
    offline = train(SCRIPT, inputs, **more)
    assert (offline.code, offline.out) == (0, "trained True\n"), offline.err
    assert "as it was last known" in offline.err
    run = offline.runs[0]
    assert links(run) == links(online.runs[0])
    assert run.data.tags["dsver.training.grade"] == "B (offline)"
    paperspace_emulator.faults.clear()
    assert {each["outcome"] for each in sync()} == {"confirmed"}
    assert run_of(run.info.run_id).data.tags["dsver.training.grade"] == "B"


def sync() -> list[Any]:
    """What `mlflow-dsver sync` says of each entry."""
    done = in_process("sync", "--json", MLFLOW_TRACKING_URI=mlflow.get_tracking_uri())
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)["outcomes"]


@SEEDED
def test_all_runs_of_a_process_ask_the_provider_once(train, paperspace_emulator):
    script = """
        import mlflow
        for trial in range(10):
            with mlflow.start_run():
                pass
    """
    linked = train(script, {"MLFLOW_DSVER_INPUTS": f"training={CATS}@latest", "MLFLOW_DSVER_CACHE_TTL": "0"})
    assert len({links(run)["training"] for run in linked.runs}) == 1
    first = len(paperspace_emulator.requests)
    assert 1 <= first <= 2
    train(script, {"MLFLOW_DSVER_INPUTS": f"training={CATS}@latest"})
    assert len(paperspace_emulator.requests) == first, "kept on this host"


def test_a_killed_training_loses_nothing_that_sync_cannot_send(train, server_proxy, digits):
    """SIGKILL while the record is on its way; afterwards it is sent once."""
    script = """
        import mlflow, time
        with mlflow.start_run():
            print("ready", flush=True)
            time.sleep(60)
    """
    server_proxy.dead_from = "runs/log-inputs"

    def kill(process: Any) -> None:
        assert process.stdout.readline() == "ready\n"
        until(lambda: server_proxy.dead)
        process.kill()

    linked = train(script, INPUTS, when=kill)
    assert linked.code == -9
    (run,) = linked.runs
    assert len(run.inputs.dataset_inputs) == 0
    server_proxy.dead, server_proxy.dead_from = False, None
    mlflow.set_tracking_uri(server_proxy.address)
    assert len(sync()) == 1
    assert links(run) == {"training": str(digits.ref)}
    server_proxy.log.clear()
    sync()
    assert server_proxy.calls() == []


def test_a_server_that_goes_away_and_comes_back_gets_the_record(train, server_proxy, digits):
    """The record waits for the server as MLflow's own requests do; training prints and ends as ever."""
    script = """
        import mlflow
        run = mlflow.start_run()
        print("ready", flush=True)
        mlflow.end_run()
        print("trained")
    """
    server_proxy.dead_from = "runs/log-batch"

    def away_for_a_while(process: Any) -> None:
        assert process.stdout.readline() == "ready\n"
        until(lambda: server_proxy.calls().count("POST runs/log-batch") >= 2)
        server_proxy.dead, server_proxy.dead_from = False, None

    linked = train(script, INPUTS, when=away_for_a_while)
    assert (linked.code, linked.out) == (0, "trained\n"), linked.err
    assert links(linked.runs[0]) == {"training": str(digits.ref)}


def test_a_server_that_stays_away_leaves_the_link_in_the_journal(train, server_proxy, digits):
    script = """
        import mlflow, os
        run = mlflow.start_run()
        print("ready", flush=True)
        import time
        time.sleep(4)
        print("trained", flush=True)
        os._exit(0)  # MLflow itself would try for minutes to end the run
    """
    server_proxy.dead_from = "runs/log-batch"
    linked = train(script, INPUTS, MLFLOW_DSVER_TRACKING_TIMEOUT="2")
    assert (linked.code, linked.out) == (0, "ready\ntrained\n"), linked.err
    server_proxy.dead, server_proxy.dead_from = False, None
    mlflow.set_tracking_uri(server_proxy.address)
    sync()
    assert links(linked.runs[0]) == {"training": str(digits.ref)}


RESUMED = """
    import mlflow, sys, os
    with mlflow.start_run(run_id=os.environ["RESUMED"]) as run:
        mlflow.log_metric("loss", 0.5)
    print("trained")
"""


def test_a_run_that_is_resumed_with_the_same_inputs_is_as_it_was(train, digits):
    (run,) = train("import mlflow\nmlflow.log_metric('loss', 1)", INPUTS).runs
    before = run_of(run.info.run_id)
    linked = train(RESUMED, INPUTS, RESUMED=run.info.run_id)
    assert (linked.code, linked.out) == (0, "trained\n")
    after = run_of(run.info.run_id)
    assert after.data.params == before.data.params
    assert after.data.tags == before.data.tags
    assert links(run) == {"training": str(digits.ref)}


def test_a_run_that_is_resumed_with_other_inputs_keeps_its_own_and_says_so(train, digits, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new.txt").write_text("new")
    other = dsver.create_version("local://other", tmp_path / "other")
    (run,) = train("import mlflow\nmlflow.log_metric('loss', 1)", INPUTS).runs
    inputs = {"MLFLOW_DSVER_INPUTS": f"training={other}"}
    linked = train(RESUMED, inputs, RESUMED=run.info.run_id)
    assert (linked.code, linked.out) == (0, "trained\n")
    after = run_of(run.info.run_id)
    assert after.data.tags["dsver.training.version"] == str(digits)
    assert "has another version in the role 'training'" in after.data.tags["dsver.error"]
    strict = train(RESUMED, inputs, RESUMED=run.info.run_id, MLFLOW_DSVER_ON_ERROR="raise")
    assert strict.code == 1
    assert "InputConflict" in strict.err.splitlines()[-1]


def test_frozen_stops_a_run_before_it_starts_when_a_selector_has_moved(train, run, digits, tmp_path):
    assert run("lock", "--input", "training=local://digits").returncode == 0
    frozen = {**INPUTS, "MLFLOW_DSVER_FROZEN": "1"}
    assert len(train(SCRIPT, frozen).runs) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new.txt").write_text("new")
    dsver.create_version("local://digits", tmp_path / "other")
    moved = train(SCRIPT, frozen)
    assert moved.code == 1
    assert moved.runs == []
    assert "LockConflict" in moved.err
    assert len(train(SCRIPT, INPUTS).runs) == 2, "not frozen: the lock is no business of this run"
    assert run("lock", "--update").returncode == 0
    assert len(train(SCRIPT, frozen).runs) == 2


def test_an_override_runs_a_script_on_another_version_and_the_record_says_so(train, digits, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new.txt").write_text("new")
    other = dsver.create_version("local://digits", tmp_path / "other")
    script = """
        import mlflow_dsver as dsver
        with dsver.start_run(inputs={"training": "local://digits@clean"}) as run:
            print(run.datasets["training"])
    """
    linked = train(script, {"MLFLOW_DSVER_OVERRIDE": f"training={other}"})
    assert (linked.code, linked.out) == (0, f"{other}\n"), linked.err
    (run,) = linked.runs
    assert run.data.params["dsver.training.requested"] == str(other)
    assert run.data.tags["dsver.training.overridden"] == "local://digits@clean"
    card = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/dsver/card.md")
    assert "training: overridden; the script asked for `local://digits@clean`" in card
    assert "dsver.training.overridden" not in train(script, BARE).runs[0].data.tags


def test_an_mlflow_that_changed_is_told_and_left_alone(caplog):
    changed = ModuleType("mlflow.tracking.fluent")
    changed.start_run = lambda name: None
    changed.end_run = lambda status="FINISHED": None
    before = changed.start_run
    wrappers = {"start_run": autolog_patch._starting, "end_run": autolog_patch._ending}
    autolog_patch._wrap(changed, wrappers)
    assert changed.start_run is before
    assert "MLflow has changed" in caplog.text
    assert "takes no nested, run_id, tags" in caplog.text
    autolog_patch._wrap(ModuleType("mlflow.tracking.fluent"), wrappers)
    assert "has no attribute 'start_run'" in caplog.text


def test_an_mlflow_whose_client_changed_is_told_and_its_fluent_runs_are_linked(monkeypatch, caplog):
    class TrackingServiceClient:
        def create_run(self, request):
            pass

    module = import_module(mlflow_private.CLIENT_MODULE)
    monkeypatch.setattr(module, mlflow_private.CLIENT_CLASS, TrackingServiceClient)
    before = TrackingServiceClient.create_run
    copy = ModuleType("copy")
    vars(copy).update(start_run=mlflow.start_run, end_run=mlflow.end_run)
    autolog_patch._wrap_all(copy)
    assert TrackingServiceClient.create_run is before
    assert "create_run takes no experiment_id, tags" in caplog.text
    assert "runs of MlflowClient are not linked without a line" in caplog.text
    assert hasattr(copy.start_run, "__wrapped__")


def test_without_the_variable_mlflow_is_as_it_was(train):
    script = """
        import mlflow, mlflow_dsver as dsver, mlflow.tracking.fluent as fluent
        dsver.start_run
        from mlflow.tracking._tracking_service.client import TrackingServiceClient as client
        wrapped = (fluent.start_run, mlflow.start_run, client.create_run, client.set_terminated)
        print([hasattr(each, "__mlflow_dsver__") for each in wrapped])
    """
    assert train(script, BARE).out == "[False, False, False, False]\n"
    assert train(script, INPUTS).out == "[True, True, True, True]\n"


@pytest.fixture
def unpatched(monkeypatch):
    """What `autolink` changes in this process is taken back."""
    from mlflow.tracking import fluent

    for module in (mlflow, fluent):
        for name in ("start_run", "end_run"):
            monkeypatch.setattr(module, name, getattr(module, name))
    client = getattr(import_module(mlflow_private.CLIENT_MODULE), mlflow_private.CLIENT_CLASS)
    for name in mlflow_private.CLIENT_PARAMETERS:
        monkeypatch.setattr(client, name, getattr(client, name))
    yield
    autolink.autolink({})
    resolver.clear_resolutions()


def test_a_cell_that_is_run_again_asks_again(tracking, digits, tmp_path, unpatched):
    """`dsver.autolink(…)` in a notebook: each time it is called, the words mean what they mean then."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new.txt").write_text("new")
    seen = []
    for content in (None, tmp_path / "other"):
        if content is not None:
            dsver.create_version("local://digits", content)
        dsver.autolink({"training": "local://digits"})
        for _ in range(2):
            with mlflow.start_run() as run:
                mlflow.log_metric("loss", 1)
            seen.append(dsver.inputs_of(run.info.run_id)[0].version.ref)
    assert seen == [digits.ref] * 2 + [dsver.resolve("local://digits").ref] * 2
    dsver.autolink({})
    with mlflow.start_run() as run:
        pass
    assert dsver.inputs_of(run.info.run_id) == []
    with pytest.raises(InvalidReference):
        dsver.autolink({"training": "no reference"})


def test_runs_that_this_package_starts_are_linked_once(tracking, digits, unpatched):
    dsver.autolink({"training": "local://digits"})
    with dsver.start_run(inputs={"test": "local://digits@clean"}) as run:
        again = dsver.use("local://digits", "training")
    assert again.error is None
    assert {link.role for link in dsver.inputs_of(run.info.run_id)} >= {"test", "training"}
    assert len(run_of(run.info.run_id).inputs.dataset_inputs) == 2


@pytest.fixture
def told(monkeypatch):
    """What is said through MLflow's logger about the data, line by line; whatever other tests made of logging."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("mlflow.dsver")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_the_line_before_training_tells_what_changed(tracking, digits, digits_folder, told, monkeypatch):
    with dsver.start_run(inputs={"training": "local://digits"}):
        pass
    (digits_folder / "new.txt").write_text("x" * 2048)
    (digits_folder / "labels.csv").write_text("none\n")
    (digits_folder / "0" / "0.txt").unlink()
    second = dsver.create_version("local://digits", digits_folder)
    assert told == []
    for _ in range(2):
        with dsver.start_run(inputs={"training": "local://digits"}) as run:
            pass
    (box,) = run_of(run.info.run_id).inputs.dataset_inputs
    changes = f"1 added, 1 removed, 1 changed, +1.9 KiB since {digits.id}"
    assert json.loads(box.dataset.profile)["changes"] == changes, "the box in MLflow's pages tells it as well"
    assert told == [
        f"training: local://digits is {second.id}; since your last run in this experiment, with {digits.id}: "
        "1 added, 1 removed, 1 changed, +1.9 KiB"
    ]
    monkeypatch.setenv("MLFLOW_DSVER_SHOW_CHANGES", "no")
    with dsver.start_run(inputs={"training": digits.ref}):
        pass
    assert len(told) == 1


@SEEDED
def test_an_answer_kept_on_this_host_is_dropped_when_this_host_changes_the_dataset(train, run, paperspace_emulator):
    """A version that the person commits is what `latest` means for the very next run, though the answer is young."""
    script = "import mlflow\nmlflow.log_metric('loss', 1)"
    inputs = {"MLFLOW_DSVER_INPUTS": f"training={CATS}@latest"}
    (first,) = train(script, inputs).runs
    made = run("versions", "create", CATS, "--message", "new", "--json")
    assert made.returncode == 0, made.stderr
    assert run("paperspace", "commit", json.loads(made.stdout)["reference"]).returncode == 0
    (second,) = train(script, inputs).runs
    assert links(second)["training"] == json.loads(made.stdout)["reference"] != links(first)["training"]


def test_a_version_made_in_the_local_store_is_what_the_next_run_gets(train, run, digits_folder):
    script = "import mlflow\nmlflow.log_metric('loss', 1)"
    (first,) = train(script, INPUTS).runs
    (digits_folder / "new.txt").write_text("new")
    assert run("versions", "create", "local://digits", str(digits_folder)).returncode == 0
    (second,) = train(script, INPUTS).runs
    assert links(first) != links(second)
