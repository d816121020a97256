"""What the client sends and believes: addresses, bodies, statuses inside answers, pages, lost and odd answers."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import responses

from mlflow_dsver.errors import (
    AuthenticationFailed,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnexpectedResponse,
)
from mlflow_dsver.providers.clarifai import account
from mlflow_dsver.providers.clarifai.client import Client, today
from mlflow_dsver.providers.clarifai.models import Format

KEY = "pat-never-to-be-seen"
BASE = "https://api.clarifai.com"
LONG = f"{BASE}/v2/users/u/apps/a"
OK = {"code": 10000, "description": "Ok"}


def client(**signed: Any) -> Client:
    return Client(account(**(signed or {"pat": KEY})), "u", "a", timeout=5)


@pytest.fixture
def wire() -> Any:
    with responses.RequestsMock() as mock:
        yield mock


def answer(wire: Any, verb: str, url: str, body: object, status: int = 200) -> None:
    wire.add(verb, url, json=body, status=status)


def test_token_takes_the_long_path_and_an_apps_key_the_short_one(wire: Any) -> None:
    for url, signed in ((LONG, {"pat": KEY}), (f"{BASE}/v2", {"api_key": KEY})):
        answer(wire, "GET", f"{url}/datasets/cats", {"status": OK, "dataset": {"id": "cats"}})
        with client(**signed) as asked:
            assert asked.get_dataset("cats").id == "cats"
        assert wire.calls[-1].request.headers["Authorization"] == f"Key {KEY}"
        assert KEY not in wire.calls[-1].request.url


def test_ids_are_quoted_in_addresses(wire: Any) -> None:
    answer(wire, "GET", f"{LONG}/datasets/a%20b/versions/v%3F1", {"status": OK, "dataset_version": {"id": "v?1"}})
    with client() as asked:
        assert asked.get_dataset_version("a b", "v?1").id == "v?1"


def test_every_changing_call_carries_its_body(wire: Any) -> None:
    """Deletions too: they are calls on the collection."""
    item = {"id": "x"}
    calls = [
        ("POST", "datasets", {"datasets": [item]}, lambda c: c.post_datasets([item])),
        ("PATCH", "datasets", {"datasets": [item], "action": "merge"}, lambda c: c.patch_datasets([item], "merge")),
        ("DELETE", "datasets", {"dataset_ids": ["x"]}, lambda c: c.delete_datasets(["x"])),
        (
            "POST",
            "datasets/d/inputs",
            {"dataset_inputs": [{"input": {"id": "x"}}]},
            lambda c: c.post_dataset_inputs("d", ["x"]),
        ),
        ("DELETE", "datasets/d/inputs", {"input_ids": ["x"]}, lambda c: c.delete_dataset_inputs("d", ["x"])),
        (
            "POST",
            "datasets/d/versions",
            {"dataset_versions": [item]},
            lambda c: c.post_dataset_versions("d", [item]),
        ),
        (
            "PATCH",
            "datasets/d/versions",
            {"dataset_versions": [item], "action": "overwrite"},
            lambda c: c.patch_dataset_versions("d", [item]),
        ),
        (
            "DELETE",
            "datasets/d/versions",
            {"dataset_version_ids": ["x"]},
            lambda c: c.delete_dataset_versions("d", ["x"]),
        ),
        (
            "PUT",
            "datasets/d/versions/v/exports",
            {"exports": [{"format": "CLARIFAI_DATA_JSON"}]},
            lambda c: c.put_dataset_version_exports("d", "v", [Format.JSON]),
        ),
        (
            "POST",
            "annotation_filters",
            {"annotation_filters": [item]},
            lambda c: c.post_annotation_filters([item]),
        ),
        (
            "PATCH",
            "annotation_filters",
            {"annotation_filters": [item], "action": "overwrite"},
            lambda c: c.patch_annotation_filters([item]),
        ),
        (
            "DELETE",
            "annotation_filters",
            {"annotation_filter_ids": ["x"]},
            lambda c: c.delete_annotation_filters(["x"]),
        ),
    ]
    for verb, path, body, call in calls:
        lists = {key: value for key, value in body.items() if key != "action"}
        answer(wire, verb, f"{LONG}/{path}", {"status": OK, **lists})
        with client() as asked:
            call(asked)
        request = wire.calls[-1].request
        assert (request.method, json.loads(request.body)) == (verb, body)
        assert request.headers["Content-Type"] == "application/json"


def test_every_reading_call_has_its_address(wire: Any) -> None:
    calls = [
        ("datasets/d/inputs/i", {"dataset_input": {"input": {"id": "i"}}}, lambda c: c.get_dataset_input("d", "i")),
        ("annotation_filters/f", {"annotation_filter": {"id": "f"}}, lambda c: c.get_annotation_filter("f")),
        ("datasets", {"datasets": []}, lambda c: list(c.datasets())),
        ("datasets/d/inputs", {"dataset_inputs": []}, lambda c: list(c.dataset_inputs("d"))),
        ("annotation_filters", {"annotation_filters": []}, lambda c: list(c.annotation_filters())),
        (
            "datasets/d/versions/v/metrics",
            {"dataset_version_metrics_groups": []},
            lambda c: list(c.dataset_version_metrics_groups("d", "v", types=["CONCEPT_ID"])),
        ),
        (
            "datasets/d/versions",
            {"dataset_versions": []},
            lambda c: list(c.dataset_versions("d", request_origins=["MANUAL", "TRAINING"])),
        ),
    ]
    for path, body, call in calls:
        answer(wire, "GET", f"{LONG}/{path}", {"status": OK, **body})
        with client() as asked:
            call(asked)
    assert "request_origins=MANUAL&request_origins=TRAINING" in wire.calls[-1].request.url
    assert "types=CONCEPT_ID" in wire.calls[-2].request.url


@pytest.mark.parametrize(
    ("http", "code", "error"),
    [
        (200, 10010, ProviderError),
        (207, 10010, ProviderError),
        (400, 10020, ProviderError),
        (200, 11008, AuthenticationFailed),
        (401, 11009, AuthenticationFailed),
        (403, 11007, PermissionDenied),
        (402, 11000, PermissionDenied),
        (404, 11101, NotFound),
        (200, 11101, NotFound),
        (400, 11102, ProviderError),
        (400, 64030, ProviderError),
        (500, 98004, ProviderUnavailable),
        (200, 77777, UnexpectedResponse),
        (200, "NEVER_HEARD_OF", UnexpectedResponse),
        (200, None, UnexpectedResponse),
        (200, 64015, UnexpectedResponse),
    ],
)
def test_only_10000_is_success(wire: Any, http: int, code: object, error: type[ProviderError]) -> None:
    """A status inside the answer counts, whatever the HTTP status; one that is unknown is an error with its code."""
    status = {"code": code, "description": "Words", "details": "more words"} if code is not None else {}
    answer(wire, "GET", f"{LONG}/datasets/cats", {"status": status, "dataset": {"id": "cats"}}, http)
    with client() as asked, pytest.raises(error) as caught:
        asked.get_dataset("cats")
    assert type(caught.value) is error
    if code is not None:
        assert str(code) in str(caught.value)
        assert "more words" in str(caught.value)


@pytest.mark.parametrize("body", [{}, {"dataset": {"id": "cats"}}, [], "text", {"status": "ok"}, {"status": None}])
def test_answer_without_a_status_is_no_success(wire: Any, body: object) -> None:
    answer(wire, "GET", f"{LONG}/datasets/cats", body)
    with client() as asked, pytest.raises(UnexpectedResponse):
        asked.get_dataset("cats")


def test_mixed_success_names_the_items_that_failed(wire: Any) -> None:
    items = [
        {"id": "v1", "status": {"code": 40010, "description": "duplicate"}},
        {"id": "v2", "status": {"code": 64005}},
    ]
    body = {"status": {"code": 10010, "description": "Mixed Success"}, "dataset_versions": items}
    answer(wire, "POST", f"{LONG}/datasets/d/versions", body)
    with client() as asked, pytest.raises(ProviderError, match="v1: 40010 duplicate") as caught:
        asked.post_dataset_versions("d", [{"id": "v1"}, {"id": "v2"}])
    assert "v2" not in str(caught.value)


def test_too_many_requests_are_tried_again(wire: Any) -> None:
    wire.add(
        "GET",
        f"{LONG}/datasets/cats",
        json={"status": {"code": 11005}},
        status=429,
        headers={"Retry-After": "0"},
    )
    answer(wire, "GET", f"{LONG}/datasets/cats", {"status": OK, "dataset": {"id": "cats"}})
    with client() as asked:
        assert asked.get_dataset("cats").id == "cats"


def test_too_many_requests_on_a_create_are_not(wire: Any) -> None:
    answer(wire, "POST", f"{LONG}/datasets/d/versions", {"status": {"code": 11005}}, 429)
    with client() as asked, pytest.raises(RateLimited):
        asked.post_dataset_versions("d", [{"id": "v"}])


def test_answer_about_another_one_is_unexpected(wire: Any) -> None:
    answer(wire, "GET", f"{LONG}/datasets/cats", {"status": OK, "dataset": {"id": "dogs"}})
    with client() as asked, pytest.raises(UnexpectedResponse, match="another"):
        asked.get_dataset("cats")


@pytest.mark.parametrize("items", [[], [{"id": "a"}, {"id": "b"}], None, {}])
def test_another_number_of_items_than_sent_is_unexpected(wire: Any, items: object) -> None:
    answer(wire, "POST", f"{LONG}/datasets/d/versions", {"status": OK, "dataset_versions": items})
    with client() as asked, pytest.raises(UnexpectedResponse):
        asked.post_dataset_versions("d", [{"id": "a"}])


def test_listing_ends_with_an_empty_page_and_a_missing_list_is_one(wire: Any) -> None:
    """Between two pages the last entry of the first is looked at once more, as a deletion would move the second."""
    a, b = {"dataset_versions": [{"id": "a"}]}, {"dataset_versions": [{"id": "b"}]}
    for body in (a, b, a, {}):
        answer(wire, "GET", f"{LONG}/datasets/d/versions", {"status": OK, **body})
    with client() as asked:
        assert [each.id for each in asked.dataset_versions("d")] == ["a", "b"]
    asked_for = [(call.request.params["page"], call.request.params["per_page"]) for call in wire.calls]
    assert asked_for == [("1", "500"), ("2", "500"), ("1", "1"), ("3", "500")]


def test_one_page_of_a_listing_has_the_size_that_was_asked_for(wire: Any) -> None:
    answer(wire, "GET", f"{LONG}/datasets/d/versions", {"status": OK, "dataset_versions": [{"id": "a"}]})
    with client() as asked:
        assert [each.id for each in asked.dataset_versions_page("d", 3, 7)] == ["a"]
    assert (wire.calls[0].request.params["page"], wire.calls[0].request.params["per_page"]) == ("3", "7")


@pytest.mark.parametrize(("page", "per_page"), [(0, 5), (-1, 5), (1, 0), (1, -5), (1, 1001)])
def test_page_that_cannot_be_is_refused_before_it_is_asked_for(page: int, per_page: int) -> None:
    with client() as asked, pytest.raises(InvalidArgument, match="per_page from 1 to 1000"):
        asked.dataset_versions_page("d", page, per_page)


def test_deletion_gives_the_answer_as_it_came(wire: Any) -> None:
    told = {"status": {**OK, "details": "Dataset version 'v' deleted"}, "more": [1]}
    answer(wire, "DELETE", f"{LONG}/datasets/d/versions", told)
    with client() as asked:
        assert asked.delete_dataset_versions("d", ["v"]) == told


def test_listing_that_gives_the_same_page_for_ever_is_unexpected(wire: Any) -> None:
    answer(wire, "GET", f"{LONG}/datasets/d/versions", {"status": OK, "dataset_versions": [{"id": "a"}]})
    with client() as asked, pytest.raises(UnexpectedResponse, match="twice"):
        list(asked.dataset_versions("d"))


@pytest.mark.parametrize("items", ["text", {"a": 1}, 5])
def test_list_that_is_none_is_unexpected(wire: Any, items: object) -> None:
    answer(wire, "GET", f"{LONG}/datasets/d/versions", {"status": OK, "dataset_versions": items})
    with client() as asked, pytest.raises(UnexpectedResponse):
        list(asked.dataset_versions("d"))


def test_redirect_is_not_followed(wire: Any) -> None:
    wire.add("GET", f"{LONG}/datasets/cats", status=302, headers={"Location": "https://elsewhere.invalid/"})
    with client() as asked, pytest.raises(UnexpectedResponse):
        asked.get_dataset("cats")
    assert len(wire.calls) == 1


def test_key_is_in_no_error(wire: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the service sends it back."""
    caplog.set_level(logging.DEBUG)
    status = {"code": 77777, "description": f"Key {KEY}", "details": KEY}
    answer(wire, "GET", f"{LONG}/datasets/cats", {"status": status})
    with client() as asked, pytest.raises(UnexpectedResponse) as caught:
        asked.get_dataset("cats")
    assert KEY not in f"{caught.value!r} {caught.value} {vars(caught.value)} {caplog.text} {vars(asked)}"


def test_bodies_of_2021_are_put_into_todays_words(caplog: pytest.LogCaptureFixture) -> None:
    old = {"id": "v", "name": "foo", "dataset_filter": {"id": "f"}}
    assert today(old) == {
        "id": "v",
        "description": "foo",
        "annotation_filter_config": {"annotation_filter": {"id": "f"}},
    }
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert old == {"id": "v", "name": "foo", "dataset_filter": {"id": "f"}}


def test_bodies_of_2021_do_not_win_over_todays_fields(caplog: pytest.LogCaptureFixture) -> None:
    new = {"annotation_filter_config": {"annotation_filter": {"id": "g"}}, "description": "d"}
    assert today({**new, "name": "foo", "dataset_filter": {"id": "f"}}) == new
    assert "left out" in caplog.text


def test_todays_bodies_are_sent_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert today({"id": "v", "description": "d"}) == {"id": "v", "description": "d"}
    assert not caplog.records
