"""A proxy on loopback between MLflow and its server: it writes down each request, and fails when told to."""

from __future__ import annotations

import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Proxy:
    """`with Proxy(server_address) as proxy`: the address is `proxy.address`, the requests `proxy.log`.

    refused: parts of paths, such as `PUT /api/`, that are answered with 403.
    missing: paths that end so are answered as by a server that has no such endpoint.
    dead_from: the path ending from which on, once it was asked for, every connection is reset.
    hang: answers come after that many seconds. slow: path ending to seconds, for those alone.
    held: the next request whose path ends so is answered once `release` is set.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.log: list[tuple[str, str]] = []
        self.refused: tuple[str, ...] = ()
        self.missing: tuple[str, ...] = ()
        self.dead_from: str | None = None
        self.dead = False
        self.hang = 0.0
        self.slow: dict[str, float] = {}
        self.held: str | None = None
        self.release = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_any(self) -> None:
                path = self.path.partition("?")[0]
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.log.append((self.command, path))
                if proxy.dead_from and path.endswith(proxy.dead_from):
                    proxy.dead = True
                if proxy.dead:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                if proxy.held and path.endswith(proxy.held):
                    proxy.held = None
                    proxy.release.wait()
                time.sleep(proxy.hang + sum(more for end, more in proxy.slow.items() if path.endswith(end)))
                if any(part in f"{self.command} {path}" for part in proxy.refused):
                    self.answer(403, b"Forbidden", "text/plain")
                    return
                if path.endswith(proxy.missing) and proxy.missing:
                    self.answer(404, b"Not Found", "text/plain")
                    return
                self.answer(*self.forward(body))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815

            def forward(self, body: bytes) -> tuple[int, bytes, str]:
                skipped = {"host", "connection", "content-length", "accept-encoding", "transfer-encoding"}
                headers = {key: value for key, value in self.headers.items() if key.lower() not in skipped}
                request = urllib.request.Request(target + self.path, body or None, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        return answer.status, answer.read(), answer.headers.get("Content-Type", "")
                except urllib.error.HTTPError as error:
                    return error.code, error.read(), error.headers.get("Content-Type", "")

            def answer(self, status: int, body: bytes, kind: str) -> None:
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def calls(self) -> list[str]:
        """The requests, as `POST runs/create`, artifacts as `PUT artifact`.

        Without `server-info`, which MLflow 3.17 asks for once a process before its first artifact.
        """
        return [f"{verb} {_short(path)}" for verb, path in self.log if not path.endswith("/server-info")]


def _short(path: str) -> str:
    if "mlflow-artifacts/artifacts/" in path:
        return "artifact"
    return path.partition("/mlflow/")[2] or path
