"""The base of all emulators: a small HTTP server on loopback, switches, faults, a log of requests, the state file.

An emulator answers `Request`s with `Reply`s; all socket handling is here. A `Switch` is a question that the vendor's
published documents leave open, with its possible answers; a `Fault` is a deliberate failure. For tests, notebooks,
demos and users' continuous integration; do not expose it to a network.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

from mlflow_dsver.content.atomic_files import atomic_write
from mlflow_dsver.emulators.faults import Fault
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.text import one_line

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BODY = 8 << 20
REMEMBERED = 20_000
"""Maximum requests that `Emulator.requests` keeps; the oldest are dropped first."""
NOT_COMPARED = "It follows published documents and was not compared with the live service."
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, with 0 seconds."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A question left open by the vendor's documents. The first setting is the default."""

    name: str
    question: str
    settings: tuple[str, ...]
    numbers: tuple[int, int] | None = None
    """Minimum and maximum of additional whole-number settings."""

    def check(self, value: str) -> str:
        """Return a setting, or raise SettingsError."""
        fits = self.numbers and value.isdecimal() and self.numbers[0] <= int(value) <= self.numbers[1]
        if value not in self.settings and not fits:
            known = ", ".join(self.settings) + (f", {self.numbers[0]} to {self.numbers[1]}" if self.numbers else "")
            raise SettingsError(f"switch {self.name}", expected=known, got=one_line(value, 40))
        return value


@dataclass(frozen=True, slots=True)
class Option:
    """An additional whole-number argument of an emulator, for `mlflow-dsver emulator`; None when not given."""

    help: str
    numbers: tuple[int, int]
    """Minimum and maximum."""


