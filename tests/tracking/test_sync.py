"""Sync: what a kill or a dead server left in the journal is sent once; what was linked offline is judged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from servers import LONG
from tracking_fakes import artifact, dsver_part, run_of, version
from tracking_proxy import Proxy

import mlflow_dsver as dsver
from mlflow_dsver.errors import InvalidArgument, ProviderUnavailable
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import Link, now
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.testing import paperspace_emulator
from mlflow_dsver.tracking import clients, outbox, record_writer
from mlflow_dsver.tracking.outbox import PendingRecord
from mlflow_dsver.tracking.sync import Outcome, State, exit_code, forget, sync, waiting

__all__ = ["paperspace_emulator"]
CATS = "dst364npcw6ccok"
WRITER = """
import os, signal, sys
import mlflow
from mlflow import MlflowClient
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.model.refs import parse
from mlflow_dsver.tracking import outbox, record_writer
from mlflow_dsver.model.versions import Link, now

run_id, experiment_id, step = sys.argv[1:]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if step == "after log_batch":
    MlflowClient.log_inputs = die
elif step == "before log_batch":
    MlflowClient.log_batch = die
elif step == "before the artifacts":
    record_writer._log_artifacts = die
elif step == "before it was taken out":
    outbox.OutboxEntry.done = die

