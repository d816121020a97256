"""The journal: on the disk before a request, held by one process at a time, with nothing secret, never in the way."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mlflow_dsver.content import atomic_files
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.tracking import outbox
from mlflow_dsver.tracking.clients import address, shown_address
from mlflow_dsver.tracking.outbox import PendingRecord, put, waiting

WHEN = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def link(role: str = "training", **fields: object) -> Link:
    version = DatasetVersion(DatasetRef("fake", "cats", "v1"), raw={"id": "v1"})
    return Link(role, "fake://cats@latest", replace(version, **fields), Grade("B", ("offline",)), WHEN)


def entry(**fields: object) -> PendingRecord:
    return replace(PendingRecord("f" * 32, "7", "http://127.0.0.1:5000", (link(),), created=WHEN), **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dsver-home" / "journal"


@pytest.fixture(autouse=True)
def no_warning_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_warned", False)


TEXT = some.text(max_size=20)


@given(
    some.builds(
        PendingRecord,
        TEXT,
        TEXT,
        TEXT,
        some.lists(some.builds(link, some.sampled_from(["training", "test"]), message=TEXT), max_size=2).map(tuple),
        some.lists(TEXT, max_size=2).map(tuple),
        some.dictionaries(TEXT, TEXT, max_size=2),
        some.datetimes(timezones=some.just(UTC)),
        some.none() | TEXT,
    )
)
def test_an_entry_reads_back_as_it_was_written(made: PendingRecord) -> None:
    assert PendingRecord.from_json(json.loads(json.dumps(made.to_json()))) == made


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def spots(data: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The way to each value inside of a JSON value."""
    keys: list[object] = (
        list(data) if isinstance(data, dict) else list(range(len(data))) if isinstance(data, list) else []
    )
    return [path, *(spot for key in keys for spot in spots(data[key], (*path, key)))]  # type: ignore[index]


@given(some.data())
def test_an_entry_that_somebody_else_wrote_is_read_or_a_value_error(data):
    """Any JSON in the place of any part of an entry: nothing else is raised, and what is read can be written."""
    whole = {"entry": json.loads(json.dumps(entry().to_json(), default=str))}
    *way, last = ("entry", *data.draw(some.sampled_from(spots(whole["entry"]))))
    holder: Any = whole
    for key in way:
        holder = holder[key]
    holder[last] = data.draw(JSON)
    try:
        found = PendingRecord.from_json(whole["entry"])
    except ValueError:
        return
    assert json.dumps(found.to_json(), default=str)


@pytest.mark.parametrize("key", ["run_id", "experiment_id", "tracking", "error"])
def test_no_text_of_an_entry_is_longer_than_we_write(key):
    with pytest.raises(ValueError, match="no text of at most"):
        PendingRecord.from_json(entry().to_json() | {key: "a" * 50_000})


