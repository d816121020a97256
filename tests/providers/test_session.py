"""The HTTP session against a real server that hangs, drips, cuts, resets, redirects and answers nonsense."""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlflow_dsver.deadlines import Deadline
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
from mlflow_dsver.providers.http.session import USER_AGENT, Session
from mlflow_dsver.providers.paperspace.client import API_PROFILE
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.secrets import Secret

KEY = "ps-secret-0123456789abcdef"


@pytest.fixture
def emulator() -> Iterator[PaperspaceEmulator]:
    with PaperspaceEmulator(key=KEY, seed=True) as emulator:
        yield emulator


@pytest.fixture
def session(emulator: PaperspaceEmulator) -> Iterator[Session]:
    with Session(emulator.base, API_PROFILE, Secret(KEY), timeout=10) as session:
        yield session


def ask(session: Session, verb: str = "GET", **more: Any) -> Any:
    return session.call(verb, ("datasets",), "list", reference="paperspace://x", **more)


def test_request_says_who_asks_and_what_it_takes(emulator: PaperspaceEmulator, session: Session) -> None:
    """Own User-Agent, the key in Authorization alone, exactly application/json on bodies."""
    session.call("POST", ("datasets",), "create", body={"name": "x", "isPublic": False})
    request = emulator.requests[-1]
    assert request.headers["user-agent"] == USER_AGENT
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.authorization == f"Bearer {KEY}"
    assert KEY not in str(request.headers) + str(request.query) + repr(request)
    assert request.body == b'{"name":"x","isPublic":false}'


def test_ids_are_quoted_and_cannot_climb(emulator: PaperspaceEmulator, session: Session) -> None:
    with pytest.raises(NotFound):
        session.call("GET", ("datasets", "a b%2f?c#d"), "get")
    assert emulator.requests[-1].path == ("v1", "datasets", "a b%2f?c#d")
    for identifier in ("..", ".", "", "a/b"):
        with pytest.raises(InvalidReference):
            session.call("GET", ("datasets", identifier, "versions"), "get")
    assert len(emulator.requests) == 1


def test_connection_is_kept_over_calls(emulator: PaperspaceEmulator, session: Session) -> None:
    """A listing of many pages does not greet the server for each."""
    connections: list[object] = []
    real = emulator._server.finish_request  # type: ignore[union-attr]
    emulator._server.finish_request = lambda *each: (connections.append(each), real(*each))  # type: ignore[union-attr]
    for _ in range(5):
        ask(session)
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", ProviderError),
        ("401", AuthenticationFailed),
        ("403", PermissionDenied),
        ("404", NotFound),
        ("409", ProviderError),
        ("501", ProviderUnavailable),
        ("html", PermissionDenied),
        ("redirect", UnexpectedResponse),
        ("bomb", UnexpectedResponse),
    ],
)
def test_failure_that_stays_is_told_at_once(
    emulator: PaperspaceEmulator, session: Session, fault: str, kind: type[ProviderError]
) -> None:
    """These are not tried again, and carry provider, operation, reference and status."""
    emulator.inject(fault)
    with pytest.raises(kind) as caught:
        ask(session)
    error = caught.value
    assert type(error) is kind
    assert (error.provider, error.operation, error.reference) == ("paperspace", "list", "paperspace://x")
    assert len(emulator.requests) == 1
    assert "\n" not in str(error)
    assert KEY not in str(error)


def test_page_of_a_firewall_is_quoted(emulator: PaperspaceEmulator, session: Session) -> None:
    emulator.inject("html")
    with pytest.raises(PermissionDenied, match=r"403.*Error 1010 The owner of this website has banned"):
        ask(session)


@pytest.mark.parametrize(
    "fault",
    [
        *("408", "429", "500", "502", "503", "504"),
        *("ok-error", "cut", "cut-unsaid", "reset", "lost", "nonsense"),
    ],
)
def test_failure_that_passes_is_tried_again(emulator: PaperspaceEmulator, session: Session, fault: str) -> None:
    """Reading is tried up to four times."""
    emulator.inject(f"{fault}:times=2")
    assert ask(session)["items"]
    assert len(emulator.requests) == 3


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("fault", ["429", "503", "lost", "reset", "cut", "nonsense"])
def test_what_changes_something_is_never_sent_twice(
    emulator: PaperspaceEmulator, session: Session, verb: str, fault: str
) -> None:
    emulator.inject(f"{fault}:times=1")
    with pytest.raises(ProviderError):
        session.call(verb, ("datasets", "dst364npcw6ccok"), "change", body={})
    assert len(emulator.requests) == 1


