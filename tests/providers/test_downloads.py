"""Downloads from addresses that a provider hands out: which are followed, who gets the key, and what bounds them."""

from __future__ import annotations

import io
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import AuthenticationFailed, NotFound, ProviderError, ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.providers.http.downloads import download
from mlflow_dsver.secrets import Secret

KEY = "download-secret-0123456789"


class Server:
    """Answers each request with the bytes that `answers` has for its path; remembers the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Callable[[socket.socket], None]] = {}
        self.requests: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = connection.recv(65536).decode()
                self.requests.append(request)
                answer = self.answers[request.split()[1]]
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)
            except OSError:
                pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.listener.close()


def ok(body: bytes, kind: str = "application/zip") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def fetch(address: str, seconds: float = 10, **more: Any) -> tuple[str, bytes]:
    target = io.BytesIO()
    arguments = {"max_bytes": 1000, "local": True, **more}
    kind = download(address, target, provider="p", operation="fetch", deadline=Deadline(seconds), **arguments)
    return kind, target.getvalue()


def test_data_and_its_type(server: Server) -> None:
    """No key by default, our own User-Agent, nothing packed."""
    server.answers["/a"] = ok(b"data", "Application/ZIP; x=y")
    assert fetch(f"http://{server.host}/a") == ("application/zip", b"data")
    request = server.requests[0].lower()
    assert "authorization" not in request
    assert "user-agent: mlflow-dsver/" in request
    assert "accept-encoding: identity" in request


def test_key_goes_where_the_rule_says_and_not_along_a_redirect(server: Server) -> None:
    """Each hop is asked about anew."""
    other = Server()
    server.answers["/a"] = redirect(f"http://{other.host}/b")
    other.answers["/b"] = ok(b"data")
    asked: list[str] = []

    def signing(host: str) -> tuple[str, Secret] | None:
        asked.append(host)
        return ("Key", Secret(KEY)) if host == server.host else None

    assert fetch(f"http://{server.host}/a", signing=signing)[1] == b"data"
    assert asked == [server.host, other.host]
    assert f"Authorization: Key {KEY}" in server.requests[0]
    assert KEY not in other.requests[0]
    other.listener.close()


def test_redirects_end(server: Server) -> None:
    server.answers["/a"] = redirect("/a")
    with pytest.raises(UnexpectedResponse, match="3 redirects"):
        fetch(f"http://{server.host}/a")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "http://[", "ftp://127.0.0.1/x", "http://10.0.0.1/", "gopher://x"]
)
def test_redirect_is_judged_like_the_first_address(server: Server, to: str) -> None:
    server.answers["/a"] = redirect(to)
    with pytest.raises(UnexpectedResponse, match="address of the data"):
        fetch(f"http://{server.host}/a")


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://10.1.2.3/x",
        "https://192.168.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://user:geheim@example.org/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/\n",
        "file:///etc/passwd",
        "https://[",
        "data.clarifai.com/x",
        "",
    ],
)
def test_addresses_that_are_not_followed(address: str) -> None:
    """Nothing but https to public numbers, unless the service itself is on this machine; the rest is never asked."""
    with pytest.raises(UnexpectedResponse, match="address of the data") as caught:
        fetch(address, local=False)
    assert "geheim" not in str(caught.value)


class Names:
    """A name server in place of the system's: name to its answers, one after another, the last for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): list(numbers) for name, numbers in answers.items()}
        self.asked: list[str] = []
        self.connected: list[str] = []
        self.elsewhere: tuple[str, int] | None = None
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)
        monkeypatch.setattr(socket, "socket", self._socket_class())

    def _look_up(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host in self.answers:
            self.asked.append(host)
            answers = self.answers[host]
            host = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    def _socket_class(self) -> type[socket.socket]:
        names = self

        class Socket(socket.socket):
            def connect(self, address: Any) -> None:
                names.connected.append(address[0])
                if names.elsewhere is None:
                    raise ConnectionRefusedError("nobody is there")
                super().connect(names.elsewhere)

        return Socket


def test_connection_goes_to_the_number_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means another host at the second look-up (DNS rebinding) is looked up once."""
    names = Names(monkeypatch, data_example=["93.184.215.14", "127.0.0.1"])
    with pytest.raises(ProviderUnavailable, match=r"no data from data\.example"):
        fetch("https://data.example/x", local=False)
    assert names.asked == ["data.example"]
    assert names.connected == ["93.184.215.14"]


@pytest.mark.parametrize("number", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"])
def test_a_name_of_a_private_number_is_not_connected_to(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    names = Names(monkeypatch, data_example=[number])
    with pytest.raises(UnexpectedResponse, match="in a private network"):
        fetch("https://data.example/x", local=False)
    assert names.connected == []


def test_a_redirect_to_a_name_of_a_private_number_is_not_connected_to(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["/a"] = redirect("https://data.example/x")
    names = Names(monkeypatch, data_example=["10.0.0.1"])
    names.elsewhere = ("127.0.0.1", int(server.host.rpartition(":")[2]))
    with pytest.raises(UnexpectedResponse, match="in a private network"):
        fetch(f"http://{server.host}/a")
    assert names.connected == ["127.0.0.1"]


def test_behind_a_proxy_a_private_name_is_refused_and_the_rest_is_the_proxys(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is asked for the host by its name; a name that nobody here knows may be known to it."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://{server.host}")
    server.answers["data.example:443"] = b"HTTP/1.1 403 no\r\n\r\n"
    names = Names(monkeypatch, data_example=["93.184.215.14"], inner_example=["10.0.0.1"])
    names.elsewhere = ("127.0.0.1", int(server.host.rpartition(":")[2]))
    with pytest.raises(UnexpectedResponse, match="in a private network"):
        fetch("https://inner.example/x", local=False)
    assert server.requests == []
    with pytest.raises(ProviderUnavailable):
        fetch("https://data.example/x", local=False)
    assert server.requests[0].startswith("CONNECT data.example:443 ")


def test_the_certificate_is_that_of_the_name_and_not_of_the_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The name is sent in SNI and in Host, and a certificate of another name is refused."""
    certificate = self_signed(tmp_path, "data.example")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    sent, listener = tls_server(certificate)
    names = Names(monkeypatch, data_example=["93.184.215.14"], other_example=["93.184.215.14"])
    names.elsewhere = listener.getsockname()
    assert fetch("https://data.example/x", local=False)[1] == b"data"
    assert sent["sni"] == "data.example"
    assert "Host: data.example\r\n" in sent["request"]
    with pytest.raises(ProviderUnavailable, match="certificate"):
        fetch("https://other.example/x", local=False)
    listener.close()


def self_signed(folder: Path, name: str) -> Path:
    """A file with a new key and a certificate for a name, good for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def tls_server(certificate: Path) -> tuple[dict[str, str], socket.socket]:
    """A server on loopback that answers `data` to whoever accepts its certificate, and what it was sent."""
    sent: dict[str, str] = {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda connection, name, _: sent.update(sni=name or "")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as wrapped:
                    sent["request"] = wrapped.recv(65536).decode()
                    wrapped.sendall(ok(b"data"))
            except ssl.SSLError:
                continue
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return sent, listener


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationFailed), (404, NotFound), (500, ProviderUnavailable), (418, ProviderError)],
)
def test_refusals_by_status(server: Server, status: int, kind: type[ProviderError]) -> None:
    """With their first words, in which the key is hidden, and nothing in the target."""
    server.answers["/a"] = f"HTTP/1.1 {status} No\r\nContent-Length: 40\r\n\r\nno {KEY} no              ".encode()
    target = io.BytesIO()
    with pytest.raises(kind) as caught:
        download(
            f"http://{server.host}/a",
            target,
            provider="p",
            operation="fetch",
            max_bytes=10,
            deadline=Deadline(5),
            signing=lambda host: ("Key", Secret(KEY)),
            local=True,
        )
    assert type(caught.value) is kind
    assert target.getvalue() == b""
    assert KEY not in str(caught.value)


def test_bounds_on_bytes(server: Server) -> None:
    server.answers["/a"] = ok(b"x" * 1001)
    with pytest.raises(UnexpectedResponse, match="more than 1000 bytes"):
        fetch(f"http://{server.host}/a")
    server.answers["/a"] = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001
    with pytest.raises(UnexpectedResponse, match="more than 1000 bytes"):
        fetch(f"http://{server.host}/a")


def test_bounds_on_time_and_cuts(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A drip and a cut are errors; nothing is written after the time is over; the key is in no log."""
    caplog.set_level(logging.DEBUG)

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        for _ in range(500):
            connection.sendall(b"x")
            time.sleep(0.1)

    server.answers["/a"] = drip
    target = io.BytesIO()
    with pytest.raises(ProviderUnavailable):
        download(
            f"http://{server.host}/a",
            target,
            provider="p",
            operation="fetch",
            max_bytes=1000,
            deadline=Deadline(1),
            signing=lambda host: ("Key", Secret(KEY)),
            local=True,
        )
    written = len(target.getvalue())
    time.sleep(0.3)
    assert len(target.getvalue()) == written
    server.answers["/a"] = ok(b"x" * 10)[:-3]
    with pytest.raises(ProviderUnavailable, match="IncompleteRead"):
        fetch(f"http://{server.host}/a")
    assert KEY not in caplog.text
