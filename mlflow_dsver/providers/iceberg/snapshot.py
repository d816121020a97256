"""Snapshots of a table: their ids, their files, and the proof that they are still those of the same table.

A version's id is the snapshot's id and the beginning of the table's UUID, so that a table that was dropped and made
anew under the same name is not taken for the old one. Files of Iceberg have no checksums; the snapshot's own list of
manifests is kept by its SHA-256, and each file by its size and number of records.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from mlflow_dsver._version import __version__
from mlflow_dsver.errors import ContentError, CorruptObject, NotFound
from mlflow_dsver.model.evidence import FileEvidence
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest, check_path
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.iceberg.catalogs import call, load_table
from mlflow_dsver.providers.iceberg.info import NAME
from mlflow_dsver.text import one_line

UUID_DIGITS = 12
_ID = re.compile(rf"([0-9]{{1,20}})-([0-9a-f]{{{UUID_DIGITS}}})\Z")
OUTSIDE = "_outside"
"""Folder of a version for files that lie outside the table's location."""


class Snapshot(NamedTuple):
    """A snapshot of a table. table, snapshot: pyiceberg's. table_id: the UUID as 32 hex digits."""

    ref: DatasetRef
    table: Any
    snapshot: Any

    @property
    def table_id(self) -> str:
        """The table's UUID, 32 hex digits."""
        return table_id(self.table)

    @property
    def id(self) -> str:
        """The version's id."""
        return version_id(self.snapshot.snapshot_id, self.table_id)


def table_id(table: Any) -> str:
    """A table's UUID as 32 hex digits."""
    return str(table.metadata.table_uuid.hex)


def version_id(snapshot_id: int, table_uuid: str) -> str:
    """`7182880967476058197-98870520d8ce`."""
    return f"{snapshot_id}-{table_uuid[:UUID_DIGITS]}"


def snapshot_number(version: str) -> int | None:
    """The snapshot's id in that of a version; None for a text that is none."""
    found = _ID.match(version)
    return int(found[1]) if found else None


def exactly(ref: DatasetRef) -> Snapshot:
    """The snapshot of a version's id. Raises NotFound for another table, and for a snapshot that is gone."""
    found = _ID.match(ref.selector or "")
    if found is None:
        raise _not_found(ref, "not the id of a version", f"{ref.at(None)}@latest")
    table = load_table(ref)
    if table_id(table)[:UUID_DIGITS] != found[2]:
        raise _not_found(
            ref,
            "the table of that name is another one now: it was dropped and made anew",
            got=f"a table with the UUID {table.metadata.table_uuid}",
        )
    snapshot = table.snapshot_by_id(int(found[1]))
    if snapshot is None:
        raise _not_found(ref, "the snapshot has expired, or was never in the table", "a tag keeps a snapshot: hold")
    return Snapshot(ref, table, snapshot)


def manifest_of(found: Snapshot) -> tuple[Manifest, dict[str, str], int]:
    """The files of a snapshot; the whole address of each by its path; and the number of records."""
    ref = found.ref.at(found.id)

    def work() -> tuple[str, list[dict[str, Any]]]:
        rows = found.table.inspect.files(snapshot_id=found.snapshot.snapshot_id)
        columns = ["content", "file_path", "file_size_in_bytes", "record_count"]
        return _list_sum(found), rows.select(columns).to_pylist()

    list_sum, rows = call(ref, "list the files", work)
    location = str(found.table.location()).rstrip("/")
    addresses: dict[str, str] = {}
    entries: dict[str, FileEntry] = {}
    for row in rows:
        address = str(row["file_path"])
        path = _path(location, address, ref)
        addresses[path] = address
        evidence = FileEvidence(etag=f"{row['record_count']} records")
        entries[path] = file_entry(path, int(row["file_size_in_bytes"]), evidence)
    if not entries:
        raise ContentError("the snapshot has no file", reference=ref, expected="a table with rows")
    made = {
        "by": f"mlflow-dsver {__version__}",
        "table": found.table_id,
        "snapshot": found.snapshot.snapshot_id,
        "manifest_list": list_sum,
        "outside": {path: address for path, address in addresses.items() if path.startswith(f"{OUTSIDE}/")},
    }
    records = sum(int(row["record_count"]) for row in rows if row["content"] == 0)
    return Manifest(tuple(entries[path] for path in sorted(entries)), made), addresses, records


def address_of(found: Snapshot, manifest: Manifest, path: str) -> str:
    """The whole address of a file of a recorded manifest."""
    outside = manifest.made.get("outside")
    if isinstance(outside, dict) and isinstance(outside.get(path), str):
        return str(outside[path])
    return f"{str(found.table.location()).rstrip('/')}/{path}"


def check_list(found: Snapshot, manifest: Manifest) -> None:
    """Raise CorruptObject when the snapshot's list of manifests is not the recorded one."""
    recorded = manifest.made.get("manifest_list")
    now = call(found.ref, "read the snapshot's list", lambda: _list_sum(found))
    if isinstance(recorded, str) and recorded != now:
        raise CorruptObject(
            "the snapshot's list of files was written again", reference=found.ref, expected=recorded, got=now
        )


def _list_sum(found: Snapshot) -> str:
    with found.table.io.new_input(found.snapshot.manifest_list).open() as stream:
        return "sha256:" + hashlib.sha256(stream.read()).hexdigest()


def _path(location: str, address: str, ref: DatasetRef) -> str:
    path = address[len(location) + 1 :] if address.startswith(f"{location}/") else ""
    if not path:
        name = address.rpartition("/")[2]
        path = f"{OUTSIDE}/{hashlib.sha256(address.encode()).hexdigest()[:12]}/{name}"
    try:
        return check_path(path)
    except InvalidManifest as error:
        raise ContentError(f"a file of the table has an unusable name: {error}", reference=ref) from error


def _not_found(ref: DatasetRef, what: str, tip: str | None = None, got: str | None = None) -> NotFound:
    return NotFound(
        what, provider=NAME, operation="find the snapshot", reference=ref, tip=tip, got=got and one_line(got, 200)
    )
