"""Object stores on loopback for the tests: moto for Amazon S3, as a process of its own.

moto differs from AWS in what matters here: it lists versions and delete markers apart from each other instead of in
one order, gives an object the checksum that its writer asked for and no CRC64NVME by default, answers a missing
version with NoSuchVersion only for GET, and never throttles. Nothing here was compared with the cloud itself.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY_ID, SECRET = "object-key-id-0123456789", "object-secret-0123456789"


@dataclass
class Bucket:
    """A bucket of a server, new for a test. client: boto3's."""

    name: str
    endpoint: str
    client: Any = field(repr=False)

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{address}/moto-api/data.json", process)
        yield address
    finally:
        process.kill()
        process.wait()


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
    return Bucket(name, endpoint, client)


@contextmanager
def throttled(endpoint: str, *, first: int) -> Iterator[tuple[str, list[int]]]:
    """A proxy of a server that answers its first requests with 503 SlowDown; its address, and what it answered."""
    answered: list[int] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                refused = len(answered) < first
                status = 503 if refused else 0
                answered.append(status)
                number = len(answered) - 1
            headers: list[tuple[str, str]] = [("Content-Type", "application/xml")]
            content = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            if not refused:
                status, headers, content = _forwarded(endpoint, self.command, self.path, dict(self.headers), body)
                answered[number] = status
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", answered
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _forwarded(
    endpoint: str, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body=body or None, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


def _wait(address: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                json.load(answer)
                return
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.1)
    raise RuntimeError(f"no server at {address}")
