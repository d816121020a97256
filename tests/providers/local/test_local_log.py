"""A dataset's log is hostile input: each entry says what it may, or the damage is named; within bounds."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_dsver.errors import CorruptObject, DsverError, InvalidArgument
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.local import LocalProvider, log
from mlflow_dsver.providers.local.maintenance import check, collect

DIGEST = "blake3:" + "ab" * 32
CREATED: dict[str, Any] = {
    "dataset": "digits", "op": "create", "version": "ab" * 8, "digest": DIGEST, "files": 1, "bytes": 2, "kept": True,
    "at": "2026-01-01T00:00:00Z", "by": "me@here", "manifest": "0" * 32, "add_tags": ["clean"], "message": "first",
    "metadata": {"a": [1, None]}, "source": "/data",
}  # fmt: skip
CHANGED: dict[str, Any] = {
    "dataset": "digits", "op": "update", "version": "ab" * 8, "at": "2026-01-02T00:00:00Z", "by": "me@here",
    "remove_tags": ["clean"], "add_tags": ["raw"], "message": "", "metadata": {},
}  # fmt: skip

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.sampled_from([DIGEST, "ab" * 8, "delete", "2026-13-01", "0001-01-01T00:00:00+23:59", "\0", "../x"])
JSON = st.recursive(
    PLAIN | WORDS | st.text(max_size=80),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)


def log_of(*operations: Any) -> bytes:
    """A log with right checksums, whatever it says."""
    text, total = b"", ""
    for operation in operations:
        line, total = log.line_of(operation, total)
        text += line
    return text


def use(text: bytes) -> None:
    """Everything that the store does with a log; whatever goes wrong is one of our errors."""
    with tempfile.TemporaryDirectory() as folder:
        local = LocalProvider(Path(folder) / "store")
        local.store.make()
        path = local.store.log("digits")
        path.parent.mkdir()
        path.write_bytes(text)
        with suppress(DsverError):
            list(local.datasets())
        with suppress(DsverError):
            for version in local.versions("digits"):
                version.to_json()
                local.grade(version)
                local.local_copy(version)
                local.update(version, add_tags=("new",), message="new")
                local.delete(version)
        with suppress(DsverError):
            local.resolve(DatasetRef("local", "digits", "clean"))
        with suppress(DsverError):
            local.resolve(DatasetRef("local", "digit"))
        check(local.store)
        with suppress(DsverError):
            collect(local.store)


@given(st.sampled_from([CREATED, CHANGED]), st.dictionaries(st.sampled_from(sorted(CREATED | CHANGED)), JSON))
@example(CREATED, {"files": "1"})
@example(CREATED, {"bytes": -1})
@example(CREATED, {"at": "yesterday"})
@example(CREATED, {"digest": "sha256:00"})
@example(CREATED, {"version": "../../etc"})
@example(CHANGED, {"add_tags": "clean"})
@example(CHANGED, {"metadata": ["a"]})
@example(CHANGED, {"op": "delete", "version": None})
def test_an_entry_that_means_nothing_is_named_damage(entry: dict[str, Any], wrong: dict[str, Any]) -> None:
    """Right checksums, wrong kinds of values, in any field: an error of ours, or a value that works everywhere."""
    use(log_of(CREATED, entry | wrong))


@given(st.dictionaries(st.text(max_size=8), JSON) | JSON)
def test_any_json_is_an_entry_or_named_damage(entry: Any) -> None:
    with suppress(CorruptObject):
        log.parse(log_of(CREATED, entry), "digits")


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_are_a_log_or_named_damage(noise: bytes, place: int) -> None:
    sound = log_of(CREATED, CHANGED)
    for text in (noise, sound + noise, sound[:place] + noise + sound[place:]):
        with suppress(CorruptObject):
            log.parse(text, None)


WRONG = [0, "x", [1], {"x": 1}, True, -1, 1.5, 10**400, "\ud800", None]
RIGHT: dict[str, list[object]] = {
    "by": ["x"], "message": ["x", None], "source": ["x", None], "metadata": [{"x": 1}, None], "add_tags": [None],
    "kept": [True], "files": [0], "bytes": [0], "dataset": ["x"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in sorted(CREATED)
        for value in WRONG
        if repr(value) not in map(repr, RIGHT.get(name, []))
    ],
)
def test_every_field_of_another_kind_is_named(name: str, value: object) -> None:
    """Line and field are told."""
    with pytest.raises(CorruptObject, match="the log of dataset 'digits' is damaged in line 2"):
        log.parse(log_of(CREATED, CREATED | {name: value}), "digits")


def test_an_entry_about_a_version_that_was_never_made_is_damage() -> None:
    for kind in ("update", "delete"):
        with pytest.raises(CorruptObject, match="line 1: it is about a version that does not exist"):
            log.parse(log_of(CHANGED | {"op": kind}), "digits")


def test_a_log_that_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    local = LocalProvider(tmp_path / "store")
    local.store.make()
    local.store.log("digits").parent.mkdir()
    os.mkfifo(local.store.log("digits"))
    with pytest.raises(CorruptObject, match="no file"):
        list(local.versions("digits"))


def test_a_log_beyond_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(log_of(CREATED))
    monkeypatch.setattr(log, "MAX_LOG", 100)
    with pytest.raises(CorruptObject, match="too large"):
        log.read_log(path)


@pytest.mark.parametrize("kind", ["zeros", "deletes", "tags"])
def test_reading_takes_time_in_proportion_to_the_log(kind: str) -> None:
    """Ten times the entries take some ten times the time, whatever they are; measured in work, beside a plain log."""

    def entries(count: int) -> bytes:
        made = [CREATED | {"add_tags": [f"{n}-{k}" for k in range(20)]} for n in range(count // 2)]
        if kind == "zeros":
            return log_of(*[CREATED] * count) + b"\0" * 1_000 * count
        if kind == "deletes":
            gone = {"dataset": "digits", "op": "delete", "version": "ab" * 8, "at": "2026-01-02", "by": "me"}
            return log_of(*[each for one in made for each in (one, gone)])
        return log_of(*made)

    def work(text: bytes) -> float:
        begun = time.process_time()
        log.parse(text, "digits")
        return time.process_time() - begun

    small, large = entries(300), entries(3_000)
    assert min(work(large) for _ in range(3)) < 50 * min(work(small) for _ in range(3)) + 0.05


def test_metadata_deeper_than_can_be_read_back_is_refused(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("a")
    local = LocalProvider(tmp_path / "store")
    with pytest.raises(InvalidArgument, match="metadata"):
        local.create("digits", tmp_path / "data", metadata={"deep": deep})
