"""Compare manifests: what changed from one to the other, and which files two roles have in common.

Files are compared by whatever both manifests have: BLAKE3, a checksum that two stores keep, a version id. Nothing is
fetched, and a file of which nothing can be said is unknown, not equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mlflow_dsver.model.evidence import Comparison, FileEvidence, compare_evidence
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.text import human_bytes, human_count, one_line

_NOTHING = FileEvidence()


def compare(one: FileEntry, other: FileEntry) -> Comparison:
    """Whether two files have the same content, by the strongest evidence that both have."""
    if one.evidence is None and other.evidence is None:
        return Comparison(one[1:] == other[1:], "blake3")
    if one.bytes != other.bytes:
        return Comparison(False, "size")
    if one.bytes == 0:
        return Comparison(True, "blake3")  # there is only one empty file
    evidence = one.evidence or _NOTHING, other.evidence or _NOTHING
    return compare_evidence((one.blake3, other.blake3), evidence)


def content_keys(entry: FileEntry) -> tuple[str, ...]:
    """Every key of the whole content, strongest first: `blake3:<hex>`, `sha256:<hex>`, …"""
    hashed = (f"blake3:{entry.blake3}",) if entry.blake3 else ()
    checksums = entry.evidence.checksums if entry.evidence else ()
    return (*hashed, *(each.key for each in checksums if each.extent == "full"))


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one manifest to another; false when nothing is known to have. Every tuple is sorted by path.

    changed: (before, after) under the same path. renamed: (before, after) with the same bytes under another path.
    unchanged: number of files that are the same; `weakly`: how many of them only by evidence against accident, such
    as MD5, a CRC or an ETag.
    unknown: (before, after) under the same path, of the same size, that share nothing to compare them by.
    """

    added: tuple[FileEntry, ...] = ()
    removed: tuple[FileEntry, ...] = ()
    changed: tuple[tuple[FileEntry, FileEntry], ...] = ()
    renamed: tuple[tuple[FileEntry, FileEntry], ...] = ()
    unchanged: int = 0
    weakly: int = 0
    unknown: tuple[tuple[FileEntry, FileEntry], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.renamed)

    @property
    def growth(self) -> int:
        """By how many bytes the whole grew; negative when it shrank."""
        grown = sum(entry.bytes for entry in self.added) - sum(entry.bytes for entry in self.removed)
        return grown + sum(after.bytes - before.bytes for before, after in self.changed)

    def to_json(self) -> dict[str, Any]:
        """Counts, growth in bytes, and every path concerned."""
        data: dict[str, Any] = {
            "added": [entry.to_json() for entry in self.added],
            "removed": [entry.to_json() for entry in self.removed],
            "changed": [{"before": a.to_json(), "after": b.to_json()} for a, b in self.changed],
            "renamed": [{"before": a.to_json(), "after": b.to_json()} for a, b in self.renamed],
            "unchanged": self.unchanged,
            "growth": self.growth,
        }
        if self.weakly:
            data["unchanged_by_weak_evidence"] = self.weakly
        if self.unknown:
            data["unknown"] = [{"before": a.to_json(), "after": b.to_json()} for a, b in self.unknown]
        return data


class Pairs:
    """Collects files under the same path, compared, while two manifests are read."""

    def __init__(self) -> None:
        self.changed: list[tuple[FileEntry, FileEntry]] = []
        self.unknown: list[tuple[FileEntry, FileEntry]] = []
        self.unchanged = 0
        self.weakly = 0

    def add(self, before: FileEntry, after: FileEntry) -> None:
        """Compare two files under the same path."""
        if before.evidence is None and after.evidence is None:  # a million times: without a call
            if before.digest == after.digest and before.bytes == after.bytes:
                self.unchanged += 1
            else:
                self.changed.append((before, after))
            return
        found = compare(before, after)
        if found.same is None:
            self.unknown.append((before, after))
        elif found.same:
            self.unchanged += 1
            self.weakly += not found.strong
        else:
            self.changed.append((before, after))

    def difference(self, added: list[FileEntry], removed: list[FileEntry]) -> Difference:
        """The difference with files that only one of the manifests has; renamings are found among them."""
        renamed, came, gone = renamings(added, removed)
        return Difference(
            added=tuple(came),
            removed=tuple(gone),
            changed=tuple(self.changed),
            renamed=tuple(renamed),
            unchanged=self.unchanged,
            weakly=self.weakly,
            unknown=tuple(self.unknown),
        )


def difference(before: Manifest, after: Manifest) -> Difference:
    """Compare two manifests; a removed and an added file with the same bytes are a rename."""
    old = {entry.path: entry for entry in before.entries}
    added: list[FileEntry] = []
    pairs = Pairs()
    for entry in after.entries:
        former = old.pop(entry.path, None)
        if former is None:
            added.append(entry)
        else:
            pairs.add(former, entry)
    return pairs.difference(added, sorted(old.values()))


def renamings(
    added: list[FileEntry], removed: list[FileEntry]
) -> tuple[list[tuple[FileEntry, FileEntry]], list[FileEntry], list[FileEntry]]:
    """Pairs of removed and added files with the same bytes, then the remaining added and removed; all by path."""
    gone: dict[str, list[FileEntry]] = {}
    for entry in reversed(removed):
        for key in content_keys(entry):
            gone.setdefault(key, []).append(entry)
    renamed: list[tuple[FileEntry, FileEntry]] = []
    came: list[FileEntry] = []
    taken: set[str] = set()
    for entry in added:
        former = next((each for key in content_keys(entry) for each in _untaken(gone.get(key), taken)), None)
        if former is None:
            came.append(entry)
        else:
            taken.add(former.path)
            renamed.append((former, entry))
    return renamed, came, [entry for entry in removed if entry.path not in taken]


def _untaken(entries: list[FileEntry] | None, taken: set[str]) -> Iterator[FileEntry]:
    """The last one that is not taken; those that are leave the list."""
    while entries:
        if entries[-1].path not in taken:
            yield entries[-1]
            return
        entries.pop()


@dataclass(frozen=True, slots=True)
class Overlap:
    """The files of the role `second` that are byte-identical to files of `first`, such as test images in training.

    Empty files are not counted, as they are all identical.
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
                (contents[first][key], entry)
                for entry in manifests[second].entries
                if entry.bytes and (key := next((key for key in content_keys(entry) if key in shared), None))
            )
            total = sum(entry.bytes > 0 for entry in manifests[second].entries)
            found.append(Overlap(first, second, pairs, total))
    return tuple(found)


def _contents(entries: Iterable[FileEntry]) -> dict[str, FileEntry]:
    """Content key to the first file with it, without empty files."""
    known: dict[str, FileEntry] = {}
    for entry in entries:
        for key in content_keys(entry) if entry.bytes else ():
            known.setdefault(key, entry)
    return known
