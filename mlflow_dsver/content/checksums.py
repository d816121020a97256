"""Computes the checksums that stores keep, as far as this machine can.

SHA-256, SHA-1 (also as git uses it), SHA-512, MD5 and CRC32 are in the standard library, BLAKE3 is always there;
CRC32C and CRC64NVME need the package awscrt.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlflow_dsver.model.differences import compare
from mlflow_dsver.model.evidence import Checksum, Comparison, FileEvidence
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.model.manifests import with_evidence as file_entry

_BLOCK = 1 << 20
_HASHES = ("sha256", "sha512", "sha1", "md5")


def file_checksums(path: Path, algorithms: Sequence[str]) -> tuple[Checksum, ...]:
    """The checksums of a file, read once. OSError passes through."""
    found = Checksums(algorithms, path.stat().st_size)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.values()


class Checksums:
    """Checksums of bytes that come in blocks. algorithms: those that cannot be computed here are left out.

    size: of the whole; `gitblob` is left out without it.
    """

    def __init__(self, algorithms: Sequence[str], size: int | None = None) -> None:
        self._states: dict[str, Any] = {}
        self._crcs: dict[str, tuple[Callable[[Any, int], int], int]] = {}
        for name in algorithms:
            if name in _HASHES:
                self._states[name] = hashlib.new(name, usedforsecurity=False)
            elif name == "gitblob":
                if size is not None:
                    self._states[name] = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
            elif name == "blake3":
                from blake3 import blake3

                self._states[name] = blake3()
            elif (function := _crc(name)) is not None:
                self._crcs[name] = (function, 0)

    @classmethod
    def of(cls, entry: FileEntry) -> Checksums:
        """Those that an entry has of the whole file."""
        recorded = entry.evidence.checksums if entry.evidence else ()
        hashed = ["blake3"] if entry.blake3 else []
        return cls([*hashed, *(each.algorithm for each in recorded if each.extent == "full")], entry.bytes)

    @property
    def known(self) -> bool:
        """Whether there is any."""
        return bool(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The algorithms of those that are computed."""
        return (*self._states, *self._crcs)

    def update(self, block: Any) -> None:
        """Add bytes."""
        for state in self._states.values():
            state.update(block)
        for name, (function, value) in self._crcs.items():
            self._crcs[name] = (function, function(block, value))

    def values(self) -> tuple[Checksum, ...]:
        """The checksums of all bytes so far."""
        hashes = [Checksum(name, state.hexdigest()) for name, state in self._states.items()]
        crcs = [
            Checksum(name, f"{value:0{16 if name == 'crc64nvme' else 8}x}") for name, (_, value) in self._crcs.items()
        ]
        return (*hashes, *crcs)


def compared(entry: FileEntry, computed: tuple[Checksum, ...]) -> Comparison:
    """Compare an entry with the checksums of bytes of the same size."""
    blake3 = next((each.value for each in computed if each.algorithm == "blake3"), None)
    others = tuple(each for each in computed if each.algorithm != "blake3")
    return compare(entry, file_entry(entry.path, entry.bytes, FileEvidence(others), blake3))


def _crc(name: str) -> Callable[[Any, int], int] | None:
    if name == "crc32":
        return zlib.crc32
    try:
        from awscrt import checksums
    except ImportError:
        return None
    found = getattr(checksums, name, None)
    return None if found is None else lambda block, value: int(found(bytes(block), value))