provider = get_provider("local")
version = provider.resolve(parse("local://digits@clean"))
link = Link("training", "local://digits@clean", version, provider.grade(version), now())
ticket = outbox.put(outbox.PendingRecord(run_id, experiment_id, mlflow.get_tracking_uri(), (link,)))
client = MlflowClient()
wanted = [record_writer.PendingLink(link, provider.manifest(version))]
record_writer.write(client, client.get_run(run_id).info, None, wanted, Deadline(60))
ticket.done()
"""


def link_to(reference: str, role: str = "training", requested: str | None = None, **fields: Any) -> Link:
    provider = get_provider(parse(reference).provider)
    found = provider.resolve(parse(reference))
    return replace(Link(role, requested or reference, found, provider.grade(found), now()), **fields)


def offline_link(reference: str, **fields: Any) -> Link:
    made = link_to(reference, **fields)
    return replace(made, grade=made.grade.with_notes("offline"))


def put(run_id: str, *links: Link, **fields: Any) -> Path:
    """As a process does that dies right after: nothing but the entry is there."""
    ticket = outbox.put(PendingRecord(run_id, "0", mlflow.get_tracking_uri(), links, **fields))
    ticket.release()
    return ticket.path


def ended_run() -> str:
    with mlflow.start_run() as run:
        pass
    return str(run.info.run_id)


def states() -> list[State]:
    return [outcome.state for outcome in sync()]


def only() -> Outcome:
    [outcome] = sync()
    return outcome


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    """MLflow speaks to the server through this."""
    with Proxy(server.uri) as proxy:
        mlflow.set_tracking_uri(proxy.address)
        yield proxy
        proxy.dead, proxy.dead_from, proxy.hang = False, None, 0


# Killed


@pytest.mark.parametrize(
    "step", ["before log_batch", "after log_batch", "before the artifacts", "before it was taken out"]
)
def test_a_kill_in_the_middle_loses_and_doubles_nothing(proxy, digits, step, tmp_path, prepared):
    """kill -9 of the process that writes; a new process has the record completed, and asked again writes nothing."""
    run_id = ended_run()
    writer = subprocess.run(
        [*prepared.python, "-c", WRITER, run_id, "0", step],
        env={**os.environ, "MLFLOW_TRACKING_URI": proxy.address},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert writer.returncode == -signal.SIGKILL, writer.stderr
    assert [outcome.state for outcome in waiting()] == [State.WAITING]
    proxy.log.clear()
    assert states() == [State.THERE if step == "before it was taken out" else State.SENT]
    wrote = [call for call in proxy.calls() if not call.startswith("GET") and call != "POST runs/search"]
    expected = {
        "before log_batch": ["POST runs/log-batch", "POST runs/log-inputs", *["PUT artifact"] * 3],
        "after log_batch": ["POST runs/log-inputs", *["PUT artifact"] * 3],
        "before the artifacts": ["PUT artifact"] * 3,
        "before it was taken out": [],
    }
    assert wrote == expected[step]
    [mine] = dsver.inputs_of(run_id)
    assert (mine.version, str(mine.grade)) == (digits, "A")
    found = MlflowClient().get_run(run_id)
    assert len(found.inputs.dataset_inputs) == 1
    assert {key for key in found.data.tags if key.endswith("error")} == set()
    names = {each.path for each in MlflowClient().list_artifacts(run_id, "dsver")}
    assert names == {"dsver/training.json", "dsver/training.manifest.jsonl.gz", "dsver/card.md"}
    proxy.log.clear()
    assert states() == []
    assert proxy.log == []


def test_an_entry_that_is_whole_on_the_run_costs_two_reads(proxy, digits):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    put(run.info.run_id, run.datasets["training"].link)
    proxy.log.clear()
    assert states() == [State.THERE]
    assert [call.partition(" ")[0] for call in proxy.calls()] == ["GET", "GET"]


def test_two_syncs_at_once_send_an_entry_once(server, digits, prepared):
    run_ids = [ended_run() for _ in range(4)]
    for run_id in run_ids:
        put(run_id, link_to("local://digits"))
    script = "from mlflow_dsver.tracking.sync import sync\nfor each in sync(): print(each.state, each.entry.run_id)"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    processes = [
        subprocess.Popen([*prepared.python, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lines = [line for process in processes for line in process.communicate(timeout=120)[0].splitlines()]
    assert sorted(lines) == sorted(f"sent {run_id}" for run_id in run_ids)


def test_what_a_living_process_records_is_left_alone(tracking, digits):
    run_id = ended_run()
    ticket = outbox.put(PendingRecord(run_id, "0", tracking.uri, (link_to("local://digits"),)))
    assert list(sync()) == list(waiting()) == []
    assert dsver_part(run_of(run_id).data.tags) == {}
    ticket.fail("the server did not answer")
    assert [outcome.detail for outcome in waiting()] == ["the server did not answer"]
    assert states() == [State.SENT]


def test_an_interrupted_sync_goes_on_where_it_was(tracking, digits, monkeypatch):
    run_id = ended_run()
    put(run_id, link_to("local://digits"))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(record_writer, "write", interrupted)
        patched.setattr(clients, "within", lambda client, until, what, work: work())
        with pytest.raises(KeyboardInterrupt):
            list(sync())
    assert states() == [State.SENT]


def test_what_a_failed_attempt_said_is_taken_back(tracking, digits):
    run_id = ended_run()
    MlflowClient().set_tag(run_id, "dsver.error", "the tracking server did not answer in time")
    MlflowClient().set_tag(run_id, "dsver.training.error", "so it says")
    put(run_id, link_to("local://digits"), overridden={"training": "local://other@old"})
    assert only().state == State.SENT
    tags = dsver_part(run_of(run_id).data.tags)
    assert {key for key in tags if "error" in key} == set()
    assert tags["dsver.training.overridden"] == "local://other@old"


def test_a_manifest_that_is_missing_is_sent_as_soon_as_its_provider_has_it(tracking, fake):
    fake.has(version())
    run_id = ended_run()
    seen = []
    for manifest in (None, Manifest((FileEntry("a", 1, "0" * 64),)), None):
        fake.manifest_of = manifest
        put(run_id, link_to("fake://cats"))
        seen += states()
    assert seen == [State.SENT, State.SENT, State.THERE]
    assert artifact(run_id, "training.manifest.jsonl.gz")


# Stores


@pytest.mark.slow
def test_a_server_taken_away_and_brought_back(start_server, empty_database, tmp_path, digits, monkeypatch):
    """Nothing is lost while it is away, each store is waited for once in a sync, and the record arrives after."""
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "2")
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    server = start_server(folder, f"sqlite:///{folder}/mlflow.db")
    with server as (address, _):
        mlflow.set_tracking_uri(address)
        run_ids = [ended_run() for _ in range(3)]
    for run_id in run_ids:
        put(run_id, link_to("local://digits"))
    begun = time.monotonic()
    found = list(sync())
    assert time.monotonic() - begun < LONG
    assert [outcome.state for outcome in found] == [State.UNREACHABLE] * 3
    assert all(outcome.kept for outcome in found)
    assert "did not answer in time" in found[0].detail
    assert exit_code([outcome.state for outcome in found]) == 3
    mlflow.set_tracking_uri("sqlite:////nowhere/else.db")  # the entry knows its store
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "60")
    with server:
        assert states() == [State.SENT] * 3
        mlflow.set_tracking_uri(address)
        for run_id in run_ids:
            assert [link.version for link in dsver.inputs_of(run_id)] == [digits]
            assert len(MlflowClient().list_artifacts(run_id, "dsver")) == 3


def test_the_login_of_the_current_tracking_uri_is_used_and_is_not_in_the_journal(proxy, digits):
    run_id = ended_run()
    mlflow.set_tracking_uri(proxy.address.replace("://", "://me:CANARY@"))
    path = put(run_id, link_to("local://digits"))
    assert b"CANARY" not in path.read_bytes()
    outcome = only()
    assert outcome.state == State.SENT
    assert outcome.entry.tracking == proxy.address
    assert "CANARY" not in json.dumps(outcome.to_json())


def test_a_store_that_is_not_there_is_not_made(tracking, digits, tmp_path, monkeypatch):
    for address in (f"sqlite:///{tmp_path}/gone.db", str(tmp_path / "gone"), f"file://{tmp_path}/gone"):
        outbox.put(PendingRecord("f" * 32, "0", address, (link_to("local://digits"),))).release()
    found = list(sync())
    assert [outcome.state for outcome in found] == [State.UNREACHABLE] * 3
    assert "there is no tracking store at" in found[0].detail
    assert not [path for path in tmp_path.iterdir() if "gone" in path.name]


def test_a_run_that_does_not_exist_is_told_of_kept_and_dropped_on_demand(tracking, digits):
    put("f" * 32, link_to("local://digits"))
    outcome = only()
    assert (outcome.state, outcome.kept) == (State.NO_RUN, True)
    assert "no run ffff" in next(waiting()).detail
    deleted = ended_run()
    MlflowClient().delete_run(deleted)
    put(deleted, link_to("local://digits"))
    assert states() == [State.NO_RUN] * 2
    assert exit_code([State.NO_RUN, State.UNREACHABLE]) == 1
    assert [(each.state, each.kept) for each in sync(forget=True)] == [(State.FORGOTTEN, False)] * 2
    assert list(waiting()) == []


def test_another_version_in_the_role_is_a_conflict_and_stays_as_it_is(tracking, digits, fake):
    fake.has(version())
    with dsver.start_run(inputs={"training": "fake://cats"}) as run:
        pass
    before = run_of(run.info.run_id).data
    put(run.info.run_id, link_to("local://digits"))
    outcome = only()
    assert (outcome.state, outcome.kept) == (State.CONFLICT, True)
    assert "fake://cats@v1" in outcome.detail
    after = run_of(run.info.run_id).data
    assert (after.params, after.tags) == (before.params, before.tags)
    assert [each.state for each in sync(forget=True)] == [State.FORGOTTEN]


def test_a_run_whose_artifacts_cannot_be_written_says_what_is_there_and_what_is_missing(
    tracking, digits, monkeypatch
):
    """Such as where the artifact location is a folder of the server's: all of the link but its files is there."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/srv/mlruns")

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.log_artifacts", refuse)
        with dsver.start_run(inputs={"training": "local://digits"}) as run:
            pass
        told = run_of(run.info.run_id)
        assert told.data.params["dsver.training.version"] == str(digits)
        assert len(told.inputs.dataset_inputs) == 1
        error = told.data.tags["dsver.error"]
        assert "is linked by params, tags and dataset inputs; missing: dsver/training.json" in error
        assert "Permission denied" in error
        assert "could not link" not in error
        outcome = only()
    assert (outcome.state, outcome.kept) == (State.INCOMPLETE, True)
    assert "missing: dsver/training.json, dsver/training.manifest.jsonl.gz, dsver/card.md" in outcome.detail
    assert exit_code([State.INCOMPLETE]) == 3
    assert states() == [State.SENT], "as soon as they can be written"
    assert "dsver.error" not in run_of(run.info.run_id).data.tags


