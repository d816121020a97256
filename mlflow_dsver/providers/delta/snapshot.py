"""One version of a table as deltalake loads it: the table's id, its files, and the manifest made of them.

Loading reads the log alone. That the data files are there is not said by it: after a vacuum an old version still
loads and lists its files.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

from mlflow_dsver.errors import CorruptObject, NotFound, SettingsError, Unsupported
from mlflow_dsver.model.evidence import FileEvidence
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest, check_path, with_evidence
from mlflow_dsver.providers.delta.failures import deltalake_errors
from mlflow_dsver.providers.delta.info import NAME
from mlflow_dsver.providers.delta.log import Commit, Log, read_log
from mlflow_dsver.providers.delta.places import Place, storage_options
from mlflow_dsver.secrets import redacted
from mlflow_dsver.text import one_line

INSTALL = "pip install 'mlflow-dsver[delta]'"
DELETED_ROWS = ".deleted-rows.json"
"""Ending of the file that stands for the deletion vector of a data file: the positions of its deleted rows."""
KEPT = 8
"""Manifests that a process keeps, each found again by its digest."""

_ID = re.compile(r"(0|[1-9]\d{0,17})-([0-9a-f]{12})\Z")
_HEX = re.compile(r"[0-9a-f]{32}\Z")
_kept: dict[str, Manifest] = {}
_lock = threading.Lock()


def version_id(number: int, table_id: str) -> str:
    """The id of a version: its number, and 12 digits of the table's id (of its SHA-256 if it is no UUID)."""
    digits = table_id.replace("-", "").lower()
    if not _HEX.match(digits):
        digits = hashlib.sha256(table_id.encode()).hexdigest()
    return f"{number}-{digits[:12]}"


def number_of(identifier: str) -> int | None:
    """The number in a version's id; None for any other text."""
    found = _ID.match(identifier)
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A loaded version. table: deltalake's. commit: None when it was cleaned up."""

    place: Place
    number: int
    table: Any
    table_id: str
    commit: Commit | None

    @property
    def id(self) -> str:
        """The version's id."""
        return version_id(self.number, self.table_id)

    @property
    def schema_digest(self) -> str:
        """A digest of what decides how the files are read: schema, partitions and properties."""
        metadata = self.table.metadata()
        facts = [
            self.table_id,
            json.loads(self.table.schema().to_json()),
            list(metadata.partition_columns),
            dict(metadata.configuration),
        ]
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    @property
    def features(self) -> frozenset[str]:
        """Features of the protocol that a reader must know."""
        return frozenset(map(str, self.table.protocol().reader_features or ()))

    def manifest(self) -> tuple[Manifest, int | None]:
        """The files that the log lists, and the number of rows; None where the log does not say it.

        Raises Unsupported for files of another table, CorruptObject for a log that no table has.
        """
        with _deltalake(self.place, self.number):
            actions = self.table.get_add_actions()
            columns = [actions.column(name).to_pylist() for name in ("path", "size_bytes", "modification_time")]
            rows = actions.column("num_records").to_pylist() if "num_records" in actions.column_names else [None]
        entries = [self._entry(*fields) for fields in zip(*columns, strict=True)]
        deleted = self.deleted_rows()
        entries += [FileEntry(path, len(text), blake3_of(text)) for path, text in deleted.items()]
        entries.sort(key=lambda entry: entry.path)
        if any(one.path == other.path for one, other in pairwise(entries)):
            raise self._corrupt("twice the same file")
        made = {"tool": "deltalake", "table": self.table_id, "version": self.number, "schema": self.schema_digest}
        if self.commit is not None:
            made["commit"] = self.commit.digest
        found = Manifest(tuple(entries), made)
        with _lock:
            while len(_kept) >= KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[f"{self.place.dataset}\n{self.id}\n{found.digest}"] = found
        gone = sum(text.count(b",") + 1 for text in deleted.values())
        return found, None if None in rows and entries else sum(filter(None, rows)) - gone

    def deleted_rows(self) -> dict[str, bytes]:
        """The positions of deleted rows as a JSON list, by the path that stands for them."""
        if "deletionVectors" not in self.features:
            return {}
        found: dict[str, bytes] = {}
        with _deltalake(self.place, self.number):
            root = unquote(self.table.table_uri).rstrip("/") + "/"
            for batch in self.table.deletion_vectors():
                for uri, kept in zip(*(batch.column(name).to_pylist() for name in _VECTOR), strict=True):
                    positions = [number for number, keep in enumerate(kept) if not keep]
                    path = unquote(uri).removeprefix(root)
                    text = json.dumps(positions, separators=(",", ":")).encode() + b"\n"
                    if positions:
                        found[self._checked(path) + DELETED_ROWS] = text
        return found

    def _entry(self, path: str, size: int, modified: int) -> FileEntry:
        path = unquote(path)
        if path.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", path):
            raise Unsupported(
                "a version with files of another table cannot be linked, as with a shallow clone",
                provider=NAME,
                operation="list files",
                reference=self.place.ref.at(self.id),
                got=redacted(one_line(path, 100)),
                tip="a deep clone, or the table that it was cloned from",
            )
        if type(size) is not int or size < 0:
            raise self._corrupt("a file without a size")
        try:
            date = datetime.fromtimestamp(modified / 1000, UTC)
        except (TypeError, ValueError, OverflowError, OSError):
            raise self._corrupt("a file without a date") from None
        text = date.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        evidence = FileEvidence(etag=f"{self.id.partition('-')[2]}-{modified}", modified=text)
        return with_evidence(self._checked(path), size, evidence)

    def _checked(self, path: str) -> str:
        try:
            return check_path(path)
        except InvalidManifest as error:
            raise self._corrupt(str(error)) from error

    def _corrupt(self, got: str) -> CorruptObject:
        return CorruptObject("the log is damaged", reference=self.place.ref.at(self.id), got=got)


