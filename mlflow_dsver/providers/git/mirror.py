"""Repositories of other machines, mirrored in the cache: cloned once, and brought up to date when something is asked.

A commit counts as there only while a branch or tag of the other repository leads to it: the mirror would go on having
what was taken out of the history there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.content.file_locks import wait_for_lock
from mlflow_dsver.errors import AuthenticationFailed, NotFound, ProviderUnavailable
from mlflow_dsver.providers.git.places import Place
from mlflow_dsver.providers.git.repository import GitFailed, Repository

CLONE_SECONDS, FETCH_SECONDS = 1800.0, 300.0
"""Time limits of git for a whole repository, and for what is new."""
FRESH_SECONDS = 30.0
"""How long a process takes a mirror for up to date."""

_fetched: dict[Path, float] = {}


def mirror_of(place: Place) -> Repository:
    """The mirror of a repository, up to date. Raises NotFound, AuthenticationFailed and ProviderUnavailable."""
    folder = settings.home() / "cache" / "git" / f"{hashlib.sha256(place.address.encode()).hexdigest()[:32]}.git"
    folder.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not wait_for_lock(descriptor, CLONE_SECONDS):
            raise ProviderUnavailable(
                "another process is fetching this repository", provider="git", got=place.address
            )
        if not (folder / "HEAD").is_file():
            _clone(place, folder)
        elif time.monotonic() - _fetched.get(folder, -FRESH_SECONDS) >= FRESH_SECONDS:
            _fetch(place, folder)
        _fetched[folder] = time.monotonic()
    finally:
        os.close(descriptor)
    return Repository(folder)


def has_ref_to(mirror: Repository, commit_id: str) -> bool:
    """Whether a branch or tag leads to a commit that the mirror has."""
    return bool(mirror.run("for-each-ref", "--count=1", f"--contains={commit_id}", "refs/heads", "refs/tags").strip())


def _clone(place: Place, folder: Path) -> None:
    beside = folder.with_suffix(".part")
    shutil.rmtree(beside, ignore_errors=True)
    arguments = ("clone", "--quiet", "--mirror", "--end-of-options", place.address, str(beside))
    try:
        Repository(folder.parent).run(*arguments, seconds=CLONE_SECONDS)
    except GitFailed as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise _meaning(place, error) from error
    beside.rename(folder)


def _fetch(place: Place, folder: Path) -> None:
    try:
        Repository(folder).run("fetch", "--quiet", "--prune", "--force", "origin", seconds=FETCH_SECONDS)
    except GitFailed as error:
        raise _meaning(place, error) from error


def _meaning(place: Place, error: GitFailed) -> Exception:
    said = str(error.got or "").lower()
    parts: dict[str, Any] = {
        "provider": "git",
        "operation": "fetch the repository",
        "reference": place.address,
        "got": error.got,
    }
    if "not found" in said or "does not exist" in said:
        return NotFound("there is no such repository, or it may not be seen", **parts)
    if "could not read username" in said or "authentication failed" in said or "403" in said:
        return AuthenticationFailed("the repository wants a login", tip="a credential helper of git", **parts)
    return ProviderUnavailable("the repository could not be fetched", **parts)
