"""Attaching many: every row is checked first, each has its outcome, and doing it again costs one read a row."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as some
from mlflow import MlflowClient
from servers import LONG
from tracking_fakes import dsver_part, run_of, version
from tracking_proxy import Proxy

import mlflow_dsver as dsver
from mlflow_dsver.errors import InvalidArgument, ProviderUnavailable
from mlflow_dsver.tracking import bulk_attach, outbox
from mlflow_dsver.tracking.bulk_attach import Row, State, attach_all, exit_code, read

RUN = "f" * 32


def rows_of(text: str | bytes, **named: str) -> list[Row]:
    return read(io.BytesIO(text.encode() if isinstance(text, str) else text), "runs.csv", **named)


def refused(text: str | bytes) -> str:
    with pytest.raises(InvalidArgument) as caught:
        rows_of(text)
    assert caught.value.exit_code == 2
    assert str(caught.value).endswith("Nothing was written")
    return str(caught.value)


def ended_runs(count: int) -> list[str]:
    ids = []
    for _ in range(count):
        with mlflow.start_run() as run:
            ids.append(run.info.run_id)
    return ids


def states(rows: list[Row]) -> list[State]:
    return [outcome.state for outcome in attach_all(rows)]


# Reading


def test_rows_are_read_whatever_the_order_of_the_columns():
    text = f'\ufeffreference, run_id ,role\r\nlocal://a@clean,{RUN},test\r\n\r\n" local://b",{RUN},\r\n'
    assert rows_of(text) == [Row(2, RUN, "local://a@clean", "test"), Row(4, RUN, "local://b", "training")]
    assert rows_of(f"run_id,reference\n{RUN},local://a", role="eval") == [Row(2, RUN, "local://a", "eval")]
    assert rows_of("run_id,reference") == []


def test_all_bad_rows_are_told_of_with_their_lines():
    said = refused(
        f"run_id,reference,role\n{RUN},local://a,training\n../x,local://a,\n{RUN},nothing,\n{RUN},locla://a,\n"
        f"{RUN},local://a,two words\n{RUN},local://a\n\x00,local://a,\n"
    )
    assert "6 bad rows" in said
    for part in ("line 3: not a run's id: '../x'", "line 4: ", "line 5: no provider is called 'locla', perhaps local",
                 "line 6: ", "line 7: 2 fields under 3 names", "line 8: not a run's id: '\\x00'"):  # fmt: skip
        assert part in said


def test_reading_ends_where_nearly_all_is_bad():
    said = refused("run_id,reference\n" + "x,z\n" * 20_000)
    assert "10,001 bad rows" in said


def test_of_very_many_bad_rows_the_first_are_told():
    said = refused("run_id,reference\n" + "x y,z\n" * 5000)
    assert "5,000 bad rows" in said
    assert "and 4,990 more" in said
    assert len(said) < 2000


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "line 1: expected the header run_id,reference,role (role may be left out), got nothing"),
        ("run_id;reference\n", "got run_id;reference"),
        ("run_id,reference,roles\n", "got run_id,reference,roles"),
        ("run_id,run_id,reference\n", "line 1: expected the header"),
        (f"{RUN},local://a\n", "expected the header"),
        ("run_id,reference\n".encode("utf-16"), "line 1: not UTF-8"),
        (b"run_id,reference\n\nx,local://\xe9\n", "line 3: not UTF-8; nothing below it was read"),
        ("run_id,reference\n" + "x" * 70_000, "line 2: longer than 65,536 bytes"),
        ("run_id,reference\n" + '"' + "x,\n" * 100_000, "field larger than field limit"),
        (f'run_id,reference\n{RUN},"local://a', "unexpected end of data"),
        (f'run_id,reference\n{RUN},"local://a"b', "expected after"),
    ],
)
def test_what_is_no_such_file_is_refused(text, part):
    assert part in refused(text)


def test_a_file_of_too_many_rows_is_refused(monkeypatch):
    monkeypatch.setattr(bulk_attach, "MAX_ROWS", 3)
    line = f"{RUN},local://a\n"
    assert len(rows_of("run_id,reference\n" + line * 3)) == 3
    assert "more than 3 rows; split the file" in refused("run_id,reference\n" + line * 4)


@given(some.binary(max_size=200) | some.text(alphabet='run_id,eft"\n\x00é;', max_size=60).map(str.encode))
def test_no_file_does_more_than_to_be_refused(content: bytes) -> None:
    for text in (content, b"run_id,reference\n" + content):
        try:
            rows_of(text)
        except InvalidArgument:
            continue


# Attaching


def test_each_row_has_its_outcome_and_a_bad_one_does_not_stop_the_rest(tracking, digits, fake):
    fake.has(version())
    good, taken, deleted = ended_runs(3)
    with dsver.start_run(inputs={"training": "fake://cats"}, run_id=taken):
        pass
    MlflowClient().delete_run(deleted)
    wanted = [(good, "local://digits@clean", "training"), (good, "local://digits", "test"),
              (taken, "local://digits", "training"), (RUN, "local://digits", "training"),
              (good, "local://digits@nosuch", "eval"), (deleted, "local://digits", "eval"),
              (taken, "local://digits", "test"), (good, "local://digits@clean", "training")]  # fmt: skip
    rows = [Row(number, *row) for number, row in enumerate(wanted, 2)]
    found = list(attach_all(rows))
    assert [outcome.state for outcome in found] == [
        State.ATTACHED, State.ATTACHED, State.CONFLICT, State.NO_RUN,
        State.FAILED, State.NO_RUN, State.ATTACHED, State.THERE,
    ]  # fmt: skip
    assert "no version of that id" in found[4].detail
    assert {link.role: (str(link.version), str(link.grade), link.requested) for link in dsver.inputs_of(good)} == {
        "training": (str(digits), "A (attached later)", "local://digits@clean"),
        "test": (str(digits), "A (attached later)", "local://digits"),
    }
    assert exit_code(outcome.state for outcome in found) == 1
    assert exit_code([State.FAILED, State.THERE]) == 3
    assert exit_code([State.ATTACHED, State.THERE]) == exit_code([]) == 0
    assert list(outbox.waiting()) == []


@pytest.mark.parametrize("params", ["full", "none"])
def test_what_it_does_is_what_attach_does(tracking, digits, monkeypatch, params):
    monkeypatch.setenv("MLFLOW_DSVER_PARAMS", params)
    one, many = ended_runs(2)
    dsver.attach(one, "local://digits@clean", "test")
    assert states([Row(2, many, "local://digits@clean", "test")]) == [State.ATTACHED]
    first, second = run_of(one), run_of(many)
    assert dsver_part(first.data.params) == dsver_part(second.data.params)
    assert bool(second.data.params) == (params == "full")
    own = "dsver.test.artifacts"  # the sums of files that hold the time when each was linked
    tags = [{**dsver_part(run.data.tags), own: bool(run.data.tags[own])} for run in (first, second)]
    assert tags[0] == tags[1]


def test_each_reference_is_resolved_once(tracking, fake, monkeypatch):
    fake.has(version())
    asked = []
    real = fake.resolve
    monkeypatch.setattr(fake, "resolve", lambda self, ref: asked.append(str(ref)) or real(self, ref))
    rows = [Row(2, run_id, f"fake://cats@{tag}", "training") for run_id in ended_runs(3) for tag in ("clean", "v1")]
    assert states(rows) == [State.ATTACHED, State.THERE] * 3
    assert asked == ["fake://cats@clean", "fake://cats@v1"]


def test_a_provider_that_is_away_is_asked_once(tracking, fake, digits, monkeypatch):
    fake.failure = ProviderUnavailable("no answer", provider="fake", operation="get")
    asked = []
    real = fake.versions
    monkeypatch.setattr(fake, "versions", lambda self, *a, **b: asked.append(a) or real(self, *a, **b))
    [run_id] = ended_runs(1)
    rows = [Row(2, run_id, f"fake://cats{n}", f"r{n}") for n in range(3)] + [Row(5, run_id, "local://digits", "test")]
    assert states(rows) == [State.FAILED] * 3 + [State.ATTACHED]
    assert len(asked) == 1


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    with Proxy(server.uri) as proxy:
        mlflow.set_tracking_uri(proxy.address)
        yield proxy
        proxy.dead = False


def test_doing_it_again_is_one_read_a_row(proxy, digits):
    rows = [Row(2, run_id, "local://digits", "training") for run_id in ended_runs(3)]
    assert states(rows) == [State.ATTACHED] * 3
    proxy.log.clear()
    assert states(rows) == [State.THERE] * 3
    assert proxy.calls() == ["GET runs/get"] * 3


def test_a_server_that_is_away_is_not_waited_for_at_every_row(proxy, digits, monkeypatch):
    rows = [Row(2, run_id, "local://digits", "training") for run_id in ended_runs(1)] * 200
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "1")
    proxy.dead = True
    begun = time.monotonic()
    found = list(attach_all(rows))
    assert time.monotonic() - begun < LONG
    assert [outcome.state for outcome in found] == [State.FAILED] * 200
    assert found[-1].detail.startswith("not tried: the tracking server")
    proxy.dead = False
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "60")
    assert states(rows[:2]) == [State.ATTACHED, State.THERE]


def test_an_interrupt_leaves_whole_links_only(server_proxy, digits, tmp_path, prepared):
    """Ctrl-C while rows are attached; what was begun is finished, and the same command does the rest."""
    ids = ended_runs(12)
    (tmp_path / "runs.csv").write_text("run_id,reference\n" + "".join(f"{run_id},local://digits\n" for run_id in ids))
    script = "from mlflow_dsver.cli.main import main; main(['attach', '--from', 'runs.csv'])"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server_proxy.address, "PYTHONUNBUFFERED": "1"}
    server_proxy.slow = {"runs/log-inputs": 1.0}  # far more than it takes to send a signal
    process = subprocess.Popen(
        [*prepared.python, "-c", script], env=environment, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline().startswith("attached")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    linked = [run_id for run_id in ids if dsver_part(run_of(run_id).data.tags)]
    assert 1 <= len(linked) < len(ids)
    for run_id in linked:
        assert len(MlflowClient().list_artifacts(run_id, "dsver")) == 3
        assert len(run_of(run_id).inputs.dataset_inputs) == 1
    found = states(rows_of((tmp_path / "runs.csv").read_bytes()))
    assert found == [State.THERE] * len(linked) + [State.ATTACHED] * (len(ids) - len(linked))
    assert list(outbox.waiting()) == []
