"""What is known of the provider `hf` without importing it: references, their spellings, hooks and the emulator.

A reference is `hf://datasets/owner/name@revision` for a dataset, `hf://owner/name@revision` for a model, and
`hf://spaces/owner/name@revision` for a space. Names behind the repository's are a folder or file in it, or a pattern
of files. Spellings that mean the same: `hf://models/owner/name`, a revision in the middle as fsspec writes it
(`hf://datasets/owner/name@revision/folder`), and addresses of the Hub's pages.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.plugins import ProviderInfo

NAME = "hf"
COMMIT = re.compile(r"[0-9a-f]{40}\Z")
"""A commit id, the only thing that names a version for ever."""
MAIN = "main"
KINDS = {"datasets": "datasets/", "spaces": "spaces/", "models": ""}
"""The kinds of repositories, as in addresses of the API, and what stands before the name in a page's address."""

_OTHER_KINDS = ("buckets", "kernels")
_SPECIAL = re.compile(r"(refs/(?:pr/[0-9]+|convert/[\w.-]+))(?:/(.+))?\Z", re.ASCII)
_SHORTHAND = re.compile(r"~([\w.-]+)((?:/.+)?)\Z", re.ASCII)
_MIDDLE = re.compile(r"([0-9a-f]{40}|main)/(.+)\Z")
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_NO_OWNERS = frozenset({
    "api", "blog", "chat", "collections", "docs", "enterprise", "join", "languages", "learn", "login", "metrics",
    "new", "organizations", "papers", "posts", "pricing", "search", "settings", "tasks",
})  # fmt: skip
"""Pages of the Hub's site that stand where a model's owner would."""
_ROUTES = ("tree", "blob", "resolve", "raw", "blame")


class Place(NamedTuple):
    """A repository, or a folder or file in it. kind: of KINDS. repo: `owner/name`, or an old name without owner.

    path: below the repository's root; empty for the whole repository.
    """

    kind: str
    repo: str
    path: str = ""

    @property
    def dataset(self) -> str:
        """The name in a canonical reference."""
        return "/".join(part for part in (KINDS[self.kind].rstrip("/"), self.repo, self.path) if part)

    @property
    def whole(self) -> Place:
        """The repository."""
        return Place(self.kind, self.repo)


def place_of(dataset: str) -> Place:
    """The place that a reference's name means. Raises InvalidReference for one that is no repository's."""
    kind, _, rest = dataset.partition("/")
    if kind in _OTHER_KINDS:
        raise InvalidReference(
            f"{kind} of the Hub have no versions here", got=dataset[:80], expected="a dataset, model or space"
        )
    if kind not in KINDS:
        kind, rest = "models", dataset
    owner, _, rest = rest.partition("/")
    if not owner:
        raise InvalidReference(
            "names no repository", got=dataset[:80], expected="hf://datasets/owner/name or hf://owner/name"
        )
    name, _, path = rest.partition("/")
    return Place(kind, f"{owner}/{name}" if name else owner, path)


def normalised(dataset: str, selector: str | None) -> tuple[Place, str | None]:
    """The place and revision that a name and selector mean, with a path behind the revision moved to its place.

    It is moved where the revision cannot be a branch with slashes in its name: behind a commit, `main` (git allows
    no `main/x` beside it) and `refs/pr/N` or `refs/convert/name`, which DuckDB and Polars write as `~name`.
    """
    place = place_of(dataset)
    if selector is None:
        return place, None
    selector = _SHORTHAND.sub(r"refs/convert/\1\2", selector)
    found = _SPECIAL.match(selector) or _MIDDLE.match(selector)
    if found is None or not found[2]:
        return place, selector
    return _below(place, found[2]), found[1]


def spelling(text: str) -> tuple[str, str | None] | None:
    """The reference that fsspec's notation or the address of a page means; None for other texts."""
    scheme, separator, body = text.partition("://")
    if not separator:
        return None
    if scheme.lower() in ("http", "https"):
        return _from_page(body)
    if scheme.lower() != NAME:
        return None
    dataset, at, rest = body.rstrip("/").partition("@")
    revision, slash, path = rest.partition("/")
    if at and "%2f" in revision.lower() and slash:  # fsspec: the whole revision is one quoted segment
        place = _below(place_of(_decoded(dataset)), _decoded(path))
        return _quoted(place.dataset), revision.replace("%2F", "/").replace("%2f", "/")
    place, selector = normalised(_decoded(dataset), _decoded(rest) if at else None)
    return _quoted(place.dataset), None if selector is None else quote(selector, safe="/")


def _below(place: Place, path: str) -> Place:
    if "/" not in place.repo:
        raise InvalidReference(
            "a folder of a repository without an owner cannot be written",
            got=f"{place.dataset}/{path}"[:80],
            tip="the repository's full name, owner/name, as its page has it",
        )
    return place._replace(path=f"{place.path}/{path}".strip("/"))


def _from_page(body: str) -> tuple[str, str | None] | None:
    """The reference of a page such as `huggingface.co/datasets/owner/name/tree/main/data`; None for other pages."""
    parts = urlsplit(f"//{body}")
    if (parts.hostname or "").lower() not in _HOSTS:
        return None
    segments = [segment for segment in parts.path.split("/") if segment]
    kind = segments.pop(0) if segments and segments[0] in KINDS else "models"
    if not segments or segments[0] in _NO_OWNERS:
        return None
    if len(segments) == 2:
        return _quoted(Place(kind, _decoded("/".join(segments))).dataset), None
    if len(segments) < 4 or segments[2] not in (*_ROUTES, "commit"):
        return None
    rest = _decoded("/".join(segments[3:]))
    found = _SPECIAL.match(rest)
    revision, _, path = (found[1], "", found[2] or "") if found else rest.partition("/")
    place = Place(kind, _decoded("/".join(segments[:2])), path)
    return _quoted(place.dataset), quote(revision, safe="/")


def _decoded(text: str) -> str:
    return unquote(text, errors="replace")


def _quoted(text: str) -> str:
    return quote(text, safe="/")


INFO = ProviderInfo(
    title="Hugging Face",
    spelling=spelling,
    slashes_in_selectors=True,
    emulator="mlflow_dsver.providers.hf.emulator:HfEmulator",
    folder_reference="mlflow_dsver.providers.hf.folders:reference_of",
    recorded_sources={"hugging_face": "mlflow_dsver.providers.hf.recorded:from_mlflow"},
)
