"""The resolution cache of a host: keys, ages, unreadable entries, and one resolution for all processes of a job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mlflow_dsver.content import file_locks
from mlflow_dsver.model.json_values import date_text, date_value
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.resolution import resolution_cache
from mlflow_dsver.resolution.resolution_cache import cache_resolution, cached_resolution, invalidate, resolve_once
from mlflow_dsver.secrets import Secret

ASKED = "paperspace://cats@latest"
ONE = DatasetVersion(DatasetRef("paperspace", "cats", "v1"), tags=("clean",), raw={"a": ["ü"]})
TWO = DatasetVersion(DatasetRef("paperspace", "cats", "v2"))

CHILD = """
import os, sys, time
from pathlib import Path
from mlflow_dsver.resolution.resolution_cache import resolve_once
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.model.refs import DatasetRef
name, folder, seconds, wait = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
def ask():
    (folder / f"asks-{name}").touch()
    time.sleep(seconds)
    told = folder / f"told-{name}"
    while name.startswith("held") and not told.exists():
        time.sleep(0.01)
    if told.exists() and told.read_text():
        raise LookupError("gone")
    return DatasetVersion(DatasetRef("local", "cats", f"of-{name}"))
print("wants", flush=True)
print(resolve_once("local://cats@latest", "job 1", ask, wait), flush=True)
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "dsver-home" / "cache" / "answers"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start("a", asking=0.3)`: a process that wants the answer, and takes that long if it is the one who asks.

    One whose name starts with `held` has its answer when there is a file `told-NAME`, an error if something is in it.
    """
    processes: list[subprocess.Popen[str]] = []

    def call(name: str, asking: float = 0.0, wait: float = 60.0, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, name, str(tmp_path), str(asking), str(wait)],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        return process

    yield call
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def answer(process: subprocess.Popen[str]) -> str:
    """What it printed besides that it wants an answer."""
    return process.communicate()[0].removeprefix("wants\n")


def asked(folder: Path, count: int = 1) -> list[str]:
    """Who asked so far, as soon as that are so many."""
    until = time.monotonic() + 30
    while len(found := sorted(path.name[5:] for path in folder.glob("asks-*"))) < count and time.monotonic() < until:
        time.sleep(0.01)
    return found


def test_an_answer_is_kept() -> None:
    assert cached_resolution(ASKED, None) is None
    cache_resolution(ASKED, ONE)
    found = cached_resolution(f" {ASKED}\n", 60)
    assert found is not None
    assert (found.requested, found.version) == (ASKED, ONE)
    cache_resolution(ASKED, TWO)
    assert (found := cached_resolution(ASKED, None)) is not None
    assert found.version == TWO
    assert cached_resolution("paperspace://cats@clean", None) is None
    assert cached_resolution("paperspace://cats", None) == found, "which means the same"


def test_an_answer_has_an_age(answers: Path) -> None:
    """Old ones are taken only where any age will do; one from the future never is."""
    cache_resolution(ASKED, ONE)
    (path,) = answers.iterdir()
    data = json.loads(path.read_text())
    when = date_value(data["when"])
    assert when is not None
    path.write_text(json.dumps({**data, "when": date_text(when - timedelta(seconds=61))}))
    assert cached_resolution(ASKED, 60) is None
    assert cached_resolution(ASKED, 65) is not None
    assert cached_resolution(ASKED, None) is not None
    path.write_text(json.dumps({**data, "when": date_text(when + timedelta(seconds=61))}))
    assert cached_resolution(ASKED, None) is None


@pytest.mark.parametrize(
    "name",
    ["PAPERSPACE_API_KEY", "PAPERSPACE_API_BASE", "MLFLOW_DSVER_PAPERSPACE_UNCOMMITTED", "MLFLOW_DSVER_HOME"],
)
def test_an_answer_from_elsewhere_is_not_taken(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another key, address, store or setting of the provider: another question."""
    cache_resolution(ASKED, ONE)
    value = str(tmp_path / "another")
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        assert cached_resolution(ASKED, None) is None
    assert cached_resolution(ASKED, None) is not None


def test_a_home_that_was_copied_is_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache_resolution(ASKED, ONE)
    (tmp_path / "dsver-home").rename(tmp_path / "copy")
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path / "copy"))
    assert cached_resolution(ASKED, None) is None


def test_a_setting_in_the_file_counts_as_one_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache_resolution(ASKED, ONE)
    monkeypatch.setenv("MLFLOW_DSVER_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text('paperspace_uncommitted = "link"\n')
    assert cached_resolution(ASKED, None) is None


class Elsewhere(Provider):
    """A third-party provider for the server that `OTHER_ENDPOINT` or its file sets."""

    name = "elsewhere"
    settings_prefixes = ("OTHER_",)
    settings_files = (Path("~/elsewhere.ini"),)

    def get(self, dataset: str, version: str) -> DatasetVersion:
        raise NotImplementedError

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        raise NotImplementedError


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Elsewhere]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(resolution_cache, "get_provider", lambda _: Elsewhere())
    return Elsewhere


OURS = "elsewhere://cats@latest"
OF_ONE = DatasetVersion(DatasetRef("elsewhere", "cats", "v1"))


@pytest.mark.parametrize("variable", ["ELSEWHERE_URL", "MLFLOW_DSVER_ELSEWHERE_URL", "OTHER_ENDPOINT"])
def test_two_servers_of_a_third_partys_provider_never_share_an_answer(
    elsewhere: type[Elsewhere], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_resolution(OURS, OF_ONE)
    with monkeypatch.context() as patch:
        patch.setenv(variable, "https://other.example")
        assert cached_resolution(OURS, None) is None
    assert cached_resolution(OURS, None) is not None


def test_an_address_in_a_providers_own_file_or_on_the_instance_tells_answers_apart(
    elsewhere: type[Elsewhere], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache_resolution(OURS, OF_ONE)
    (tmp_path / "elsewhere.ini").write_text("url = https://other.example")
    assert cached_resolution(OURS, None) is None
    (tmp_path / "elsewhere.ini").unlink()
    assert cached_resolution(OURS, None) is not None
    for held in ("https://other.example", Path("/mnt/other"), Secret("a key")):
        monkeypatch.setattr(elsewhere, "__init__", lambda self, held=held: setattr(self, "_where", held))
        assert cached_resolution(OURS, None) is None, held


@pytest.mark.parametrize("key", [lambda self: None, lambda self: {"a": object()}, lambda self: 1 / 0])
def test_a_provider_that_cannot_say_what_its_answers_depend_on_has_none_kept_but_a_job_has_one(
    elsewhere: type[Elsewhere], key: Callable[[Elsewhere], object], monkeypatch: pytest.MonkeyPatch, answers: Path
) -> None:
    monkeypatch.setattr(elsewhere, "cache_key", key)
    cache_resolution(OURS, OF_ONE)
    assert cached_resolution(OURS, None) is None
    assert not answers.exists()
    assert resolve_once(OURS, "job 1", lambda: OF_ONE, 1.0) == OF_ONE
    assert resolve_once(OURS, "job 1", lambda: pytest.fail("asked twice"), 1.0) == OF_ONE


def test_no_key_can_be_read_and_only_the_owner_reads_at_all(answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERSPACE_API_KEY", "Geheimnis")
    cache_resolution(ASKED, ONE)
    resolve_once(ASKED, "job 1", lambda: ONE, 1.0)
    for path in answers.iterdir():
        assert "Geheimnis" not in path.name + path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"schema": 1}', b"null", b"x" * (2 << 20)],
)
def test_a_corrupt_file_is_as_if_it_were_not_there(content: bytes, answers: Path) -> None:
    cache_resolution(ASKED, ONE)
    (path,) = answers.iterdir()
    path.write_bytes(content)
    assert cached_resolution(ASKED, None) is None
    invalidate(ONE.ref)
    cache_resolution(ASKED, TWO)
    assert cached_resolution(ASKED, None) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2}, {"requested": "paperspace://dogs@latest"}, {"requested": 3}, {"when": "yesterday"},
        {"when": None}, {"version": {"reference": "paperspace://cats"}}, {"version": {"reference": "local://cats@v"}},
        {"version": {"reference": "paperspace://cats@v", "metadata": 3}}, {"version": []},
        {"version": {"reference": "paperspace://cats@v", "tags": [1, "a"]}}, {"when": "0001-01-01T00:00:00+14:00"},
    ],
)  # fmt: skip
def test_a_foreign_file_is_as_if_it_were_not_there(change: dict[str, object], answers: Path) -> None:
    cache_resolution(ASKED, ONE)
    (path,) = answers.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert cached_resolution(ASKED, 60) is None


def test_a_home_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path / "file"))
    cache_resolution(ASKED, ONE)
    assert cached_resolution(ASKED, None) is None
    invalidate(ONE.ref)
    assert resolve_once(ASKED, "job 1", lambda: ONE, 1.0) == ONE


def test_forgetting_a_dataset_leaves_its_fixed_answers_and_those_of_others() -> None:
    """A version's own id means the same for ever; a tag or latest of this dataset does not."""
    fixed, other = "paperspace://cats@v1", "paperspace://dogs@latest"
    cache_resolution(ASKED, ONE)
    cache_resolution(fixed, ONE)
    cache_resolution(other, DatasetVersion(DatasetRef("paperspace", "dogs", "v1")))
    by_name = "paperspace://by-name"
    cache_resolution(by_name, ONE)
    invalidate(DatasetRef("paperspace", "cats", "v3"))
    assert cached_resolution(ASKED, None) is None
    assert cached_resolution(by_name, None) is None, "its answer is a version of that dataset"
    assert cached_resolution(fixed, None) is not None
    assert cached_resolution(other, None) is not None


def test_files_are_bounded_in_number_and_age(answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first, and what is older than 30 days goes in any case."""
    monkeypatch.setattr(resolution_cache, "MAX_FILES", 5)
    for number in range(8):
        cache_resolution(f"paperspace://cats@tag-{number}", ONE)
        for path in answers.iterdir():
            os.utime(path, (path.stat().st_mtime - 3600,) * 2)
        assert len(list(answers.iterdir())) == min(number + 1, 5)
    assert [bool(cached_resolution(f"paperspace://cats@tag-{number}", None)) for number in range(8)] == [
        False
    ] * 3 + [True] * 5
    for path in answers.iterdir():
        os.utime(path, (path.stat().st_mtime - 31 * 86_400,) * 2)
    cache_resolution(ASKED, ONE)
    assert len(list(answers.iterdir())) == 1


def test_within_a_job_one_asks_and_all_have_its_answer(start: Start, tmp_path: Path) -> None:
    outputs = {answer(process) for process in [start(str(number), 0.3) for number in range(8)]}
    (asker,) = asked(tmp_path)
    assert outputs == {f"local://cats@of-{asker}\n"}


def test_the_variables_of_a_rank_do_not_split_a_job(start: Start, tmp_path: Path) -> None:
    """LOCAL_RANK is no variable of the provider `local`."""
    processes = [start(str(number), 0.1, LOCAL_RANK=str(number), RANK=str(number)) for number in range(3)]
    assert len({answer(process) for process in processes}) == 1
    assert len(asked(tmp_path)) == 1


def test_when_the_asker_is_killed_the_next_one_asks(start: Start, tmp_path: Path) -> None:
    first = start("held")
    assert asked(tmp_path) == ["held"]
    others = [start(name, 0.2) for name in ("second", "third")]
    assert [process.stdout and process.stdout.readline() for process in others] == ["wants\n"] * 2
    first.send_signal(signal.SIGKILL)
    outputs = {process.communicate(timeout=60)[0] for process in others}
    _, second = sorted(asked(tmp_path, 2), key=lambda name: name != "held")  # not both: one waited
    assert outputs == {f"local://cats@of-{second}\n"}


def test_an_error_is_the_askers_own(start: Start, tmp_path: Path) -> None:
    first = start("held")
    asked(tmp_path)
    second = start("second")
    assert second.stdout is not None
    assert second.stdout.readline() == "wants\n"
    (tmp_path / "told-held").write_text("an error")
    assert second.communicate()[0] == "local://cats@of-second\n"
    assert answer(first) == ""
    assert first.returncode == 1


def test_who_has_waited_long_enough_asks_for_itself_and_the_first_answer_is_for_all(
    start: Start, tmp_path: Path
) -> None:
    slow = start("held")
    asked(tmp_path)
    assert answer(start("quick", wait=0.3)) == "local://cats@of-quick\n"
    assert answer(start("late")) == "local://cats@of-quick\n"
    assert slow.poll() is None, "it is still asking"
    (tmp_path / "told-held").touch()
    assert answer(slow) == "local://cats@of-quick\n"


def test_another_job_and_another_question_are_asked_again() -> None:
    assert resolve_once(ASKED, "job 1", lambda: ONE, 1.0) == ONE
    assert resolve_once(ASKED, "job 1", lambda: TWO, 1.0) == ONE
    assert resolve_once(ASKED, "job 2", lambda: TWO, 1.0) == TWO
    assert resolve_once("paperspace://cats@clean", "job 1", lambda: TWO, 1.0) == TWO


def test_the_answer_of_a_job_is_good_for_ten_minutes_and_not_forgotten(
    answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_once(ASKED, "job 1", lambda: ONE, 1.0)
    invalidate(ONE.ref)
    assert resolve_once(ASKED, "job 1", lambda: TWO, 1.0) == ONE
    later = resolution_cache.now() + timedelta(seconds=601)
    monkeypatch.setattr(resolution_cache, "now", lambda: later)
    assert resolve_once(ASKED, "job 1", lambda: TWO, 1.0) == TWO


def test_without_locks_each_asks_that_finds_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "fcntl", None)
    assert resolve_once(ASKED, "job 1", lambda: ONE, 1.0) == ONE
    assert resolve_once(ASKED, "job 1", lambda: TWO, 1.0) == ONE
