"""Real Delta tables for the tests, and what can happen to them."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
from deltalake import CommitProperties, DeltaTable, write_deltalake

LOG = "_delta_log"


class Lake:
    """A table in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, ids: Sequence[int], mode: str = "append", **options: Any) -> int:
        """Write rows; the version that this made."""
        rows = pyarrow.table({"id": list(ids), "label": [str(each % 3) for each in ids]})
        write_deltalake(str(self.folder), rows, mode=mode, **options)
        return DeltaTable(str(self.folder)).version()

    def vacuum(self, **options: Any) -> list[str]:
        table = DeltaTable(str(self.folder))
        return table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, **options)

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def commit(self, version: int) -> Path:
        return self.folder / LOG / f"{version:020d}.json"

    def actions(self, version: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.commit(version).read_text().splitlines()]

    def put(self, version: int, actions: list[dict[str, Any]]) -> None:
        self.commit(version).write_text("".join(json.dumps(each) + "\n" for each in actions))

    def data(self, version: int) -> list[Path]:
        """The files that a version added."""
        return [self.folder / each["add"]["path"] for each in self.actions(version) if "add" in each]

    def dated(self, version: int, milliseconds: int) -> None:
        """Change when a version says that it was committed."""
        actions = self.actions(version)
        for action in actions:
            if "commitInfo" in action:
                action["commitInfo"]["timestamp"] = milliseconds
        self.put(version, actions)

    def delete_rows(self, *positions: int) -> int:
        """A version that deletes rows of the first file of version 0 by a deletion vector, as Spark writes them."""
        (add,) = (each["add"] for each in self.actions(0) if "add" in each)
        vector = _vector(positions)
        fields = {"storageType": "i", "pathOrInlineDv": _z85(vector), "sizeInBytes": len(vector)}
        features = ["deletionVectors"]
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features}
        removed = {key: add[key] for key in ("path", "size", "partitionValues")}
        number = DeltaTable(str(self.folder)).version() + 1
        former = [each["add"].get("deletionVector") for each in self.actions(number - 1) if "add" in each]
        removed |= {"deletionVector": former[0]} if former[0] else {}
        self.put(
            number,
            [
                {"commitInfo": {"timestamp": add["modificationTime"] + number, "operation": "DELETE"}},
                {"protocol": protocol | {"writerFeatures": features}},
                {"remove": removed | {"deletionTimestamp": add["modificationTime"], "dataChange": True}},
                {"add": add | {"deletionVector": fields | {"cardinality": len(positions)}}},
            ],
        )
        return number


def user(**words: str) -> CommitProperties:
    return CommitProperties(custom_metadata=words)


def written_later(path: Path, seconds: float = 60) -> None:
    """Give a file a later date, as if it had been written then."""
    found = path.stat()
    os.utime(path, (found.st_atime, found.st_mtime + seconds))


def _vector(positions: Sequence[int]) -> bytes:
    """A Delta deletion vector of one array container of a roaring bitmap."""
    bitmap = struct.pack("<II", 12346, 1) + struct.pack("<HHI", 0, len(positions) - 1, 16)
    bitmap += b"".join(struct.pack("<H", each) for each in positions)
    return struct.pack("<IQI", 1681511377, 1, 0) + bitmap


def _z85(content: bytes) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    text = ""
    for start in range(0, len(content), 4):
        value = int.from_bytes(content[start : start + 4].ljust(4, b"\0"), "big")
        text += "".join(digits[value // 85**place % 85] for place in (4, 3, 2, 1, 0))
    return text
