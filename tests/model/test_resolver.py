"""One total bound on what a run asks providers, whatever they wait for, and the same for all ranks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mlflow_dsver.deadlines import Deadline, at_latest, bounded
from mlflow_dsver.errors import ProviderUnavailable
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.resolution import resolver
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
