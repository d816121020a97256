"""Which repository and which path in it a reference's name means; used for git and for what lies in git.

A folder of this machine is `file/` and its absolute path: `git:///home/me/repo/data` and `git://./data` are spellings
of `git://file/home/me/repo/data`. Anything else is a host: `git://github.com/owner/repo/data` is the repository
`https://github.com/owner/repo`, and a name that ends in `.git` says where a longer one ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from mlflow_dsver.errors import InvalidReference

LOCAL = "file"
_HOST = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]{1,5})?\Z|localhost(?::[0-9]{1,5})?\Z")
_SCP = re.compile(r"(?:[\w.-]+@)?([\w.-]+\.[\w-]+):(?!//)(.+)\Z")
"""`git@github.com:owner/repo.git`"""


class Place(NamedTuple):
    """What a reference's name means. folder: the absolute path; None for another machine's repository.

    host: with its port; empty for a folder. repository: its path at the host. path: below the repository; for a
    folder it is not known before the repository is looked for.
    """

    folder: str | None
    host: str = ""
    repository: str = ""
    path: str = ""

    @property
    def address(self) -> str:
        """The https address of a repository of another machine."""
        scheme = "http" if self.host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
        return f"{scheme}://{self.host}/{quote(self.repository)}"


def place_of(dataset: str) -> Place:
    """The place that a name means. Raises InvalidReference for one that is none."""
    first, _, rest = dataset.partition("/")
    if first == LOCAL and rest:
        return Place(f"/{rest}")
    if _HOST.match(first) and rest:
        names = rest.split("/")
        marked = next((number for number, name in enumerate(names, 1) if name.endswith(".git")), None)
        end = marked or 2
        if marked or len(names) >= end:
            return Place(None, first, "/".join(names[:end]), "/".join(names[end:]))
    raise InvalidReference(
        "names no repository",
        got=dataset[:120],
        expected="file/absolute/path, or host/owner/repository[/path]",
        tip="a path that begins with / or ./ for a folder of this machine",
    )


def spelling_of(provider: str) -> Callable[[str], tuple[str, str | None] | None]:
    """The notation of a provider whose datasets lie in git: a folder, or an address, behind its scheme."""

    def spelling(text: str) -> tuple[str, str | None] | None:
        scheme, separator, body = text.partition("://")
        return spelled(body) if separator and scheme.lower() == provider else None

    return spelling


def spelled(body: str) -> tuple[str, str | None] | None:
    """The name and selector that a notation of people means, after the scheme; None for one that is canonical."""
    address, selector = _split(body)
    if address.startswith(("/", "./", "../", "~/")) or address in (".", "..", "~"):
        return folder_name(address), selector
    scheme, separator, rest = address.partition("://")
    if separator and scheme in ("https", "http", "ssh", "git", "file"):
        if scheme == "file":
            return folder_name(rest), selector
        parts = urlsplit(address)
        return f"{_without_user(parts.netloc)}{parts.path}".rstrip("/"), selector
    found = _SCP.match(address)
    if found:
        return f"{found[1]}/{found[2].lstrip('/')}", selector
    return None


def folder_name(path: str) -> str:
    """The name of a folder or file of this machine, with `%` as it must be in a reference."""
    absolute = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111  (a text, which need not exist)
    return "/".join([LOCAL, *(quote(part, safe="") for part in absolute.split("/") if part)])


def _split(body: str) -> tuple[str, str | None]:
    """The address and the selector behind the last `@` that is not the user's of an address."""
    address, at, selector = body.rpartition("@")
    if not at or ":" in selector or "://" in selector:
        return body, None
    if "://" in address and "/" not in address.partition("://")[2]:
        return body, None
    return address, selector or None


def _without_user(netloc: str) -> str:
    return netloc.rpartition("@")[2]