_VECTOR = ("filepath", "selection_vector")


def load(place: Place, number: int | None = None, log: Log | None = None) -> Snapshot:
    """A version of a table; None for the newest one. Raises NotFound when there is no table, or not that version."""
    log = log or read_log(place)
    number = log.newest if number is None else number
    log.check(number)
    deltalake = library()
    with _deltalake(place, number):
        address = place.folder.as_uri() if place.folder is not None else place.uri
        table = deltalake.DeltaTable(address, version=number, storage_options=storage_options(place))
        table_id = str(table.metadata().id)
    return Snapshot(place, number, table, table_id, log.commit(number))


def load_exactly(place: Place, identifier: str, log: Log | None = None) -> Snapshot:
    """The version of an id. Raises NotFound also when the table at this place is another one."""
    number = number_of(identifier)
    ref = place.ref.at(identifier)
    if number is None:
        raise NotFound(
            "not the id of a version",
            provider=NAME,
            operation="resolve",
            reference=ref,
            expected="a number and 12 digits of the table's id, as 3-53a33b6ac022",
        )
    found = load(place, number, log)
    if found.id != identifier:
        raise NotFound(
            f"the table at this place is another one: its version {number} is {found.id}",
            provider=NAME,
            operation="resolve",
            reference=ref,
            tip="it was removed and made anew, or replaced; the recorded one may be in a backup",
        )
    return found


def kept_manifest(place: Place, identifier: str, digest: str | None) -> Manifest | None:
    """A manifest that this process made before, by its digest."""
    with _lock:
        return _kept.get(f"{place.dataset}\n{identifier}\n{digest}")


def forget() -> None:
    """Forget the manifests that were made, as a new process has none."""
    with _lock:
        _kept.clear()


def blake3_of(content: bytes) -> str:
    """The BLAKE3 of bytes, 64 hex digits."""
    from blake3 import blake3

    return str(blake3(content).hexdigest())


def library() -> Any:
    """The module deltalake. Raises SettingsError when it is not installed."""
    try:
        import deltalake
    except ImportError as error:
        raise SettingsError("reading Delta tables needs deltalake", tip=INSTALL) from error
    return deltalake


def _deltalake(place: Place, number: int) -> AbstractContextManager[None]:
    return deltalake_errors(place.ref.at(str(number)), "this version cannot be loaded from the log", "load a version")
