"""Files of one role that are byte-identical to files of another, such as test images among the training images.

Pure functions of manifests; no data is read. Empty files are not counted, as they are all identical.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.text import human_bytes, human_count, one_line


@dataclass(frozen=True, slots=True)
class Overlap:
    """The files of the role `second` that the role `first` contains as well.

    pairs: (a file of first, the identical file of second), sorted by the path in second.
    total: number of files of second that are not empty.
    """

    first: str
    second: str
    pairs: tuple[tuple[FileEntry, FileEntry], ...]
    total: int

    @property
    def bytes(self) -> int:
        """Total size of the files of second that are in first as well."""
        return sum(entry.bytes for _, entry in self.pairs)

    def __str__(self) -> str:
        """`3 files of test (of 360, 1.2 KiB) are in training as well, such as a.png (training: b/a.png)`."""
        files = human_count(len(self.pairs), "file")
        verb = "is" if len(self.pairs) == 1 else "are"
        before, after = self.pairs[0]
        size = human_bytes(self.bytes)
        return (
            f"{files} of {self.second} (of {self.total:,}; {size}) {verb} in {self.first} as well, "
            f"such as {one_line(after.path, 80)} ({self.first}: {one_line(before.path, 80)})"
        )


def find_overlaps(manifests: Mapping[str, Manifest]) -> tuple[Overlap, ...]:
    """The overlaps of all pairs of roles that have any; `second` is the role with fewer files."""
    contents = {role: _contents(manifest.entries) for role, manifest in manifests.items()}
    found = []
    for one, other in combinations(sorted(manifests), 2):
        first, second = sorted((one, other), key=lambda role: (-len(manifests[role]), role))
        shared = contents[first].keys() & contents[second].keys()
        if shared:
            pairs = tuple(
                (contents[first][entry.digest], entry)
                for entry in manifests[second].entries
                if entry.digest in shared
            )
            total = sum(entry.bytes > 0 for entry in manifests[second].entries)
            found.append(Overlap(first, second, pairs, total))
    return tuple(found)


def _contents(entries: Iterable[FileEntry]) -> dict[str, FileEntry]:
    """Digest to the first file with it, without empty files."""
    known: dict[str, FileEntry] = {}
    for entry in entries:
        if entry.bytes:
            known.setdefault(entry.digest, entry)
    return known
