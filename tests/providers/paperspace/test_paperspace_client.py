"""The client's corner cases, answer by answer: nulls, sizes, dates, pages, errors of every dress, what is sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import responses

from mlflow_dsver.errors import (
    AuthenticationFailed,
    InvalidArgument,
    InvalidReference,
    NotFound,
    PermissionDenied,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnexpectedResponse,
)
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.paperspace.client import PaperspaceClient, connect, read_error
from mlflow_dsver.providers.paperspace.info import Account
from mlflow_dsver.providers.paperspace.models import whole_bytes
from mlflow_dsver.secrets import Secret

BASE = "https://api.paperspace.com/v1"
VERSIONS = f"{BASE}/datasets/dst364npcw6ccok/versions"
KEY = "ps-secret-0123456789"

DATASET = {
    "id": "dst364npcw6ccok",
    "name": "cats",
    "dtCreated": "2019-08-24T14:15:22Z",
    "dtModified": "2019-08-24T14:15:22.123Z",
    "isPublic": False,
    "teamId": "tewr3st2z",
    "storageProviderId": "spf2xq81vbn0a7c",
    "description": None,
}
VERSION = {
    "version": "fo5rp4m",
    "datasetId": "dst364npcw6ccok",
    "userId": "u1",
    "message": "relabelled",
    "metadata": {"a": 1},
    "isCommitted": True,
    "url": "s3://b/t/datasets/dst364npcw6ccok/versions/fo5rp4m",
    "dtCreated": "2019-08-24T14:15:22Z",
    "dtModified": "2019-08-24T14:15:22.123Z",
    "tags": ["clean"],
    "usageBytes": "12345678901234567890",
}
NULLS = {"userId": None, "message": None, "metadata": None, "url": None, "usageBytes": None, "tags": []}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[PaperspaceClient]:
    monkeypatch.setattr(wire, "BACKOFF", (0.0, 0.0, 0.0))
    with connect(Account(BASE, Secret(KEY), 10.0)) as client:
        yield client


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=True) as http:
        yield http


def page(items: list[Any], **more: Any) -> dict[str, Any]:
    return {"hasMore": False, "items": items, **more}


def test_version_is_read_with_its_names_and_kept_raw(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    http.get(f"{VERSIONS}/fo5rp4m", json=VERSION)
    found = client.version("dst364npcw6ccok", "fo5rp4m")
    assert found.usageBytes == 12345678901234567890
    assert found.dtCreated == datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)
    assert found.dtModified == datetime(2019, 8, 24, 14, 15, 22, 123000, tzinfo=UTC)
    assert found.raw == VERSION


@pytest.mark.parametrize(
    "more", [NULLS, {"addedLater": {"x": [1]}}, {"datasetId": "3f1c0a3e-0000-4000-8000-000000000000"}]
)
def test_nulls_and_new_keys_are_taken(
    client: PaperspaceClient, http: responses.RequestsMock, more: dict[str, Any]
) -> None:
    """Every null that the documents allow, keys that they do not know, and ids of another kind."""
    http.get(f"{VERSIONS}/fo5rp4m", json={**VERSION, **more})
    assert client.version("dst364npcw6ccok", "fo5rp4m").raw == {**VERSION, **more}


def test_nullable_keys_may_be_missing(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    """The printed samples leave some out."""
    least = {key: value for key, value in VERSION.items() if NULLS.get(key, 1) is not None}
    http.get(f"{VERSIONS}/fo5rp4m", json=least)
    assert client.version("dst364npcw6ccok", "fo5rp4m").usageBytes is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"isCommitted": "yes"},
        {"isCommitted": None},
        {"tags": None},
        {"tags": {"a": 1}},
        {"tags": [1]},
        {"dtCreated": None},
        {"dtCreated": "yesterday"},
        {"dtModified": "0001-01-01T00:00:00+14:00"},
        {"dtCreated": 0},
        {"message": 7},
        {"metadata": []},
    ],
    ids=str,
)
def test_field_that_is_not_understood_is_unknown_and_kept_raw(
    client: PaperspaceClient, http: responses.RequestsMock, wrong: dict[str, Any], caplog: Any
) -> None:
    """With a warning that names it, unless it is null; nothing is guessed, and the other fields are as they are."""
    caplog.set_level(logging.WARNING)
    http.get(f"{VERSIONS}/fo5rp4m", json={**VERSION, **wrong})
    found = client.version("dst364npcw6ccok", "fo5rp4m")
    name, value = next(iter(wrong.items()))
    assert getattr(found, name) is None
    assert (found.version, found.usageBytes, found.raw) == ("fo5rp4m", 12345678901234567890, {**VERSION, **wrong})
    assert (name in caplog.text) == (value is not None)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2019-08-24t14:15:22z", datetime(2019, 8, 24, 14, 15, 22, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2019-08-24T14:15:60.5+02:00", datetime(2019, 8, 24, 12, 16, 0, 500000, tzinfo=UTC)),
    ],
)
def test_dates_of_every_form_that_rfc_3339_allows(
    client: PaperspaceClient, http: responses.RequestsMock, text: str, read: datetime
) -> None:
    http.get(f"{VERSIONS}/fo5rp4m", json={**VERSION, "dtCreated": text})
    assert client.version("dst364npcw6ccok", "fo5rp4m").dtCreated == read


@pytest.mark.parametrize("entry", [{}, {"version": None}, {"version": ".."}, None, "x"], ids=str)
def test_one_malformed_entry_does_not_hide_the_others(
    client: PaperspaceClient, http: responses.RequestsMock, entry: Any, caplog: Any
) -> None:
    """It is left out with a warning; a listing of which nothing can be read is an error and not empty."""
    caplog.set_level(logging.WARNING)
    http.get(VERSIONS, json=page([entry, {**VERSION, "tags": None}]))
    assert [each.version for each in client.versions("dst364npcw6ccok")] == ["fo5rp4m"]
    assert "an entry is left out" in caplog.text
    http.upsert("GET", VERSIONS, json=page([entry]))
    with pytest.raises(UnexpectedResponse, match="no entry of the listing can be read"):
        list(client.versions("dst364npcw6ccok"))


@pytest.mark.parametrize("wrong", [{"version": None}, {"version": 7}, {"version": "a/b"}], ids=str)
def test_answer_without_the_id_is_unexpected(
    client: PaperspaceClient, http: responses.RequestsMock, wrong: dict[str, Any]
) -> None:
    """The error names the field and keeps the answer."""
    http.get(f"{VERSIONS}/fo5rp4m", json={**VERSION, **wrong})
    with pytest.raises(UnexpectedResponse, match=next(iter(wrong))) as caught:
        client.version("dst364npcw6ccok", "fo5rp4m")
    assert caught.value.payload == {**VERSION, **wrong}


@pytest.mark.parametrize("answer", ["null", "[]", '"x"', "7", "[{}]"])
def test_answer_that_is_no_object_is_unexpected(
    client: PaperspaceClient, http: responses.RequestsMock, answer: str
) -> None:
    http.get(f"{VERSIONS}/fo5rp4m", body=answer)
    with pytest.raises(UnexpectedResponse):
        client.version("dst364npcw6ccok", "fo5rp4m")
    http.get(VERSIONS, body=answer)
    with pytest.raises(UnexpectedResponse):
        list(client.versions("dst364npcw6ccok"))


@pytest.mark.parametrize(
    ("value", "size"),
    [(None, None), ("0", 0), ("12", 12), (12, 12), (0, 0), ("9" * 30, int("9" * 30))]
    + [(junk, None) for junk in ("", "-1", "1.5", "1e9", " 12", "12 MB", "٣", -1, 1.0, True, [], {}, "9" * 31)],
)
def test_usage_bytes_is_whole_bytes_or_unknown(value: object, size: int | None, caplog: Any) -> None:
    """What is no size is unknown, with a warning, and never another number."""
    caplog.set_level(logging.WARNING)
    assert whole_bytes(value) == size
    assert bool(caplog.records) == (size is None and value is not None)


@pytest.mark.parametrize("end", [{}, {"nextPage": None}, {"nextPage": ""}, {"nextPage": "b"}, {"hasMore": None}])
def test_listing_ends_in_every_way_the_service_may_say_so(
    client: PaperspaceClient, http: responses.RequestsMock, end: dict[str, Any]
) -> None:
    """`hasMore` false, or no next page: missing, null or empty."""
    http.get(VERSIONS, json={"hasMore": True, "items": [VERSION], "nextPage": "a"})
    http.get(VERSIONS, json=page([{**VERSION, "version": "last"}], **end))
    assert [each.version for each in client.versions("dst364npcw6ccok")] == ["fo5rp4m", "last"]
    assert [call.request.params.get("after") for call in http.calls] == [None, "a"]
    assert {call.request.params["limit"] for call in http.calls} == {"120"}


@pytest.mark.parametrize("mark", [{}, {"nextPage": None}, {"nextPage": ""}, {"nextPage": "a"}])
def test_listing_that_cannot_go_on_does_not_end_silently(
    client: PaperspaceClient, http: responses.RequestsMock, mark: dict[str, Any]
) -> None:
    """There is more, and no mark or the same again: what was read is given, then an error."""
    http.get(VERSIONS, json={"hasMore": True, "items": [VERSION], "nextPage": "a"})
    http.get(VERSIONS, json={"hasMore": True, "items": [{**VERSION, "version": "b"}], **mark})
    listing, found = client.versions("dst364npcw6ccok"), []
    with pytest.raises(UnexpectedResponse, match=r"does not say where|offered twice"):
        found.extend(each.version for each in listing)
    assert found == ["fo5rp4m", "b"]


def test_page_says_where_the_next_one_begins(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    """The last page is asked for so that its mark is where the wanted entries end."""
    for name, mark in (("a", "m1"), ("b", "m2"), ("c", "m3")):
        http.get(VERSIONS, json={"hasMore": True, "items": [{**VERSION, "version": name}], "nextPage": mark})
    found = client.versions("dst364npcw6ccok", limit=2).page(3)
    assert [each.version for each in found.items] == ["a", "b", "c"]
    assert (found.has_more, found.next_page) == (True, "m3")
    assert [call.request.params["limit"] for call in http.calls] == ["2", "2", "1"]
    http.get(f"{BASE}/datasets", json=page([DATASET], nextPage="x"))
    last = client.datasets().page()
    assert ([each.id for each in last.items], last.has_more, last.next_page) == ([DATASET["id"]], False, None)


@pytest.mark.parametrize("limit", [0, -1, 121, True, "5"])
def test_size_that_is_none_is_refused_before_a_request(client: PaperspaceClient, limit: Any) -> None:
    for ask in (client.datasets, client.storage_providers, lambda **size: client.versions("x", **size)):
        with pytest.raises(InvalidArgument, match="entries a page"):
            ask(limit=limit)
    with pytest.raises(InvalidArgument, match="number of entries"):
        client.datasets().page(0)


def test_every_parameter_of_a_listing_is_sent(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    http.get(VERSIONS, json=page([VERSION]))
    list(client.versions("dst364npcw6ccok", tags=["a", "b c"], after="m", limit=7, order_by="dtCreated", order="asc"))
    sent = http.calls[0].request.params
    assert sent == {"tags": "a,b c", "after": "m", "limit": "7", "orderBy": "dtCreated", "order": "asc"}
    http.get(f"{BASE}/datasets", json=page([DATASET]))
    assert next(client.datasets(team="ns", privacy="PUBLIC", limit=1)).name == "cats"
    assert http.calls[1].request.params == {"teamId": "ns", "privacy": "PUBLIC", "limit": "1"}


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({}, {}),
        (
            {"message": "m", "tags": ["a", "b"], "metadata": {"k": [1]}},
            {"message": "m", "tags": "a,b", "metadata": {"k": [1]}},
        ),
    ],
)
def test_create_sends_no_null_and_at_least_an_object(
    client: PaperspaceClient, http: responses.RequestsMock, arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    http.post(VERSIONS, json=VERSION)
    client.create_version("dst364npcw6ccok", **arguments)
    assert json.loads(http.calls[0].request.body or b"") == body
    assert http.calls[0].request.headers["Content-Type"] == "application/json"


def test_update_sends_what_is_given(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    http.put(f"{VERSIONS}/fo5rp4m", json=VERSION)
    client.update_version("dst364npcw6ccok", "fo5rp4m", tags=[], is_committed=False)
    assert json.loads(http.calls[0].request.body or b"") == {"tags": "", "isCommitted": False}


def test_dataset_is_created_with_is_public(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    """Sources disagree on whether it is required, so it is always sent."""
    http.post(f"{BASE}/datasets", json=DATASET)
    client.create_dataset("cats")
    assert json.loads(http.calls[0].request.body or b"") == {"name": "cats", "isPublic": False}


def test_dropped_field_is_noticed(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    """A service that says yes and keeps something else is an error."""
    http.put(f"{BASE}/datasets/dst364npcw6ccok", json=DATASET)
    with pytest.raises(UnexpectedResponse, match="name is another"):
        client.update_dataset("dst364npcw6ccok", name="dogs")
    http.put(f"{BASE}/datasets/dst364npcw6ccok", json=DATASET)
    assert client.update_dataset("dst364npcw6ccok", description=None).description is None
    assert json.loads(http.calls[1].request.body or b"") == {"description": None}


def test_tags_may_be_one_text_as_the_service_has_them(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    """Separated by commas; never split into letters."""
    http.get(VERSIONS, json=page([]))
    list(client.versions("dst364npcw6ccok", tags="clean, raw"))
    assert http.calls[0].request.params["tags"] == "clean,raw"
    http.post(VERSIONS, json=VERSION)
    client.create_version("dst364npcw6ccok", tags="clean")
    http.put(f"{VERSIONS}/fo5rp4m", json=VERSION)
    client.update_version("dst364npcw6ccok", "fo5rp4m", tags="")
    assert [json.loads(call.request.body or b"")["tags"] for call in http.calls[1:]] == ["clean", ""]


def test_answer_to_a_deletion_is_given(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    http.delete(f"{VERSIONS}/fo5rp4m", json={"datasetId": "dst364npcw6ccok", "version": "fo5rp4m"})
    assert client.delete_version("dst364npcw6ccok", "fo5rp4m").version == "fo5rp4m"
    http.delete(f"{BASE}/datasets/dst364npcw6ccok", json={"id": "dst364npcw6ccok"})
    assert client.delete_dataset("dst364npcw6ccok").raw == {"id": "dst364npcw6ccok"}


@pytest.mark.parametrize("tag", ["a,b", "", " a", "latest", "x\n"])
def test_tags_that_cannot_be_written_are_refused_before_a_request(client: PaperspaceClient, tag: str) -> None:
    with pytest.raises(InvalidReference):
        client.create_version("dst364npcw6ccok", tags=[tag])


@pytest.mark.parametrize("metadata", [{"x": float("nan")}, {"x": object()}, {"x": "y" * 90_000}])
def test_metadata_that_is_no_json_or_too_large_is_refused(client: PaperspaceClient, metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="metadata"):
        client.create_version("dst364npcw6ccok", metadata=metadata)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, {"message": "no", "code": "UNAUTHORIZED"}, AuthenticationFailed, "no; got UNAUTHORIZED"),
        (403, {"message": "no", "code": "FORBIDDEN"}, PermissionDenied, "FORBIDDEN"),
        (404, {"message": "Dataset not found", "code": "NOT_FOUND"}, NotFound, "Dataset not found"),
        (409, {"message": "taken", "code": "CONFLICT"}, ProviderError, "taken"),
        (
            400,
            {"message": "bad", "code": "BAD_REQUEST", "issues": [{"message": "limit too big"}]},
            ProviderError,
            "limit too big",
        ),
        (
            400,
            {"message": "bad", "code": "BAD_REQUEST", "details": {"issues": [{"message": "deep"}]}},
            ProviderError,
            "deep",
        ),
        (400, {"message": "bad", "code": "BAD_REQUEST", "details": {"field": "limit"}}, ProviderError, "limit"),
        (400, {"message": "bad", "code": "BAD_REQUEST", "issues": "odd", "details": None}, ProviderError, "odd"),
        (200, {"message": "not here", "code": "NOT_FOUND"}, NotFound, "not here"),
        (200, {"message": "bad key", "code": "UNAUTHORIZED"}, AuthenticationFailed, "bad key"),
        (200, {"message": "odd", "code": "SOMETHING_NEW"}, ProviderUnavailable, "SOMETHING_NEW"),
        (500, {"error": {"message": "legacy"}}, ProviderUnavailable, "legacy"),
        (404, {"no": "complaint"}, UnexpectedResponse, "without the API's own error"),
    ],
)
def test_errors_of_every_dress(
    client: PaperspaceClient,
    http: responses.RequestsMock,
    status: int,
    body: Any,
    kind: type[ProviderError],
    words: str,
) -> None:
    """`details` and `issues` are both read, and a failure in a success's clothes is a failure."""
    http.post(VERSIONS, status=status, json=body)
    with pytest.raises(kind, match=words) as caught:
        client.create_version("dst364npcw6ccok")
    assert type(caught.value) is kind


