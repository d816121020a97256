"""Listing an S3 prefix from a real server: pages in parallel, every key, and answers that are no listing."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
from object_servers import Bucket, faulty

from mlflow_dsver.errors import (
    AuthenticationFailed,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    UnexpectedResponse,
)
from mlflow_dsver.providers.buckets import s3_listing, s3_requests
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.buckets.listing import list_objects
from mlflow_dsver.providers.buckets.objects import Listing
from mlflow_dsver.providers.http import wire

KEYS = ["a b", "a+b", "a%2Bb", "ü", "日本", "x&y<z>'\"", "a\tb", "a=b?c", "tilde~", "dots..", "\u2028", "{brace}"]


def listed(bucket: Bucket, prefix: str = "data", **how: Any) -> Listing:
    return list_objects(Location("s3", bucket.name, prefix), **how)


def keys(listing: Listing) -> list[str]:
    return [state.key for state in listing.objects]


@pytest.mark.parametrize("asked", [True, False])
def test_checksums_are_asked_for_or_not(bucket: Bucket, asked: bool) -> None:
    bucket.put("data/a", b"a", ChecksumAlgorithm="SHA1")
    (state,) = listed(bucket, checksums=asked).objects
    assert bool(state.checksums) is asked


@pytest.mark.parametrize("versions", [True, False])
def test_every_key_comes_back_as_it_is(bucket: Bucket, plain_bucket: Bucket, versions: bool) -> None:
    place = bucket if versions else plain_bucket
    for key in KEYS:
        place.put(f"data/{key}", b"x")
    assert keys(listed(place)) == sorted(f"data/{key}" for key in KEYS)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_listing, "PAGE", 7)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("versions", [True, False])
def test_pages_and_parallel_listing_give_the_same_as_one_listing(
    bucket: Bucket, plain_bucket: Bucket, versions: bool
) -> None:
    """Many folders, deep folders and a flat one; deleted and overwritten keys at the borders of pages."""
    place = bucket if versions else plain_bucket
    names = [f"data/{folder}/{number}" for folder in "abcdefghij" for number in range(3)]
    names += [f"data/deep/er/and/deeper/{number:02}" for number in range(9)]
    names += [f"data/flat-{number:02}" for number in range(16)]
    for name in names:
        place.put(name, b"1")
    for name in names[::5]:
        place.put(name, b"22")
    for name in names[::7]:
        place.delete(name)
    expected = sorted(set(names) - set(names[::7]))
    found = listed(place)
    assert keys(found) == expected
    assert {state.key: state.size for state in found.objects} == {
        name: 2 if name in names[::5] else 1 for name in expected
    }


def test_what_is_written_after_the_moment_is_not_part_of_it(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment is of the server's clock: this machine's may be wrong by a day."""
    first = bucket.put("data/a", b"old")
    time.sleep(1.1)
    bucket.put("data/a", b"written later")
    bucket.put("data/b", b"written later")
    client = s3_requests.requests_of(Location("s3", bucket.name, ""))
    pages = s3_listing._Pages(client, Location("s3", bucket.name, "data"), versions=True)
    (chosen,) = [
        each for each in client.get(query={"versions": ""}).body.split(b"<Version>") if first.encode() in each
    ]
    text = chosen.partition(b"<LastModified>")[2].partition(b"<")[0].decode()
    pages.moment = datetime.fromisoformat(text).replace(microsecond=999_999)
    assert [(state.key, state.version) for state in pages.current("data/")] == [("data/a", first)]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, b"<Error><Code>AccessDenied</Code></Error>", PermissionDenied),
        (403, b"<Error><Code>InvalidAccessKeyId</Code></Error>", AuthenticationFailed),
        (400, b"<Error><Code>ExpiredToken</Code></Error>", AuthenticationFailed),
        (503, b"<Error><Code>SlowDown</Code></Error>", RateLimited),
        (500, b"", ProviderUnavailable),
        (200, b"no XML", UnexpectedResponse),
        (200, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", UnexpectedResponse),
        (200, b"<ListVersionsResult xmlns='x'><Version><Key>k</Key><Size>-</Size></Version></ListVersionsResult>",
         UnexpectedResponse),
        (200, b"<ListVersionsResult xmlns='x'><IsTruncated>true</IsTruncated></ListVersionsResult>",
         UnexpectedResponse),
    ],
)  # fmt: skip
def test_answers_that_are_no_listing_are_errors_without_secrets(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, error: type[Exception]
) -> None:
    monkeypatch.setattr(wire, "TRIES", 2)

    def fault(method: str, path: str, headers: Any) -> tuple[int, bytes] | None:
        return None if "versioning" in path else (status, body)

    with faulty(bucket.endpoint, fault) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(error) as caught:
            listed(bucket)
    assert "object-secret" not in str(caught.value)
    assert "object-key-id" not in str(caught.value)


def test_a_bucket_that_does_not_tell_about_versions_is_listed_with_them(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = bucket.put("data/a", b"a")

    def fault(method: str, path: str, headers: Any) -> tuple[int, bytes] | None:
        return (403, b"<Error><Code>AccessDenied</Code></Error>") if "versioning" in path else None

    with faulty(bucket.endpoint, fault) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        found = listed(bucket)
    assert found.keeps_versions is None
    assert [state.version for state in found.objects] == [version]
