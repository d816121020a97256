"""What is believed of an answer, what is tried again, which addresses are used, how pages are walked."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_dsver.errors import (
    AuthenticationFailed,
    InvalidReference,
    NotFound,
    PermissionDenied,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SettingsError,
    UnexpectedResponse,
)
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.wire import ApiError, MalformedResponse, TruncatedResponse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "\\",
    "\\u",
    "d83d",
    "0",
    "1",
    "-",
    "e",
    ".",
    ",",
    ":",
    "null",
    "tru",
    " ",
    "a",
    "\0",
    "é",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
    | st.text()
    | st.binary().map(lambda b: b.decode("latin-1"))
)
def test_any_text_is_json_or_nonsense(text: str) -> None:
    try:
        json.dumps(wire.read_json(text), allow_nan=False).encode()
    except MalformedResponse:
        pass


@given(st.binary(max_size=300), st.booleans())
def test_any_body_is_unpacked_or_nonsense(body: bytes, headed: bool) -> None:
    try:
        assert len(wire.unpack(b"\x1f\x8b" + body if headed else body, "gzip", 1000)) <= 1000
    except MalformedResponse:
        pass


@given(st.text() | st.lists(st.sampled_from([*"0123456789 ,:+-", "Jan", "GMT", "Mon"]), max_size=30).map("".join))
def test_any_retry_after_is_seconds_or_nothing(header: str) -> None:
    seconds = wire.retry_after(header)
    assert seconds is None or seconds >= 0


@given(st.text().map(lambda rest: f"https://{rest}") | st.text())
@example("https://[::1")
@example("https://host:99999")
@example("https://host:-1")
@example("https://[v1.x]/")
def test_any_base_address_is_taken_or_refused_by_its_name(address: str) -> None:
    try:
        wire.check_base(address, "THE_SETTING")
    except SettingsError as error:
        assert "THE_SETTING" in str(error)  # noqa: PT017


@given(JSON)
def test_ordinary_json_is_read_as_it_is(value: object) -> None:
    assert wire.read_json(json.dumps(value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "{",
        '{"a": 1',
        "NaN",
        "[Infinity]",
        "-Infinity",
        '{"a": 1, "a": 2}',
        "1e999",
        "[1e999]",
        "9" * 401,
        "0." + "9" * 401,
        "[" * 100 + "]" * 100,
        "[" * 100000,
        '{"a":' * 200000,
    ],
    ids=lambda text: text[:16],
)
def test_what_is_no_sound_json_is_nonsense(text: str) -> None:
    """NaN, double keys, endless numbers and absurd depth are refused, and the error does not quote the body."""
    with pytest.raises(MalformedResponse) as caught:
        wire.read_json(text)
    assert len(str(caught.value)) < 80
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, RecursionError)


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    """Text that no file takes is made writable; whole pairs stay."""
    assert wire.read_json('{"a\\ud83d": ["\\ude00", "\\ud83d\\ude00"]}') == {"a�": ["�", "😀"]}


@pytest.mark.parametrize(
    ("status", "complaint", "kind"),
    [
        (400, ApiError("x"), ProviderError),
        (401, None, AuthenticationFailed),
        (403, None, PermissionDenied),
        (404, ApiError("x"), NotFound),
        (404, None, UnexpectedResponse),
        (408, ApiError("x"), ProviderUnavailable),
        (409, ApiError("x"), ProviderError),
        (418, None, ProviderError),
        (429, None, RateLimited),
        (500, None, ProviderUnavailable),
        (503, ApiError("x"), ProviderUnavailable),
        (302, None, UnexpectedResponse),
    ],
)
def test_status_means_an_error(status: int, complaint: ApiError | None, kind: type[ProviderError]) -> None:
    """One table; a 404 that is not the API's own says nothing about a dataset."""
    assert wire.error_for(status, complaint) is kind


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("-1", None),
        ("soon", None),
        ("٣", None),
        ("", None),
        ("9" * 30, None),
    ],
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert wire.retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    """A date in the future is the seconds until then; one in the past is none to wait."""
    later = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < (wire.retry_after(format_datetime(later, usegmt=True)) or 0) <= 30
    assert wire.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_waits_grow_with_jitter_and_end() -> None:
    """Three further tries, each wait from half to the whole of its step; what is asked for is kept up to 60 s."""
    for attempt, step in enumerate(wire.BACKOFF, start=1):
        waits = {wire.wait_before(attempt, None) for _ in range(50)}
        assert all(wait is not None and step / 2 <= wait <= step for wait in waits)
        assert len(waits) > 10
    assert wire.wait_before(wire.TRIES, None) is None
    assert wire.wait_before(1, 59) == 59
    assert wire.wait_before(1, 61) is None