def test_artifacts_that_cannot_be_listed_are_missing_and_the_server_is_not_called_unreachable(
    tracking, digits, monkeypatch
):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Unable to locate credentials")

    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    put(run.info.run_id, link_to("local://digits"))
    monkeypatch.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.list_artifacts", refuse)
    outcome = only()
    assert outcome.state == State.INCOMPLETE
    assert "Unable to locate credentials" in outcome.detail


def test_entries_are_forgotten_by_id_or_run_and_nothing_is_sent(tracking, digits):
    run_id = ended_run()
    kept, by_id = put(ended_run(), link_to("local://digits")), put(run_id, link_to("local://digits"))
    put("f" * 32, link_to("local://digits"))
    broken = by_id.with_name("broken.json")
    broken.write_text("{")
    ids = {each.path: each.id for each in waiting()}
    with pytest.raises(InvalidArgument, match="nothing waits under nobody"):
        forget(["nobody", ids[by_id]])
    dropped = forget([ids[by_id], "f" * 32, "broken"])
    assert [(each.state, each.kept) for each in dropped] == [(State.FORGOTTEN, False)] * 3
    assert [each.path for each in waiting()] == [kept]
    assert "dsver.training.version" not in run_of(run_id).data.tags


def test_an_entry_that_no_version_of_ours_wrote_does_not_stop_the_rest(tracking, digits):
    addresses = [
        "http://[",
        "http://[::1",
        "a" * 8000,
        "sqlite:///" + "a" * 5000,
        "\0",
        "nosuch://x",
        "relative/store",
    ]
    for text in addresses:
        made = PendingRecord("f" * 32, "0", "http://127.0.0.1", (link_to("local://digits"),))
        path = outbox.put(made).path
        path.write_text(json.dumps(made.to_json() | {"tracking": text}, default=str))
    put(ended_run(), link_to("local://digits"))
    assert states() == [State.UNREACHABLE] * len(addresses) + [State.SENT]


