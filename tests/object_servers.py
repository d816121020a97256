"""Object stores on loopback for the tests: moto for Amazon S3, as a process of its own.

moto differs from AWS in what matters here: it lists versions and delete markers apart from each other instead of in
one order, gives an object the checksum that its writer asked for and no CRC64NVME by default, answers a missing
version with NoSuchVersion only for GET, and never throttles. Nothing here was compared with the cloud itself.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