@pytest.mark.parametrize(
    "address", ["https://api.paperspace.com/v1", "http://127.0.0.1:80/v1", "http://[::1]:1", "http://localhost/"]
)
def test_good_base_addresses(address: str) -> None:
    assert wire.check_base(address, "X") == address.rstrip("/")


@pytest.mark.parametrize(
    "address",
    [
        "http://api.paperspace.com/v1",
        "ftp://x.org",
        "api.paperspace.com",
        "",
        "https://",
        "https://u:p@x.org",
        "https://x.org/?k=1",
        "https://x.org/#f",
        "https://x.org/a b",
        "https://x.org/\n",
        "http://127.0.0.1.evil.org",
        "http://2130706433.evil/",
    ],
)
def test_bad_base_addresses_name_the_setting(address: str) -> None:
    """No key travels in the clear, and none hides in the address."""
    with pytest.raises(SettingsError, match="THE_SETTING") as caught:
        wire.check_base(address, "THE_SETTING")
    assert ":p@" not in str(caught.value)


@pytest.mark.parametrize("identifier", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "\u202e"])
def test_ids_that_would_climb_are_refused(identifier: str) -> None:
    with pytest.raises(InvalidReference):
        wire.segment(identifier)


@given(st.text(min_size=1))
def test_an_id_is_one_segment_or_refused(identifier: str) -> None:
    """Whatever the id, the address keeps its depth."""
    try:
        quoted = wire.segment(identifier)
    except InvalidReference:
        return
    assert quoted.isascii()
    assert not set(quoted) & set("/?#\\")
    assert quoted not in (".", "..")


def pages(script: Iterable[tuple[list[int], str | None]]) -> tuple[list[int], int]:
    """What is listed, and how many pages were asked for."""
    left, asked = iter(script), 0

    def fetch(mark: str | None) -> tuple[list[int], str | None]:
        nonlocal asked
        asked += 1
        return next(left)

    return list(wire.walk_pages(fetch, "list", "p")), asked


def test_a_listing_ends_without_a_mark() -> None:
    assert pages([([1, 2], "a"), ([3], None), ([4], None)]) == ([1, 2, 3], 2)


def test_a_listing_ends_with_an_empty_page() -> None:
    assert pages([([1, 2], "a"), ([], "b"), ([4], None)]) == ([1, 2], 2)


@pytest.mark.parametrize("marks", ["aa", "aba", "abcb"])
def test_a_mark_that_comes_again_is_an_error(marks: str) -> None:
    """A listing that goes round is not the whole listing."""
    with pytest.raises(UnexpectedResponse, match="twice"):
        pages([([1], mark) for mark in marks])


def test_a_listing_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_PAGES", 5)
    with pytest.raises(UnexpectedResponse, match="5 pages"):
        pages([([1], str(number)) for number in range(100)])


def test_pages_are_fetched_when_they_are_needed() -> None:
    asked: list[str | None] = []

    def fetch(mark: str | None) -> tuple[list[int], str | None]:
        asked.append(mark)
        return [1, 2], f"{mark}+"

    listing = wire.walk_pages(fetch, "list", "p")
    assert (next(listing), next(listing)) == (1, 2)
    assert asked == [None]


def test_unpacking_is_bounded() -> None:
    """A body that swells is refused before it fills the memory; a cut one is told apart from a broken one."""
    packed = gzip.compress(b"x" * 100_000)
    assert wire.unpack(packed, "gzip", 100_000) == b"x" * 100_000
    with pytest.raises(MalformedResponse, match="more than"):
        wire.unpack(packed, "gzip", 99_999)
    with pytest.raises(TruncatedResponse):
        wire.unpack(packed[:-9], "gzip", 100_000)
    with pytest.raises(MalformedResponse, match="unpacked"):
        wire.unpack(b"no gzip", "GZIP", 100)
    with pytest.raises(MalformedResponse, match="br"):
        wire.unpack(b"x", "br", 100)
    assert wire.unpack(b"x", None, 1) == b"x"


def test_excerpt_of_a_page_is_its_words() -> None:
    page = "<html><style>a{}</style><script>evil()</script><h1>Error\n 1010</h1>\x1b[31m <b>banned</b>"
    assert wire.excerpt(page) == "Error 1010 \\x1b[31m banned"
    assert wire.excerpt("<>") == "<>"
    assert len(wire.excerpt("x" * 10**6)) == 160