def test_what_cannot_be_read_is_told_of_kept_and_does_not_stop_the_rest(tracking, digits):
    path = put(ended_run(), link_to("local://digits"))
    broken = path.with_name("0.json")
    broken.write_text("{")
    assert [(each.state, each.kept) for each in sync(forget=True)] == [(State.SENT, False), (State.UNREADABLE, True)]
    assert broken.read_text() == "{"
    assert exit_code([State.UNREADABLE]) == 3


def test_waiting_asks_nobody_and_writes_nothing(unused_port, digits):
    mlflow.set_tracking_uri(f"http://127.0.0.1:{unused_port}")
    path = put("f" * 32, link_to("local://digits"))
    before = (path.read_bytes(), path.stat())
    assert [outcome.state for outcome in waiting()] == [State.WAITING]
    assert (path.read_bytes(), path.stat()) == before


# Offline


def test_offline_and_the_same_version_is_there_still(tracking, fake):
    fake.has(version())
    run_id = ended_run()
    mine = offline_link("fake://cats")
    put(run_id, replace(mine, grade=mine.grade.with_notes("attached later")), offline=("training",))
    outcome = only()
    assert (outcome.state, outcome.kept) == (State.CONFIRMED, False)
    assert run_of(run_id).data.tags["dsver.training.grade"] == "B (attached later)"
    assert str(dsver.inputs_of(run_id)[0].grade) == "B (attached later)"


def test_offline_while_the_provider_is_away_waits_and_is_asked_once(tracking, fake, monkeypatch):
    fake.has(version())
    run_ids = [ended_run() for _ in range(2)]
    for run_id in run_ids:
        put(run_id, offline_link("fake://cats"), offline=("training",))
    asked = []
    fake.failure = ProviderUnavailable("no answer", provider="fake", operation="get")
    real = fake.get
    monkeypatch.setattr(fake, "get", lambda self, *words: asked.append(words) or real(self, *words))
    found = list(sync())
    assert [(outcome.state, outcome.kept) for outcome in found] == [(State.UNREACHABLE, True)] * 2
    assert "on the run, not confirmed yet" in found[0].detail
    assert len(asked) == 1
    assert run_of(run_ids[0]).data.tags["dsver.training.grade"] == "B (offline)"
    fake.failure = None
    assert states() == [State.CONFIRMED] * 2


GONE: dict[str, Callable[[Any], object]] = {
    "gone": lambda fake: fake.known.clear(),
    "another content": lambda fake: fake.has(version(content_digest="blake3:" + "b" * 64)),
    "another size": lambda fake: fake.has(version(content_digest="blake3:" + "a" * 64, usage_bytes=1)),
}


@pytest.mark.parametrize("change", GONE)
def test_offline_and_contradicted(tracking, fake, change):
    """The run says so: in the grade, and what was expected and found; a sync that was killed says the same again."""
    fake.has(version(content_digest="blake3:" + "a" * 64))
    run_id = ended_run()
    mine = offline_link("fake://cats")
    GONE[change](fake)
    for _ in range(2):
        put(run_id, mine, offline=("training",))
        outcome = only()
        assert (outcome.state, outcome.kept) == (State.CONTRADICTED, False)
        tags = run_of(run_id).data.tags
        assert tags["dsver.training.grade"] == "D (offline, contradicted)"
        assert tags["dsver.training.error"].startswith("offline: expected fake://cats@v1")
        assert "found" in tags["dsver.training.error"]
    assert exit_code([outcome.state]) == 1


