"""One total bound on what a run asks providers, whatever they wait for, and the same for all ranks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_dsver.deadlines import Deadline, at_latest, bounded
from mlflow_dsver.errors import InvalidReference, LockConflict, ProviderUnavailable
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.resolution import resolver
from mlflow_dsver.resolution.lock_file import lock_entry, write_lock
from mlflow_dsver.resolution.resolver import query_provider, within_timeout

OVER = Deadline(0.0)
REF = parse("slow://cats@v1")
VERSION = DatasetVersion(REF)


class Slow(Provider):
    """Does not answer before `ready` is set; `seconds` is how long it would have waited at most, of 600."""

    name = "slow"

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.seconds: list[float] = []

    def get(self, dataset: str, version: str) -> DatasetVersion:
        self.seconds.append(bounded(600.0).left())
        self.ready.wait(10)
        return VERSION

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        return iter(())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow()
    monkeypatch.setattr(resolver, "get_provider", lambda _: made)
    yield made
    made.ready.set()


def test_a_provider_that_would_wait_longer_is_given_up_in_time(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "0.05")
    with pytest.raises(
        ProviderUnavailable, match=r"slow://cats@v1: no answer within 0\.05 seconds.*PROVIDER_TIMEOUT"
    ):
        query_provider("slow://cats@v1", offline=False)


def test_a_provider_knows_how_long_it_may_wait(slow: Slow) -> None:
    slow.ready.set()
    assert query_provider("slow://cats@v1", offline=False, until=Deadline(60)).version == VERSION
    assert all(0 < seconds <= 60 for seconds in slow.seconds)
    with at_latest(Deadline(9)):
        assert bounded(5).seconds == 5
        assert bounded(None).seconds == 9
    assert bounded(600).seconds == 600


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_questions_of_one_run_share_one_bound_on_every_rank(
    slow: Slow, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank that waited for another one's answer until its time was over does not begin to wait anew."""
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProviderUnavailable):
        query_provider("slow://cats@v1", offline=False, until=OVER)


def test_what_the_provider_raises_is_raised(slow: Slow) -> None:
    def question(ref: DatasetRef) -> DatasetVersion:
        raise LookupError(str(ref))

    with pytest.raises(LookupError, match="slow://cats@v1"):
        within_timeout(slow, REF, question, Deadline(60))


# `dsver.resolve` with a role


@pytest.fixture
def folders(tmp_path: Path) -> tuple[DatasetVersion, DatasetVersion]:
    """Two versions of `local://cats`; the second is the latest."""
    made = []
    for text in ("one", "two"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "a.txt").write_text(text)
        made.append(resolver.create_version("local://cats", tmp_path / text))
    return made[0], made[1]


def test_an_override_reaches_a_resolution_with_its_role_alone(
    folders: tuple[DatasetVersion, DatasetVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = folders
    monkeypatch.setenv("MLFLOW_DSVER_OVERRIDE", f"training={first}")
    assert resolver.resolve("local://cats", role="training").ref == first.ref
    assert resolver.resolve(second, role="training").ref == first.ref
    assert resolver.resolve("local://cats", role="validation").ref == second.ref
    assert resolver.resolve("local://cats").ref == second.ref
    with pytest.raises(InvalidReference):
        resolver.resolve("local://cats", role="no role")


def test_an_override_by_a_new_version_is_refused_where_no_run_makes_it(
    folders: tuple[DatasetVersion, DatasetVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_OVERRIDE", "training=local://cats?create&folder=two")
    with pytest.raises(InvalidReference, match=r"OVERRIDE asks for a new version.*start_run"):
        resolver.resolve("local://cats", role="training")


def test_in_frozen_mode_a_role_resolves_to_its_locked_version_or_not_at_all(
    folders: tuple[DatasetVersion, DatasetVersion], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = folders
    lock = tmp_path / "dsver.lock"
    write_lock(lock, {"training": lock_entry("training", "local://cats", first)})
    monkeypatch.setenv("MLFLOW_DSVER_LOCK", str(lock))
    monkeypatch.setenv("MLFLOW_DSVER_FROZEN", "1")
    assert resolver.resolve(first.ref, role="training").ref == first.ref
    for role, ref in (("training", "local://cats"), ("validation", str(first.ref))):
        with pytest.raises(LockConflict):
            resolver.resolve(ref, role=role)
    assert resolver.resolve("local://cats").ref == second.ref
