"""Buckets on a real S3 server, with the variables that a person would set."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from object_servers import Bucket, new_bucket, s3_server

from mlflow_dsver.providers.buckets import S3Provider


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an S3 server, one for a worker of the tests."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket that keeps versions."""
    yield from _bucket(s3, monkeypatch, versions=True)


@pytest.fixture
def another_bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Bucket]:
    """Makes a bucket that keeps no versions, in the place of the first one."""
    return lambda: next(_bucket(s3, monkeypatch, versions=False))


@pytest.fixture
def plain_bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket that keeps no versions."""
    yield from _bucket(s3, monkeypatch, versions=False)


def _bucket(s3: str, monkeypatch: pytest.MonkeyPatch, *, versions: bool) -> Iterator[Bucket]:
    made = new_bucket(s3, versions=versions)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    yield made
    made.client.close()


@pytest.fixture
def provider() -> S3Provider:
    """The provider, with the environment of the test."""
    return S3Provider()
