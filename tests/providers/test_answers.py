"""Requests whose answers are bytes: repeated, bounded as a whole, not redirected, with the headers given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.answers import Answer, NoResponse, ask, open_client

Reply = Callable[[BaseHTTPRequestHandler, int], None]


class Server:
    """A server that answers by a function of the request's number, from 1; `seen` has the headers of each."""

    def __init__(self) -> None:
        self.reply: Reply = lambda handler, number: plain(handler, 200, b"well")
        self.seen: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append(dict(self.headers.items()))
                outer.reply(self, len(outer.seen))

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def ask(self, seconds: float = 10.0, limit: int = 1000) -> Answer:
        headers = iter({"x-number": str(number)} for number in range(1, 100))
        client = open_client(self.address, 2)
        return ask(client, "GET", f"{self.address}/a?b=", lambda: next(headers), seconds=seconds, limit=limit)


def plain(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response_only(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(wire, "BACKOFF", (0.01, 0.01, 0.01))
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def test_an_answer_is_given_as_it_came(server: Server) -> None:
    server.reply = lambda handler, number: plain(handler, 404, b"\x1f\x8bno gzip", Content_Encoding="gzip", X_Odd="Y")
    found = server.ask()
    assert (found.status, found.body, found.headers["x-odd"]) == (404, b"\x1f\x8bno gzip", "Y")
    assert server.seen[0]["Accept-Encoding"] == "identity"


def test_what_the_service_asks_to_repeat_is_repeated_with_new_headers(server: Server) -> None:
    server.reply = lambda handler, number: plain(handler, 200 if number == 3 else 503, b"x")
    assert server.ask().status == 200
    assert [each["x-number"] for each in server.seen] == ["1", "2", "3"]


def test_the_last_answer_is_given_when_the_service_goes_on(server: Server) -> None:
    server.reply = lambda handler, number: plain(handler, 503, b"SlowDown")
    assert server.ask().body == b"SlowDown"
    assert len(server.seen) == wire.TRIES


def test_a_wait_that_is_longer_than_the_time_is_not_begun(server: Server) -> None:
    server.reply = lambda handler, number: plain(handler, 503, b"", Retry_After="30")
    begun = time.monotonic()
    assert server.ask(seconds=5).status == 503
    assert time.monotonic() - begun < 5


def test_a_redirect_is_an_answer_and_is_not_followed(server: Server) -> None:
    server.reply = lambda handler, number: plain(handler, 307, b"", Location="http://127.0.0.1:9/elsewhere")
    assert server.ask().status == 307


def test_a_body_that_drips_ends_with_the_time(server: Server) -> None:
    """A time-out of one read would never end it."""
    ended = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response_only(200)
        handler.end_headers()
        while not ended.wait(0.05):
            handler.wfile.write(b"x")

    server.reply = drip
    begun = time.monotonic()
    with pytest.raises(NoResponse):
        server.ask(seconds=1, limit=1 << 20)
    ended.set()
    assert time.monotonic() - begun < 10


def test_a_body_above_the_limit_is_refused(server: Server) -> None:
    server.reply = lambda handler, number: plain(handler, 200, b"x" * 1001)
    with pytest.raises(wire.MalformedResponse, match="1000 bytes"):
        server.ask()


def test_a_server_that_is_gone_is_no_response(server: Server) -> None:
    client = open_client("http://127.0.0.1:9", 1)
    with pytest.raises(NoResponse) as caught:
        ask(client, "GET", "http://127.0.0.1:9/", lambda: {"Authorization": "top-secret"}, seconds=3, limit=1)
    assert "top-secret" not in str(caught.value)


def test_a_password_of_the_home_folder_does_not_replace_a_signature(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    client = open_client("https://elsewhere.example", 1)  # which believes the environment
    client.proxies = {}
    found = ask(client, "GET", server.address, lambda: {"Authorization": "signature"}, seconds=5, limit=100)
    assert found.status == 200
    assert server.seen[0]["Authorization"] == "signature"