def test_a_contradiction_that_was_said_is_not_written_again(proxy, fake):
    fake.has(version())
    run_id = ended_run()
    mine = offline_link("fake://cats")
    fake.known.clear()
    put(run_id, mine, offline=("training",))
    assert states() == [State.CONTRADICTED]
    put(run_id, mine, offline=("training",))
    proxy.log.clear()
    assert states() == [State.CONTRADICTED]
    assert {call.partition(" ")[0] for call in proxy.calls()} == {"GET"}
    fake.has(version())  # it was restored
    put(run_id, mine, offline=("training",))
    assert states() == [State.CONFIRMED]
    assert "dsver.training.error" not in run_of(run_id).data.tags
    assert run_of(run_id).data.tags["dsver.training.grade"] == "B"


@pytest.mark.parametrize(
    ("requested", "created", "state"),
    [
        ("fake://cats@latest", timedelta(hours=-1), State.MOVED_BEFORE),
        ("fake://cats", timedelta(hours=-1), State.MOVED_BEFORE),
        ("fake://cats@clean", timedelta(hours=-1), State.MOVED_BEFORE),
        ("fake://cats@latest", timedelta(hours=1), State.CONFIRMED),
        ("fake://cats@latest", None, State.CONFIRMED),
        ("fake://cats@v1", timedelta(hours=-1), State.CONFIRMED),
    ],
)
def test_offline_and_what_was_asked_for_means_another_version(tracking, fake, requested, created, state):
    """Only a version that was there when the run began could have been meant then."""
    fake.has(version())
    run_id = ended_run()
    mine = offline_link("fake://cats", requested=requested)
    fake.has(version(name="v2", created=None if created is None else now() + created))
    put(run_id, mine, offline=("training",))
    outcome = only()
    assert (outcome.state, outcome.kept) == (state, False)
    tags = run_of(run_id).data.tags
    assert tags["dsver.training.grade"] == "B"
    assert tags["dsver.training.version"] == "fake://cats@v1"
    if state is State.MOVED_BEFORE:
        assert "means fake://cats@v2 by now" in tags["dsver.training.error"]
        assert ("nobody tells when the tag clean moved" in outcome.detail) == (requested.endswith("clean"))
    else:
        assert "dsver.training.error" not in tags
        assert ("fake://cats@v2" in outcome.detail) == (requested != "fake://cats@v1")


def test_of_two_offline_roles_each_gets_its_own_answer(tracking, fake):
    fake.has(version())
    fake.has(version("dogs", "w1"))
    run_id = ended_run()
    links = offline_link("fake://cats@v1"), offline_link("fake://dogs@w1", role="test")
    del fake.known["w1"]
    put(run_id, *links, offline=("training", "test"))
    outcome = only()
    assert outcome.state == State.CONTRADICTED
    assert "training: fake://cats@v1 is there, grade B; test: expected fake://dogs@w1" in outcome.detail
    tags = run_of(run_id).data.tags
    assert (tags["dsver.training.grade"], tags["dsver.test.grade"]) == ("B", "D (offline, contradicted)")


def test_a_provider_that_is_not_installed_any_more_could_not_be_asked(tracking, fake, monkeypatch):
    fake.has(version())
    mine = offline_link("fake://cats")
    mine = replace(mine, version=replace(mine.version, ref=parse("gone://cats@v1")))
    put(ended_run(), mine, offline=("training",))
    outcome = only()
    assert (outcome.state, outcome.kept) == (State.UNREACHABLE, True)
    assert "no provider is called 'gone'" in outcome.detail


# With a provider over HTTP

FAULTS = ["503", "429", "401", "reset", "hang", "html", "nonsense", "cut"]


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)
def test_offline_at_paperspace(paperspace_emulator: PaperspaceEmulator, tracking, monkeypatch) -> None:
    """Every way of not answering leaves the entry; the answer then confirms; a deleted version contradicts."""
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "1.5")
    reference = f"paperspace://{CATS}@fo5rp4m"
    mine = offline_link(reference)
    run_id, other = ended_run(), ended_run()
    put(run_id, mine, offline=("training",))
    for fault in FAULTS:
        paperspace_emulator.inject(fault)
        begun = time.monotonic()
        outcome = only()
        assert time.monotonic() - begun < LONG, fault
        assert (outcome.state, outcome.kept) == (State.UNREACHABLE, True), fault
        assert run_of(run_id).data.tags["dsver.training.grade"] == "B (offline)"
        paperspace_emulator.faults.clear()
    assert states() == [State.CONFIRMED]
    assert run_of(run_id).data.tags["dsver.training.grade"] == "B"
    paperspace_emulator.versions[CATS].pop("fo5rp4m")
    put(other, mine, offline=("training",))
    assert states() == [State.CONTRADICTED]
