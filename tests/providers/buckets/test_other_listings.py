"""Listing prefixes of Google Cloud Storage and of Azure, from real servers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from object_servers import (
    AzureContainer,
    GoogleBucket,
    azure_server,
    gcs_server,
    new_azure_container,
    new_google_bucket,
)

from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.evidence import Checksum
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.buckets.listing import list_objects


@pytest.fixture(scope="module")
def gcs() -> Iterator[str]:
    with gcs_server() as address:
        yield address


@pytest.fixture(scope="module")
def azure() -> Iterator[str]:
    with azure_server() as address:
        yield address


@pytest.fixture(params=[True, False], ids=["versions", "no versions"])
def google(gcs: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GoogleBucket:
    made = new_google_bucket(gcs, versions=request.param)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def container(azure: str, monkeypatch: pytest.MonkeyPatch) -> AzureContainer:
    made = new_azure_container(azure)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made


def test_google_lists_generations_and_checksums(google: GoogleBucket, request: pytest.FixtureRequest) -> None:
    google.put("cats/a", b"1")
    newest = google.put("cats/a", b"22")
    google.put("cats/b", b"gone")
    google.delete("cats/b")
    google.put("cats2/c", b"other prefix")
    google.put("cats/ü +&%", b"odd")
    found = list_objects(Location("gs", google.name, "cats"))
    assert found.keeps_versions is ("no versions" not in request.node.name)
    assert found.moment is not None
    by_key = {each.key: each for each in found.objects}
    assert set(by_key) == {"cats/a", "cats/ü +&%"}
    assert (by_key["cats/a"].version, by_key["cats/a"].size) == (newest, 2)
    md5 = hashlib.md5(b"22", usedforsecurity=False).hexdigest()
    assert Checksum("md5", md5, "full", "store") in by_key["cats/a"].checksums


def test_google_lists_more_than_a_page(google: GoogleBucket) -> None:
    keys = {f"cats/{number:05}" for number in range(1005)}
    for key in keys:
        google.put(key, b"")
    assert {each.key for each in list_objects(Location("gs", google.name, "cats")).objects} == keys


def test_google_prefix_that_is_one_object(google: GoogleBucket) -> None:
    google.put("cats", b"1")
    google.put("catsx", b"1")
    assert [each.key for each in list_objects(Location("gs", google.name, "cats")).objects] == ["cats"]


def test_google_without_the_bucket(google: GoogleBucket) -> None:
    with pytest.raises(NotFound):
        list_objects(Location("gs", "nobody-has-this", "cats"))


def test_azure_lists_the_objects_that_are_there(container: AzureContainer) -> None:
    container.put("cats/a", b"1")
    first = {each.key: each for each in list_objects(Location("az", container.name, "cats")).objects}
    container.put("cats/a", b"2")
    container.put("cats/ü b", b"22")
    container.put("cats2/c", b"other prefix")
    container.put("cats/gone", b"")
    container.delete("cats/gone")
    found = list_objects(Location("az", container.name, "cats"))
    by_key = {each.key: each for each in found.objects}
    assert found.keeps_versions is False
    assert {key: each.size for key, each in by_key.items()} == {"cats/a": 1, "cats/ü b": 2}
    assert by_key["cats/a"].version is None
    assert by_key["cats/a"].etag != first["cats/a"].etag


def test_azure_prefix_that_is_one_object_and_one_that_is_none(container: AzureContainer) -> None:
    container.put("cats", b"1")
    assert [each.key for each in list_objects(Location("az", container.name, "cats")).objects] == ["cats"]
    assert list(list_objects(Location("az", container.name, "dogs")).objects) == []
