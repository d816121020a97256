"""Listing an S3 prefix at one moment, from a real server and from one that answers what no server should."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_servers import Bucket, throttled

from mlflow_dsver.errors import AuthenticationFailed, NotFound, PermissionDenied, RateLimited, UnexpectedResponse
from mlflow_dsver.model.evidence import Checksum
from mlflow_dsver.providers.buckets import s3_listing
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.buckets.objects import Listing, ObjectState
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.answers import Answer

NOW = datetime(2026, 12, 1, 6, 0, 0, tzinfo=UTC)
DATE = "Tue, 01 Dec 2026 06:00:00 GMT"
Reply = tuple[int, bytes]


def listed(bucket: Bucket, prefix: str = "cats", **how: bool) -> Listing:
    return s3_listing.list_objects(Location("s3", bucket.name, prefix), **how)


def states(listing: Listing) -> dict[str, ObjectState]:
    return {each.key: each for each in listing.objects}


def test_current_versions_of_a_prefix_are_listed(bucket: Bucket) -> None:
    bucket.put("cats/a", b"1")
    newest = bucket.put("cats/a", b"22")
    bucket.put("cats/b", b"gone")
    bucket.delete("cats/b")
    bucket.put("cats2/c", b"other prefix")
    bucket.put("cats/ü +&%", b"odd")
    found = listed(bucket)
    assert found.keeps_versions is True
    assert found.source == "versions"
    assert {key: each.size for key, each in states(found).items()} == {"cats/a": 2, "cats/ü +&%": 3}
    assert states(found)["cats/a"].version == newest
    bucket.restore("cats/b")
    assert "cats/b" in states(listed(bucket))


def test_a_bucket_without_versions_is_listed_with_checksums(plain_bucket: Bucket) -> None:
    plain_bucket.put("cats/a", b"1", ChecksumAlgorithm="SHA256")
    found = listed(plain_bucket)
    assert (found.keeps_versions, found.source) == (False, "objects")
    [state] = found.objects
    assert state.version is None
    assert Checksum("sha256", hashlib.sha256(b"1").hexdigest(), "full", "store") in state.checksums


def test_an_object_from_before_versioning_has_no_version_id(plain_bucket: Bucket) -> None:
    plain_bucket.put("cats/a", b"1")
    plain_bucket.client.put_bucket_versioning(Bucket=plain_bucket.name, VersioningConfiguration={"Status": "Enabled"})
    plain_bucket.put("cats/b", b"2")
    found = states(listed(plain_bucket))
    assert found["cats/a"].version is None
    assert found["cats/b"].version is not None


def test_a_prefix_that_is_one_object(bucket: Bucket) -> None:
    bucket.put("cats", b"1")
    bucket.put("catsx", b"1")
    assert list(states(listed(bucket))) == ["cats"]


def test_no_bucket_is_named(bucket: Bucket) -> None:
    with pytest.raises(NotFound, match="no bucket nobody-has-this"):
        s3_listing.list_objects(Location("s3", "nobody-has-this", ""))


def test_checksums_of_a_multipart_upload_are_never_those_of_the_whole_object(bucket: Bucket) -> None:
    begun = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="cats/m", ChecksumAlgorithm="SHA256")
    which = {"Bucket": bucket.name, "Key": "cats/m", "UploadId": begun["UploadId"]}
    part = bucket.client.upload_part(**which, PartNumber=1, Body=b"q" * 100, ChecksumAlgorithm="SHA256")
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}]
    bucket.client.complete_multipart_upload(**which, MultipartUpload={"Parts": parts})
    [state] = listed(bucket, checksums=True).objects
    assert not [each for each in state.checksums if each.extent == "full"]


def test_a_key_with_dot_segments_gets_no_checksum_of_another_object(bucket: Bucket) -> None:
    bucket.put("secret", b"another object")
    bucket.put("cats/../secret", b"1")
    assert states(listed(bucket, checksums=True))["cats/../secret"].checksums == ()


def test_throttled_requests_are_sent_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("cats/a", b"1")
    with throttled(bucket.endpoint, first=3) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert list(states(listed(bucket))) == ["cats/a"]
    assert seen.count(503) == 3


def test_a_store_that_goes_on_throttling_is_an_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TRIES", 3)
    with throttled(bucket.endpoint, first=10**6) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(RateLimited):
            listed(bucket)
    assert len(seen) == 3


@pytest.mark.slow
def test_more_objects_than_a_page_in_many_folders(bucket: Bucket) -> None:
    keys = {f"cats/{number % 7}/{number:05}" for number in range(2100)} | {f"cats/{number}" for number in range(30)}
    for key in keys:
        bucket.put(key, b"")
    assert set(states(listed(bucket))) == keys


# A store that answers anything


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[dict[str, list[str]]], Reply]]]:
    """Replies of a store to requests with a query, by the last function of this list."""
    replies: list[Callable[[dict[str, list[str]]], Reply]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            status, body = (200, xml("")) if "versioning" in query else replies[-1](query)
            if "versioning" in query:
                body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            self.send_response_only(status)
            self.send_header("Date", DATE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "some-secret-0123456789")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(wire, "TRIES", 1)
    yield replies
    server.shutdown()
    thread.join()
    server.server_close()


def xml(inside: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    name = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ListVersionsResult xmlns="{name}">{more}{inside}</ListVersionsResult>'.encode()


def version(
    key: str, seconds: int, *, latest: bool = True, deleted: bool = False, name: str = "v", size: str = "1"
) -> str:
    tag = "DeleteMarker" if deleted else "Version"
    modified = (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<{tag}><Key>{key}</Key><VersionId>{name}</VersionId><IsLatest>{str(latest).lower()}</IsLatest>"
        f"<LastModified>{modified}</LastModified><ETag>&quot;e&quot;</ETag><Size>{size}</Size></{tag}>"
    )


def from_page(answers: list[Callable[[dict[str, list[str]]], Reply]], inside: str) -> dict[str, str | None]:
    answers.append(lambda query: (200, xml(inside)))
    found = s3_listing.list_objects(Location("s3", "bucket", "p"))
    assert found.moment == NOW
    return {each.key: each.version for each in found.objects}


def test_what_is_written_after_the_moment_does_not_count(answers: list[Callable[..., Reply]]) -> None:
    page = (
        version("p/a", 5, name="later") + version("p/a", -5, latest=False, name="then")
        + version("p/new", 1) + version("p/same-second", 0, name="same")
        + version("p/deleted-later", 2, deleted=True) + version("p/deleted-later", -9, latest=False, name="was")
        + version("p/deleted", -1, deleted=True) + version("p/deleted", -9, latest=False)
    )  # fmt: skip
    assert from_page(answers, page) == {"p/a": "then", "p/same-second": "same", "p/deleted-later": "was"}


def test_the_latest_version_may_have_an_older_date(answers: list[Callable[..., Reply]]) -> None:
    """A multipart upload has the date of its beginning."""
    page = version("p/a", -50, name="multipart") + version("p/a", -10, latest=False, name="put meanwhile")
    assert from_page(answers, page) == {"p/a": "multipart"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not XML",
        b'<!DOCTYPE x [<!ENTITY a "b">]><ListVersionsResult>&a;</ListVersionsResult>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'.encode("utf-16"),
        xml(version("p/a", 0, size="many")),
        xml(version("p/a", 0, size="9" * 5000)),
        xml(version("", 0)),
        xml("<Version><Key>p/a</Key><Size>1</Size><LastModified>yesterday</LastModified></Version>"),
        xml("", "<IsTruncated>true</IsTruncated>"),
        xml(version("p/a", 0), "<IsTruncated>true</IsTruncated><NextKeyMarker>p/a</NextKeyMarker>"),
    ],
)
def test_answers_that_are_none_are_refused(answers: list[Callable[..., Reply]], body: bytes) -> None:
    """The last one says for ever that its own page follows."""
    answers.append(lambda query: (200, body))
    with pytest.raises(UnexpectedResponse):
        s3_listing.list_objects(Location("s3", "bucket", "p"))


def test_two_keys_that_are_no_text_are_not_merged(answers: list[Callable[..., Reply]]) -> None:
    def reply(query: dict[str, list[str]]) -> Reply:
        if "encoding-type" not in query:
            return 200, b"<ListVersionsResult>&#1;</ListVersionsResult>"
        return 200, xml(version("p/%FF", 0) + version("p/%FE", 0))

    answers.append(reply)
    with pytest.raises(UnexpectedResponse):
        s3_listing.list_objects(Location("s3", "bucket", "p"))


def test_a_key_that_xml_cannot_have_is_asked_for_in_another_spelling(answers: list[Callable[..., Reply]]) -> None:
    def reply(query: dict[str, list[str]]) -> Reply:
        if "encoding-type" not in query:
            return 200, xml(version("p/&#1;", 0))
        return 200, xml(version("p/%01+a%2Bb", 0))

    answers.append(reply)
    [state] = s3_listing.list_objects(Location("s3", "bucket", "p")).objects
    assert state.key == "p/\x01 a+b"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", PermissionDenied),
        (403, "InvalidAccessKeyId", AuthenticationFailed),
        (404, "NoSuchBucket", NotFound),
    ],
)
def test_refusals_have_their_meaning(
    answers: list[Callable[..., Reply]], status: int, code: str, kind: type[Exception]
) -> None:
    answers.append(lambda query: (status, f"<Error><Code>{code}</Code></Error>".encode()))
    with pytest.raises(kind) as caught:
        s3_listing.list_objects(Location("s3", "bucket", "p"))
    assert "some-secret" not in str(caught.value)


# Checksums in headers


def read(**headers: str) -> tuple[Checksum, ...]:
    return s3_listing.checksums_of(Answer(200, {name.replace("_", "-"): text for name, text in headers.items()}, b""))


@given(st.binary(min_size=32, max_size=32), st.integers(1, 10_000))
def test_a_composite_checksum_keeps_the_number_of_its_parts(digest: bytes, parts: int) -> None:
    text = base64.b64encode(digest).decode()
    assert read(x_amz_checksum_sha256=text) == (Checksum("sha256", digest.hex(), "full", "store"),)
    composite = (Checksum("sha256", f"{digest.hex()}-{parts}", "composite", "store"),)
    assert read(x_amz_checksum_sha256=f"{text}-{parts}", x_amz_checksum_type="COMPOSITE") == composite
    assert read(x_amz_checksum_sha256=text, x_amz_checksum_type="COMPOSITE") == ()
    assert read(x_amz_checksum_sha256=text, etag=f'"e-{parts}"') == ()
    assert len(read(x_amz_checksum_sha256=text, etag=f'"e-{parts}"', x_amz_checksum_type="FULL_OBJECT")) == 1


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_any_header_is_a_checksum_or_none(text: str) -> None:
    for each in read(x_amz_checksum_sha256=text, x_amz_checksum_crc32=text, x_amz_checksum_type=text):
        assert each.by == "store"
