"""Legal holds of Amazon S3: while one is on, S3 deletes the object version for nobody, lifecycle rules included.

They need a bucket with Object Lock. A hold that was on before ours is somebody else's and is never taken away, nor is
one that another held snapshot of the same bucket needs.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlflow_dsver.content.progress import Progress
from mlflow_dsver.errors import DsverError, NotFound, UnexpectedResponse, Unsupported
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.buckets.s3_requests import AT_ONCE, S3Requests, parse_xml, requests_of
from mlflow_dsver.providers.buckets.snapshots import key_of

_BODY = '<LegalHold xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>{}</Status></LegalHold>'
Result = TypeVar("Result")
ObjectVersion = tuple[str, str]
"""A key and a version id."""


def put(place: Location, manifest: Manifest, ours: frozenset[ObjectVersion], progress: Progress) -> list[str]:
    """Hold all object versions of a snapshot; returns the paths of those that somebody else holds already.

    ours: object versions that other snapshots hold already. Raises Unsupported where the bucket has no Object Lock or
    no versions, NotFound for an object version that is gone.
    """
    client = requests_of(place)
    _check_lock(client)
    if any(version is None for _, version in _objects(place, manifest)):
        raise Unsupported(
            "objects without a version id cannot be held", provider="s3", operation="hold", reference=place.uri
        )

    def hold(entry: FileEntry) -> str | None:
        key, version = _object(place, manifest, entry)
        if (key, version) in ours:
            return None
        if is_held(client, key, version):
            return entry.path
        _set(client, key, version, "ON")
        return None

    return [path for path in _each(hold, manifest, progress) if path is not None]


def remove(
    place: Location, manifest: Manifest, keep: frozenset[ObjectVersion], foreign: Iterable[str], progress: Progress
) -> None:
    """Take our holds away. keep: object versions that other snapshots hold. foreign: paths that are not ours."""
    client, others = requests_of(place), set(foreign)

    def release(entry: FileEntry) -> None:
        key, version = _object(place, manifest, entry)
        if entry.path not in others and (key, version) not in keep:
            try:
                _set(client, key, version, "OFF")
            except NotFound:
                return  # it is gone: there is nothing to release

    for _ in _each(release, manifest, progress):
        pass


def objects_of(place: Location, manifest: Manifest) -> frozenset[ObjectVersion]:
    """The object versions of a snapshot."""
    return frozenset((key, version) for key, version in _objects(place, manifest) if version is not None)


def is_held(client: S3Requests, key: str, version: str) -> bool:
    """Whether an object version has a legal hold."""
    try:
        answer = client.get(key, {"legal-hold": "", "versionId": version}, operation="read the legal hold")
    except (NotFound, UnexpectedResponse):  # NoSuchObjectLockConfiguration: it has never had one
        return False
    root = parse_xml(answer.body, client.place)
    return any(each.tag.endswith("Status") and (each.text or "").strip() == "ON" for each in root.iter())


def _check_lock(client: S3Requests) -> None:
    tip = "a new bucket with Object Lock (aws s3api create-bucket --object-lock-enabled-for-bucket)"
    try:
        answer = client.get(query={"object-lock": ""}, operation="ask for Object Lock")
        enabled = b"<ObjectLockEnabled>Enabled<" in answer.body
    except NotFound:
        enabled = False
    if not enabled:
        raise Unsupported(
            "the bucket has no Object Lock, without which S3 holds nothing",
            provider="s3",
            operation="hold",
            reference=client.place.uri,
            done="Nothing was held",
            tip=tip,
        )


def _set(client: S3Requests, key: str, version: str, status: str) -> None:
    body = _BODY.format(status).encode()
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    query = {"legal-hold": "", "versionId": version}
    client.request("PUT", key, query, headers={"Content-MD5": digest}, body=body, operation="set the legal hold")


def _each(work: Callable[[FileEntry], Result], manifest: Manifest, progress: Progress) -> Iterator[Result]:
    progress.total(len(manifest), None)
    with ThreadPoolExecutor(2 * AT_ONCE, "mlflow-dsver-hold") as pool:
        for result in pool.map(work, manifest.entries):
            progress.advance(1, 0)
            yield result


def _objects(place: Location, manifest: Manifest) -> Iterable[tuple[str, str | None]]:
    for entry in manifest.entries:
        yield key_of(place, manifest, entry.path), entry.evidence.version if entry.evidence else None


def _object(place: Location, manifest: Manifest, entry: FileEntry) -> ObjectVersion:
    version = entry.evidence.version if entry.evidence else None
    if version is None:
        raise DsverError("an object without a version id", reference=place.uri)
    return key_of(place, manifest, entry.path), version
