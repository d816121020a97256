"""Takes a snapshot of a prefix: which objects are there at one moment, and what the store says of each.

The result is a manifest of schema 2. Object keys become paths below the prefix; a prefix that is the key of one
object becomes a manifest of one file. Keys that cannot be paths of files are refused by name instead of left out,
since a snapshot that silently lacks objects would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from mlflow_dsver._version import __version__
from mlflow_dsver.content.patterns import Rules, test_of
from mlflow_dsver.errors import ContentError, InvalidArgument
from mlflow_dsver.model.evidence import MAX_TEXT, STRONG, FileEvidence
from mlflow_dsver.model.manifests import MAX_SIZE, FileEntry, InvalidManifest, Manifest, check_path, gc_paused
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.model.versions import Grade
from mlflow_dsver.providers.buckets.catalog import OWN_FILES
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.buckets.objects import Listing, ObjectState
from mlflow_dsver.text import one_line

TITLES = {"s3": "S3", "gs": "GCS", "az": "Azure"}
_WORDS = {"sha256": "SHA-256", "sha512": "SHA-512", "blake3": "BLAKE3"}


def manifest_of(location: Location, listing: Listing, rules: Rules) -> Manifest:
    """The manifest of a listing. Raises ContentError when there is no object, or for a key that cannot be a path."""
    included, excluded = test_of(rules.include), test_of(rules.exclude)
    states: dict[str, ObjectState] = {}
    with gc_paused():
        for path, state in _paths(location, listing.objects):
            if (excluded is not None and excluded(path)) or (included is not None and not included(path)):
                continue
            _check(location, path, state, states)
            states[path] = state
        entries = tuple(_entry(path, states[path]) for path in sorted(states))
    if not entries:
        raise ContentError(
            "there is no object",
            reference=location.uri,
            expected="objects below this prefix" + (" that the patterns include" if rules != Rules() else ""),
            done="No snapshot was taken",
        )
    _check_folders(location, entries)
    made: dict[str, Any] = {
        "by": f"mlflow-dsver {__version__}",
        "uri": location.uri,
        "keys": "object" if all(each.key == location.prefix for each in states.values()) else "prefix",
        "listed": listing.source,
        "moment": None if listing.moment is None else date_text(listing.moment),
        "keeps_versions": listing.keeps_versions,
        **_written_meanwhile(listing, states.values()),
        "include": list(rules.include),
        "exclude": list(rules.exclude),
    }
    return Manifest(entries, made)


def grade_of(location: Location, manifest: Manifest, keeps_versions: bool | None) -> Grade:
    """B when the store has a version id of every object and keeps versions, else C; notes say what it rests on."""
    evidence, name = [entry.evidence or FileEvidence() for entry in manifest.entries], TITLES[location.provider]
    kept = keeps_versions is not False if location.provider == "s3" else keeps_versions is True
    common = set[str](STRONG)
    for each in evidence:
        common.intersection_update(found.algorithm for found in each.checksums if found.extent == "full")
    strong = [algorithm for algorithm in STRONG if algorithm in common]
    notes = [f"{_WORDS.get(strong[0], strong[0])} by {name}"] if strong else []
    if kept and all(each.version is not None for each in evidence):
        return Grade("B", (f"immutable by {name} {'generation' if name == 'GCS' else 'version id'}", *notes))
    why = "the bucket keeps no versions" if not kept else "some objects have no version id"
    if keeps_versions is None and not kept:
        why = "the bucket does not tell whether it keeps versions"
    return Grade("C", (why, *notes))


def key_of(location: Location, manifest: Manifest, path: str) -> str:
    """The key of the object that a manifest has under a path."""
    return location.prefix if manifest.made.get("keys") == "object" else location.key(path)


def date_text(moment: datetime) -> str:
    """The date as manifests have it: `2026-12-01T06:00:00Z`, with the fraction that the store gave."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="auto")
    return f"{text}Z"


def _written_meanwhile(listing: Listing, states: Iterable[ObjectState]) -> dict[str, int]:
    """How many objects are newer than the listing's moment, where it has no versions to choose from."""
    moment = listing.moment
    count = 0 if moment is None else sum(state.modified.replace(microsecond=0) > moment for state in states)
    return {"written_meanwhile": count} if count else {}


def _paths(location: Location, objects: Iterable[ObjectState]) -> Iterator[tuple[str, ObjectState]]:
    """Objects with their paths, without folder markers and what this package keeps beside the data."""
    below = location.key("")
    for state in objects:
        if state.key == location.prefix:
            yield _name(location), state
            continue
        if not state.key.startswith(below):
            continue
        path = state.key[len(below) :]
        if (path.endswith("/") or not path) and state.size == 0:
            continue
        if not OWN_FILES.search(path):
            yield path, state


def _name(location: Location) -> str:
    return location.prefix.rpartition("/")[2]


def _check(location: Location, path: str, state: ObjectState, known: Mapping[str, ObjectState]) -> None:
    try:
        check_path(path)
    except InvalidManifest as error:
        raise _unusable(location, state.key, "is no path of a file") from error
    if path in known:
        raise _unusable(location, state.key, "comes twice in the listing, or an object has the prefix's own name")
    if not 0 <= state.size < MAX_SIZE:
        raise _unusable(location, state.key, "has a size that no object has")


def _check_folders(location: Location, entries: tuple[FileEntry, ...]) -> None:
    """Refuse an object whose key is also the folder of others: a file system cannot have both."""
    paths = {entry.path for entry in entries}
    for entry in entries:
        folder = entry.path
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if folder in paths:
                raise _unusable(location, location.key(folder), "is an object, and a folder of other objects")


def _unusable(location: Location, key: str, why: str) -> ContentError:
    return ContentError(
        f"the key {one_line(key, 200)} {why}",
        reference=location.uri,
        expected="keys that can be paths of files",
        done="No snapshot was taken",
        tip="an exclude pattern for this key",
        paths=(key,),
    )


def _entry(path: str, state: ObjectState) -> FileEntry:
    etag = None if state.etag is None else _text(state.etag.strip('"'))
    evidence = FileEvidence(state.checksums, _text(state.version), etag, date_text(state.modified))
    return file_entry(path, state.size, evidence)


def _text(value: str | None) -> str | None:
    """A version id or ETag that a manifest can hold; None for any other, which then proves nothing."""
    return value if value and len(value) <= MAX_TEXT and value.isprintable() else None


def patterns(text: str | None) -> tuple[str, ...]:
    """Patterns with commas between them, as an option of a new version has them."""
    found = tuple(each.strip() for each in (text or "").split(","))
    if text is not None and not all(found):
        raise InvalidArgument(
            "a pattern is empty", expected="patterns with commas between them", got=one_line(text, 80)
        )
    return found if text is not None else ()