def test_version_with_such_keys_is_no_complaint() -> None:
    """Extra keys called `message` and `code` do not make an error of a version."""
    assert read_error(200, {**VERSION, "code": "x"}) is None
    assert read_error(200, None) is None
    assert read_error(200, {"message": 1, "code": "x"}) is None


def test_rate_limit_is_told_with_its_seconds(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    http.get(
        VERSIONS, status=429, headers={"Retry-After": "120"}, json={"message": "slow", "code": "TOO_MANY_REQUESTS"}
    )
    with pytest.raises(RateLimited) as caught:
        next(client.versions("dst364npcw6ccok"))
    assert caught.value.retry_after == 120


def test_session_of_a_bad_key_is_null(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    """The service answers a bad key with 200 and null."""
    http.get(f"{BASE}/auth/session", body="null")
    with pytest.raises(AuthenticationFailed, match="PAPERSPACE_API_KEY"):
        client.session()


def test_secrets_of_storage_providers_are_never_kept(
    client: PaperspaceClient, http: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the model, its raw answer, a repr, nor in the error for a malformed one."""
    caplog.set_level(logging.DEBUG)
    storage = {
        "id": "sp1",
        "name": "ours",
        "isTeamDefault": None,
        "isManaged": False,
        "password": "BUCKET-SECRET",
        "s3Config": {
            "bucket": "b",
            "accessKey": "BUCKET-SECRET",
            "secretAccessKey": "BUCKET-SECRET",
            "region": "ny2",
        },
    }
    http.get(f"{BASE}/storage-providers", json=page([storage]))
    found = next(client.storage_providers())
    assert (found.s3Config.bucket, found.s3Config.region) == ("b", "ny2")
    texts = [repr(found), str(found.raw), repr(vars(found)), found.model_dump_json()]
    malformed: list[Any] = [{**storage, "id": 7}, {**storage, "s3Config": {**storage["s3Config"], "bucket": None}}]
    for body in (*malformed, [storage]):
        http.upsert("GET", f"{BASE}/storage-providers/sp1", json=body)
        with pytest.raises(UnexpectedResponse) as caught:
            client.storage_provider("sp1")
        texts += [str(caught.value), repr(vars(caught.value)), repr(caught.value.__cause__)]
    http.upsert("GET", f"{BASE}/storage-providers/sp1", body=json.dumps(storage) + "cut")
    with pytest.raises(UnexpectedResponse) as caught:
        client.storage_provider("sp1")
    assert "BUCKET-SECRET" not in " ".join([*texts, str(caught.value), repr(vars(caught.value)), caplog.text])


def test_utilization_is_in_bytes(client: PaperspaceClient, http: responses.RequestsMock) -> None:
    http.get(f"{BASE}/storage-providers/utilization", json={"totalUsage": "5368709120", "datasetUsage": "1"})
    assert client.utilization().totalUsage == 5368709120