@given(some.text(some.sampled_from("a:/@?+.[]~ \n"), max_size=60) | some.text(max_size=60))
def test_any_address_can_be_shown_and_is_kept_or_refused(text):
    assert len(shown_address(text)) <= 200
    if text.lower().startswith(("http://", "https://")):
        with contextlib.suppress(ValueError):
            address(text)
    else:
        address(text)


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "a" * 50_000 + "://", "http://" + "a@" * 25_000, "sql://" + "a:" * 25_000]
)
def test_an_address_takes_time_in_proportion_to_its_length(text):
    """50,000 characters took 6 seconds; steps are counted, as the clock of a busy machine says nothing."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        shown_address(text)
        address(text)
    finally:
        sys.setprofile(None)
    assert steps < 2_000
    assert len(shown_address(text)) <= 200


def test_an_entry_is_called_by_the_last_part_of_its_name_and_can_be_dropped_unread(folder):
    ticket = put(entry())
    assert len(outbox.entry_id(ticket.path)) == 8
    assert outbox.drop(ticket.path) is False, "this process holds it"
    ticket.release()
    assert outbox.drop(ticket.path) is True
    (folder / "broken.json").write_text("{")
    assert outbox.entry_id(folder / "broken.json") == "broken"
    assert outbox.drop(folder / "broken.json") is True
    assert list(folder.iterdir()) == []


def test_an_entry_is_there_until_it_is_done(folder):
    ticket = put(entry(offline=("training",), overridden={"training": "fake://cats@old"}))
    assert ticket is not None
    assert json.loads(ticket.path.read_bytes())["run_id"] == "f" * 32
    assert stat.S_IMODE(ticket.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    ticket.done()
    assert list(folder.iterdir()) == []
    ticket.done()  # once more is no harm


def test_it_is_flushed_with_its_name_before_put_returns(monkeypatch, folder):
    """A mutant without the flush, or one that locks only after the rename, fails here."""
    events = []
    real = atomic_files.flush

    def flush(descriptor: int) -> None:
        real(descriptor)
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    put(entry()).done()
    monkeypatch.setattr(atomic_files, "flush", flush)
    put(entry())
    assert events == ["file", "folder"]


def test_an_entry_in_use_is_left_alone_and_one_that_failed_is_not(folder):
    ticket = put(entry())
    assert list(waiting()) == []
    ticket.fail("postgresql://me:hunter2@db/x?password=swordfish did not answer")
    for path, found, mine in waiting():
        assert path == ticket.path
        assert found == entry(error="postgresql://[hidden]@db/x?[hidden] did not answer")
        assert list(folder.iterdir()) == [path]
        assert list(waiting()) == []  # in our hands now
        ticket.done()  # spent: it belongs to whoever took it
        assert path.is_file()
        mine.done()
    assert list(waiting()) == []


def test_what_failed_is_taken_out_all_the_same_when_it_is_done_in_the_end(folder):
    ticket = put(entry())
    ticket.fail("no answer")
    ticket.done()
    assert list(folder.iterdir()) == []
    ticket.done()


def test_a_ticket_that_nobody_has_any_more_holds_nothing():
    held = set(outbox._held)
    put(entry())
    assert outbox._held == held
    assert len(list(waiting())) == 1


def test_entries_come_oldest_first_and_each_is_let_go_when_the_next_is_asked_for():
    for second in (3, 1, 2):
        put(entry(created=WHEN.replace(second=second))).release()
    assert [found.created.second for _, found, _ in waiting()] == [1, 2, 3]
    assert len(list(waiting())) == 3


def test_death_gives_an_entry_free(folder):
    """kill -9, which runs nothing; while the process lives, nobody else gets its entry."""
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from test_outbox import entry\n"
        "from mlflow_dsver.tracking.outbox import put\n"
        "ticket = put(entry()); print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        assert list(waiting()) == []
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert [found.run_id for _, found, _ in waiting()] == ["f" * 32]


def test_a_forked_child_neither_holds_nor_takes_out_the_entry_of_its_parent(folder):
    ticket = put(entry())
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        ticket.done()
        ticket.fail("from the child")
        os.write(told, b"%d" % len(list(waiting())))
        time.sleep(60)  # outlives the parent's hold; killed below
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"0"  # the parent's lock stands
        assert json.loads(ticket.path.read_bytes())["error"] is None
        ticket._spent = True
        os.close(ticket._descriptor)  # as the parent's death would do; the child lives on
        assert len(list(waiting())) == 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_is_no_entry_is_told_of_and_kept(folder, caplog):
    put(entry()).done()
    bad = {
        "0.json": b"",
        "1.json": b"\xff\x00",
        "2.json": b'{"schema": 2}',
        "3.json": b'{"schema": 1, "run_id": "x"}',
        "4.json": b"[" * 100_000,
        "5.json": json.dumps(entry().to_json() | {"links": 7}).encode(),
        "6.json": json.dumps(entry().to_json() | {"created": "today"}).encode(),
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    (folder / "7.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "8.json")
    (folder / "9.json").mkdir()
    put(entry()).release()
    told = {}
    assert len(list(waiting(lambda path, why: told.update({path.name: why})))) == 1
    assert sorted(told) == [f"{number}.json" for number in range(10)]
    assert "schema 2" in told["2.json"]
    assert len(list(waiting())) == 1
    assert "2.json is kept and not read: an entry of schema 2" in caplog.text
    assert (folder / "1.json").read_bytes() == bad["1.json"]


def test_a_home_that_cannot_be_written_costs_one_warning(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path / "file" / "home"))
    assert put(entry()) is None
    assert put(entry()) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the journal cannot be written" in caplog.text
    assert list(waiting()) == []


def test_a_full_disk_is_no_error_and_leaves_nothing(monkeypatch, folder):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    put(entry()).done()
    monkeypatch.setattr(atomic_files, "flush", full)
    held = set(outbox._held)
    assert put(entry()) is None
    assert list(folder.iterdir()) == []
    assert outbox._held == held


def test_settings_that_cannot_be_read_are_no_error(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_DSVER_HOME")
    (tmp_path / "broken.toml").write_text("= =")
    monkeypatch.setenv("MLFLOW_DSVER_CONFIG", str(tmp_path / "broken.toml"))
    assert put(entry()) is None


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://user:CANARY@127.0.0.1:5000/base/?token=CANARY#CANARY", "http://127.0.0.1:5000/base"),
        ("HTTPS://CANARY@Example.com/", "https://example.com"),
        ("http://user:CANARY/x@host", "http://user/x@host"),  # not what urllib3 would take for a login
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("postgresql+psycopg2://me:CAN/ARY?CANARY#1@db:5432/mlflow?password=CANARY", "postgresql+psycopg2://db:5432/mlflow"),
        ("mysql://me:CANARY@CANARY@db/mlflow", "mysql://db/mlflow"),
        ("sqlite:////data/a@b/mlflow#1.db?timeout=5", "sqlite:////data/a@b/mlflow#1.db"),
        ("databricks://profile", "databricks://profile"),
        ("databricks", "databricks"),
        ("file:///data/mlruns", "file:///data/mlruns"),
        ("/data/mlruns", "/data/mlruns"),
    ],
)  # fmt: skip
def test_an_address_is_kept_without_what_is_secret(uri, kept, folder):
    assert address(uri) == kept
    put(entry(tracking=uri)).release()
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"CANARY" not in written
    assert [found.tracking for _, found, _ in waiting()] == [kept]


def test_an_address_means_the_same_from_another_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert address("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert address("./mlruns") == address("file:mlruns") == f"{tmp_path}/mlruns"


def test_an_address_that_is_none_is_no_error():
    assert put(entry(tracking="http://[::1")) is None


def test_what_a_killed_writer_left_is_deleted_after_a_while(folder):
    put(entry()).release()
    young, old = folder / ".x.json.aa.tmp", folder / ".y.json.bb.tmp"
    for path in (young, old):
        path.write_text("{")
    os.utime(old, (1, 1))
    outbox.tidy()
    assert sorted(path.name[0] for path in folder.iterdir()) == [".", "2"]
    assert young.is_file()