def test_tries_end(emulator: PaperspaceEmulator, session: Session) -> None:
    emulator.inject("503")
    with pytest.raises(ProviderUnavailable, match="injected fault 503") as caught:
        ask(session)
    assert caught.value.status == 503
    assert len(emulator.requests) == 4


def test_retry_after_is_kept(emulator: PaperspaceEmulator, session: Session) -> None:
    emulator.inject("429:retry-after=2:times=1")
    began = time.monotonic()
    ask(session)
    assert time.monotonic() - began >= 2


@pytest.mark.parametrize("seconds", ["61", "3600", "999999999"])
def test_long_retry_after_is_an_error_at_once(emulator: PaperspaceEmulator, session: Session, seconds: str) -> None:
    emulator.inject(f"429:retry-after={seconds}")
    with pytest.raises(RateLimited) as caught:
        ask(session)
    assert len(emulator.requests) == 1
    assert caught.value.retry_after == float(seconds)
    assert f"asks to wait {seconds} seconds" in str(caught.value)
    assert "are waited at most; not tried again" in str(caught.value)


def test_retry_after_beyond_the_deadline_is_an_error_at_once(emulator: PaperspaceEmulator) -> None:
    emulator.inject("503:retry-after=30")
    with Session(emulator.base, API_PROFILE, Secret(KEY), timeout=5) as session:
        with pytest.raises(ProviderUnavailable, match="asks to wait 30 seconds"):
            ask(session)
        assert len(emulator.requests) == 1
        emulator.faults.clear()
        emulator.inject("400:retry-after=0")
        with pytest.raises(ProviderError) as caught:
            ask(session)
    assert caught.value.done is None


def test_error_has_the_vendors_code_details_and_answer(emulator: PaperspaceEmulator, session: Session) -> None:
    """For programs, as they came; whatever class of error it is."""
    with pytest.raises(ProviderError) as caught:
        session.call("GET", ("datasets",), "list", query={"limit": 0})
    error = caught.value
    assert (error.status, error.code) == (400, "BAD_REQUEST")
    assert error.details == [{"message": "limit: Number must be from 1 to 120"}]
    assert error.payload == {"message": error.what, "code": error.code, "issues": error.details}
    with pytest.raises(NotFound) as not_found:
        session.call("GET", ("datasets", "none"), "get")
    assert (not_found.value.code, not_found.value.details) == ("NOT_FOUND", None)


@pytest.mark.parametrize("fault", ["hang", "slow:seconds=60", "drip:seconds=0.5", "drip-headers:seconds=0.5"])
def test_no_fault_holds_longer_than_the_bound(emulator: PaperspaceEmulator, fault: str) -> None:
    """Hanging, dripping in the body or in the headers: after the time-out there is an error, whatever comes."""
    emulator.inject(fault)
    began = time.monotonic()
    with Session(emulator.base, API_PROFILE, Secret(KEY), timeout=1.5) as session:
        with pytest.raises(ProviderUnavailable, match=r"within 1\.5 seconds"):
            ask(session)
        assert time.monotonic() - began > 1
        emulator.faults.clear()
        assert ask(session)["items"], "the session can be used again"


def test_call_may_have_a_shorter_bound_of_its_own(emulator: PaperspaceEmulator, session: Session) -> None:
    emulator.inject("hang:times=1")
    with pytest.raises(ProviderUnavailable, match=r"within 0\.5 seconds"):
        session.call("GET", ("datasets",), "list", seconds=0.5)
    assert ask(session)["items"]


def test_one_deadline_rules_over_many_calls(emulator: PaperspaceEmulator) -> None:
    emulator.inject("slow:seconds=0.6")
    with Session(emulator.base, API_PROFILE, Secret(KEY), timeout=60, deadline=Deadline(1.5)) as session:

        def ask_on() -> None:
            for _ in range(100):
                ask(session)

        with pytest.raises(ProviderUnavailable):
            ask_on()
    assert 1 <= len(emulator.requests) <= 3


