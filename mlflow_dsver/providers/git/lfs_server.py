"""Fetches files of git-LFS from the server of a repository, by its batch API (git-lfs, docs/api/batch.md).

The server is asked at `<repository>.git/info/lfs` without a login. It answers with an address for each file, which is
not trusted: it is followed as `providers.http.downloads` allows, the bytes are bounded by the recorded size, and kept
in the cache only when they have the recorded SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow_dsver import settings
from mlflow_dsver.deadlines import bounded
from mlflow_dsver.errors import (
    AuthenticationFailed,
    CorruptObject,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    UnexpectedResponse,
    Unsupported,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.git.lfs import Pointer
from mlflow_dsver.providers.http.answers import NoResponse, ask, open_client
from mlflow_dsver.providers.http.downloads import Signing, download, no_key
from mlflow_dsver.providers.http.wire import is_loopback
from mlflow_dsver.secrets import Secret
from mlflow_dsver.text import one_line

MEDIA_TYPE = "application/vnd.git-lfs+json"
MAX_ANSWER = 1 << 20
FETCH_SECONDS = 3600.0
"""Time limit of one file."""

_LOCKS = [threading.Lock() for _ in range(64)]
"""By the first digits of a file's SHA-256: several threads want parts of one file at the same time."""


def cached_path(sha256: str) -> Path:
    """Where a file that was fetched is kept."""
    return settings.home() / "cache" / "git-lfs" / sha256[:2] / sha256


def fetch(address: str, pointer: Pointer, ref: DatasetRef) -> Path:
    """A file in the cache, fetched unless it is there. address: of the repository. Raises the errors of the server.

    Also CorruptObject for other bytes.
    """
    target = cached_path(pointer.sha256)
    with _LOCKS[int(pointer.sha256[:2], 16) % len(_LOCKS)]:
        if not target.is_file():
            href, signing = where(address, pointer, ref)
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name[:16]}.{secrets.token_hex(6)}.tmp")
            try:
                with beside.open("wb") as stream:
                    download(
                        href, stream, provider="git", operation="fetch a file of git-LFS", reference=ref,
                        max_bytes=pointer.size, deadline=bounded(FETCH_SECONDS), signing=signing,
                        local=is_loopback(urlsplit(address).hostname or ""),
                    )  # fmt: skip
                _check(beside, pointer, ref)
                beside.rename(target)
            finally:
                beside.unlink(missing_ok=True)
    return target


def where(address: str, pointer: Pointer, ref: DatasetRef) -> tuple[str, Signing]:
    """The address of a file, and the key for it. Raises NotFound when the server does not have it."""
    url = f"{address.removesuffix('.git')}.git/info/lfs/objects/batch"
    wanted = {"oid": pointer.sha256, "size": pointer.size}
    body = json.dumps({"operation": "download", "transfers": ["basic"], "objects": [wanted]}).encode()
    parts: dict[str, Any] = {"provider": "git", "operation": "ask for a file of git-LFS", "reference": ref}
    seconds = bounded(settings.provider_timeout()).left()
    headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
    try:
        answer = ask(open_client(address, 1), "POST", url, lambda: headers, body, seconds=seconds, limit=MAX_ANSWER)
    except NoResponse as error:
        raise ProviderUnavailable("the server of git-LFS does not answer", got=str(error), **parts) from error
    if answer.status in (401, 403):
        refused = AuthenticationFailed if answer.status == 401 else PermissionDenied
        raise refused("git-LFS wants a login", status=answer.status, tip="git lfs fetch in a checkout", **parts)
    if answer.status != 200:
        what = "the repository has no server of git-LFS that answers"
        raise (NotFound if answer.status == 404 else ProviderUnavailable)(what, status=answer.status, **parts)
    try:
        (found,) = json.loads(answer.body)["objects"]
        if "error" in found:
            said = one_line(found["error"].get("message", ""), 200)
            raise NotFound(f"git-LFS does not have the file {pointer.sha256[:12]}…", got=said, **parts)
        action = found["actions"]["download"]
        href, sent = action["href"], action.get("header") or {}
        host = urlsplit(href).netloc.rpartition("@")[2]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnexpectedResponse("not an answer of git-LFS", got=one_line(error, 100), **parts) from error
    return href, _signing(host, sent, ref)


def _signing(host: str, headers: Mapping[str, str], ref: DatasetRef) -> Signing:
    """The key that the server gave for this host, and for no other."""
    others = {name for name in headers if name.lower() != "authorization"}
    value = next((str(value) for name, value in headers.items() if name.lower() == "authorization"), "")
    if others:
        raise Unsupported(
            "git-LFS asks for headers that are not sent here",
            provider="git", operation="fetch a file of git-LFS", reference=ref, got=", ".join(sorted(others))[:200],
            tip="git lfs fetch in a checkout",
        )  # fmt: skip
    scheme, _, key = value.partition(" ")
    return (lambda asked: (scheme, Secret(key)) if asked == host else None) if key else no_key


def _check(path: Path, pointer: Pointer, ref: DatasetRef) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != pointer.sha256:
        raise CorruptObject(
            "the server of git-LFS sent other bytes",
            reference=ref,
            expected=f"sha256:{pointer.sha256}",
            got=f"sha256:{found}",
            done="Nothing was kept",
        )