@dataclass(frozen=True, slots=True)
class Request:
    """A received request. path: decoded segments. headers: names in lower case, without `authorization`.

    authorization: that header, kept out of the repr.
    """

    verb: str
    path: tuple[str, ...]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""
    authorization: str | None = field(default=None, repr=False)

    def first(self, name: str) -> str | None:
        """The first value of a parameter of the query; None when it is not there."""
        return self.query.get(name, [None])[0]

    def key(self, scheme: str) -> str | None:
        """The key after that scheme's word; None when there is none."""
        word, _, key = (self.authorization or "").partition(" ")
        return key.strip() or None if word == scheme else None

    def __str__(self) -> str:
        return f"{self.verb} /{'/'.join(self.path)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. body: bytes are sent unchanged, anything else as JSON."""

    status: int = 200
    body: object = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """The body as it goes over the wire."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


class Emulator(ABC):
    """A vendor's service on loopback. Use it in a `with` block, or `start` and `stop` it.

    key: the only valid key; None accepts any. switches: by name, the rest have their default. faults: see
    `faults.parse`. state: a JSON file that is read at the start and written after each change; None keeps the state
    in memory. port: 0 takes a free one. requests: all received ones, oldest first, including those that a fault
    answered.
    """

    name: ClassVar[str]
    SWITCHES: ClassVar[tuple[Switch, ...]] = ()
    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    """Further options of the command, by name; `grpc-port` is handed to the class as `grpc_port`."""

    def __init__(
        self,
        *,
        key: str | None = None,
        switches: Mapping[str, str] | None = None,
        faults: Iterable[str | Fault] = (),
        state: Path | None = None,
        port: int = 0,
    ) -> None:
        self.good_key = key
        self.switches = {switch.name: switch.settings[0] for switch in self.SWITCHES}
        for name, value in (switches or {}).items():
            self.switch(name, value)
        self.faults: list[Fault] = []
        self.requests: deque[Request] = deque(maxlen=REMEMBERED)
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self._state = state
        self._port = port
        self._server: _Server | None = None
        for fault in faults:
            self.inject(fault)
        if state is not None and state.exists():
            try:
                self.restore(json.loads(state.read_bytes()))
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise SettingsError(f"{one_line(state)} is no state of the {self.name} emulator") from error

    @abstractmethod
    def answer(self, request: Request) -> Reply:
        """The vendor's answer; called by one thread at a time."""

    @abstractmethod
    def error_reply(self, status: int) -> Reply:
        """The vendor's own error body for a fault's status; 200 for a failure that the vendor reports so."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """The whole state as JSON."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """Environment variables that point a client here."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Additional lines to print when the emulator is started in a terminal."""
        return ()

    @property
    def address(self) -> str:
        """`http://127.0.0.1:PORT`, once started."""
        if self._server is None:
            raise RuntimeError("the emulator is not started")
        return f"http://{HOST}:{self._server.server_address[1]}"

    def switch(self, name: str, value: str) -> None:
        """Change a switch; raises SettingsError for an unknown name or setting."""
        known = {switch.name: switch for switch in self.SWITCHES}
        if name not in known:
            raise SettingsError(f"no switch is called {one_line(name, 40)}", expected=", ".join(known))
        self.switches[name] = known[name].check(value)

    def inject(self, fault: str | Fault) -> None:
        """Add a fault; the first that fits a request and is not used up is applied."""
        self.faults.append(fault if isinstance(fault, Fault) else Fault.parse(fault))

    def start(self) -> Self:
        """Serve in a thread."""
        self.stopping.clear()
        try:
            self._server = _Server((HOST, self._port), self)
        except OSError as error:
            raise SettingsError(
                f"port {self._port} cannot be used: {error.strerror}", tip="another --port"
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name=self.name, daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop serving; hanging responses are released."""
        self.stopping.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def take(self, request: Request) -> tuple[Reply, Fault | None]:
        """The reply to a request, and the fault that applies to it."""
        with self.lock:
            self.requests.append(request)
            fault = next((fault for fault in self.faults if fault.fits(request.verb, str(request))), None)
            if fault is not None:
                fault.use()
                if not fault.works:
                    status, body, media_type, headers = fault.instead()
                    reply = self.error_reply(status) if body is None else Reply(status, body, media_type)
                    return Reply(reply.status, reply.body, reply.media_type, headers), fault
            try:
                reply = self.answer(request)
            except Exception:  # an error in the emulator is returned as a response, instead of closing the connection
                log.exception("%s emulator: %s", self.name, request)
                reply = self.error_reply(500)
            if request.verb != "GET" and reply.status < 300:
                self._keep()
            return reply, fault

    def _keep(self) -> None:
        if self._state is not None:
            with atomic_write(self._state) as stream:
                stream.write(json.dumps(self.snapshot(), indent=1).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], emulator: Emulator) -> None:
        self.emulator = emulator
        super().__init__(address, _Handler)

    def shutdown_request(self, request: Any) -> None:
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET)) == _RESET:
            self.close_request(request)  # without a shutdown before, so that the client receives a reset
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("%s: a connection ended early", self.emulator.name, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "mlflow-dsver-emulator"
    sys_version = ""
    disable_nagle_algorithm = True  # Nagle's algorithm would delay each request by 44 ms
    timeout = 60
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name of the base class)
        log.debug("%s %s", self.server.emulator.name, one_line(format % args))

    def _serve(self) -> None:
        emulator = self.server.emulator
        request = self._request()
        if request is None:
            self.close_connection = True
            self._send(Reply(400, {"message": "the emulator cannot read this request"}))
            return
        reply, fault = emulator.take(request)
        if fault is None:
            self._send(reply)
        else:
            self._wrongly(reply, fault)

    def __getattr__(self, name: str) -> Any:
        """The vendor's code handles every method, unknown ones too; the base class looks up `do_<METHOD>`."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer malformed HTTP with the vendor's error body instead of an HTML page."""
        self.close_connection = True
        self.request_version = self.protocol_version  # else a request without a version gets no headers
        self._send(self.server.emulator.error_reply(code))

    def _request(self) -> Request | None:
        body = self._body()
        if body is None:
            return None
        address = urlsplit(self.path)
        return Request(
            verb=self.command,
            path=tuple(unquote(part) for part in address.path.strip("/").split("/")),
            query=parse_qs(address.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items() if name.lower() != "authorization"},
            body=body,
            authorization=self.headers.get("Authorization"),
        )

    def _body(self) -> bytes | None:
        """The body, by its length or in chunks; None for one that cannot be read or is too large."""
        encoding = self.headers.get("Transfer-Encoding")
        if encoding is not None:
            return _read_chunks(self.rfile) if encoding.strip().lower() == "chunked" else None
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return None
        return self.rfile.read(int(length))

    def _send(self, reply: Reply, *, length: int | None = None, encoding: str | None = None) -> bytes:
        """Send status, headers and, unless another length is claimed, the body; return the body."""
        body = reply.encoded()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media_type)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        if length is None or length >= 0:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if length is None and self.command != "HEAD":
            self.wfile.write(body)
        return body

    def _wrongly(self, reply: Reply, fault: Fault) -> None:
        pause = self.server.emulator.stopping.wait
        match fault.kind:
            case "slow":
                pause(fault.seconds)
                self._send(reply)
            case "hang":
                pause(fault.seconds)
                self.close_connection = True
            case "drip":
                for byte in self._send(reply, length=len(reply.encoded())):
                    if pause(fault.seconds):
                        return
                    self.wfile.write(bytes([byte]))
            case "drip-headers":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                while not pause(fault.seconds):
                    self.wfile.write(b"x")
            case "cut" | "cut-unsaid":
                length = len(reply.encoded()) if fault.kind == "cut" else -1
                body = self._send(reply, length=length)
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            case "lost":
                self.close_connection = True
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.close_connection = True
            case "bomb":
                self._send(reply, encoding="gzip")
            case _:
                self._send(reply)


def _read_chunks(stream: BufferedIOBase) -> bytes | None:
    """A body in chunks, put together; None for one that is malformed, cut or too large."""
    pieces: list[bytes] = []
    total = 0
    while True:
        size = stream.readline(1000).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            return None
        length = int(size, 16)
        total += length
        if total > MAX_BODY:
            return None
        if length == 0:
            break
        piece = stream.read(length)
        if len(piece) != length or stream.readline(1000).strip():
            return None
        pieces.append(piece)
    while stream.readline(1000).strip():
        pass  # trailers are ignored
    return b"".join(pieces)