def test_host_that_takes_no_connection_is_bounded() -> None:
    """A listener whose queue is full, and a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with (
            Session(f"http://127.0.0.1:{port}", API_PROFILE, Secret(KEY), timeout=1) as session,
            pytest.raises(ProviderUnavailable, match="within 1 second"),
        ):
            ask(session)
        for filler in fillers:
            filler.close()
    with (
        Session(f"http://127.0.0.1:{port}", API_PROFILE, Secret(KEY), timeout=20) as session,
        pytest.raises(ProviderUnavailable, match="refused"),
    ):
        ask(session)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"\x00" * 100,
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=range(9),
)
def test_raw_nonsense_is_a_provider_error(answer: bytes) -> None:
    """Whatever bytes come back, the error is one of the tree, in time, and without the key."""
    with raw_server(lambda connection: connection.sendall(answer)) as base:
        with Session(base, API_PROFILE, Secret(KEY), timeout=5) as session, pytest.raises(ProviderError) as caught:
            ask(session)
        assert KEY not in everything(caught.value)


def test_endless_body_is_cut_off() -> None:
    """A body without end is refused at the cap and not collected."""

    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with (
        raw_server(pour) as base,
        Session(base, API_PROFILE, Secret(KEY), timeout=20) as session,
        pytest.raises(UnexpectedResponse, match="more than 16777216 bytes"),
    ):
        ask(session)


def test_body_of_a_redirect_is_bounded_too() -> None:
    """The library would read all of it to be ready for the next request."""

    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with (
        raw_server(pour) as base,
        Session(base, API_PROFILE, Secret(KEY), timeout=20) as session,
        pytest.raises(UnexpectedResponse, match="more than 16777216 bytes"),
    ):
        ask(session)


def test_key_is_nowhere(
    emulator: PaperspaceEmulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key is in no log at DEBUG, output, error, cause, traceback or repr, not even where the server echoes it."""
    caplog.set_level(logging.DEBUG)
    emulator.good_key = "another-key"
    texts: list[str] = []
    with Session(emulator.base, API_PROFILE, Secret(KEY), timeout=1.5) as session:
        texts += [repr(session), repr(vars(session)), str(session)]
        for fault in (
            "401",
            "429:retry-after=99",
            "500",
            "html",
            "nonsense",
            "redirect",
            "hang",
            "cut",
            "reset",
            "lost",
        ):
            emulator.faults.clear()
            emulator.inject(fault)
            with pytest.raises(ProviderError) as caught:
                ask(session)
            texts.append(everything(caught.value))

    def echo(connection: socket.socket) -> None:
        request = connection.recv(65536).partition(b"Authorization: ")[2]
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(request), request))

    with raw_server(echo) as base, Session(base, API_PROFILE, Secret(KEY), timeout=5) as session:
        with pytest.raises(ProviderError) as caught:
            ask(session)
        texts.append(everything(caught.value))
        assert "[hidden]" in str(caught.value)
    out, err = capfd.readouterr()
    everywhere = "\n".join([*texts, caplog.text, out, err])
    assert "paperspace list" in everywhere
    assert KEY not in everywhere
    assert KEY[:12] not in everywhere


def test_netrc_and_proxies_of_the_environment_do_not_touch_loopback(
    emulator: PaperspaceEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Neither a .netrc nor a proxy variable changes who gets the key."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Session(emulator.base, API_PROFILE, Secret(KEY), timeout=5) as session:
        assert ask(session)["items"]
    assert emulator.requests[-1].authorization == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["secret-a\nb", "secret-a b", "secret-ä", "secret-a\x00"])
def test_key_that_no_header_takes_is_refused_without_being_shown(emulator: PaperspaceEmulator, key: str) -> None:
    with (
        Session(emulator.base, API_PROFILE, Secret(key), timeout=5) as session,
        pytest.raises(SettingsError) as caught,
    ):
        ask(session)
    assert key not in everything(caught.value)
    assert not emulator.requests


def test_missing_key_is_said_without_a_request(emulator: PaperspaceEmulator) -> None:
    with (
        Session(emulator.base, API_PROFILE, None, timeout=5) as session,
        pytest.raises(AuthenticationFailed, match="PAPERSPACE_API_KEY"),
    ):
        ask(session)
    assert not emulator.requests


def test_confidential_answer_is_quoted_nowhere(emulator: PaperspaceEmulator, session: Session) -> None:
    """Where the answer holds others' secrets, an error keeps nothing of it."""
    emulator.inject("nonsense")
    with pytest.raises(UnexpectedResponse) as caught:
        ask(session, confidential=True)
    assert caught.value.payload is None
    assert "items" not in everything(caught.value)


def everything(error: BaseException) -> str:
    """All that a log, a report or a debugger's first look would show of an error and what led to it."""
    texts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        texts += [repr(seen), str(seen), repr(vars(seen)), repr(seen.args)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


class raw_server:  # noqa: N801
    """`with raw_server(work) as base`: each connection is read once and handed to `work`, then closed."""

    def __init__(self, work: Callable[[socket.socket], None]) -> None:
        self.work = work

    def __enter__(self) -> str:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    if "echo" not in self.work.__name__:
                        connection.recv(65536)
                    self.work(connection)
                except OSError:
                    pass

    def __exit__(self, *_: object) -> None:
        self.listener.close()
