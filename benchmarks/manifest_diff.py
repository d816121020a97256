"""Measures a diff of two manifests of many entries of which few changed, for both schemas.

Lines that are equal are counted and not parsed, so that what remains is reading: both manifests have to be unpacked
and hashed to their ends, since their content digest covers all lines in one piece. Printed are the seconds of that
reading alone and of the whole diff, for a million entries.

    python benchmarks/manifest_diff.py [--entries 1000000] [--changed 0.001] [--repeats 3]
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.table import aligned
from mlflow_dsver.checks.manifest_stream import ManifestStream, diff_streams
from mlflow_dsver.model.evidence import FileEvidence
from mlflow_dsver.model.manifests import FileEntry, Manifest, gc_paused, with_evidence


def manifest(schema: int, entries: int, changed: float) -> bytes:
    """A manifest as it is kept; of every 1 / changed entries one has another content."""
    step = round(1 / changed) if changed else entries + 1

    def entry(number: int) -> FileEntry:
        path, mark = f"class-{number // 1000:05}/image-{number:08}.jpg", 1 if number % step == 0 and changed else 0
        if schema == 1:
            return FileEntry(path, 109_430, f"{mark}{number:063x}")
        evidence = FileEvidence(
            (), f"3HL4kqtJvjVBH40Nrjfkd{mark}{number:011}", f"{number:032x}", "2026-12-01T06:00:00Z"
        )
        return with_evidence(path, 109_430 + mark, evidence)

    with gc_paused():
        return Manifest(tuple(entry(number) for number in range(entries))).to_bytes()


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median."""
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return median(found)


def read(*manifests: bytes) -> None:
    """Unpack and hash manifests to their ends, without looking at lines."""
    for content in manifests:
        stream = ManifestStream(io.BytesIO(content))
        for block in stream._blocks:
            stream._hasher.update(block)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--changed", type=float, default=0.001, help="share of the entries")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = [["schema", "MiB packed", "reading s", "diff s", "diff / reading", "s a million entries"]]
    for schema in (1, 2):
        before, after = (manifest(schema, options.entries, changed) for changed in (0.0, options.changed))
        reading = seconds(lambda some=(before, after): read(*some), options.repeats)
        whole = seconds(lambda some=(before, after): diff_streams(*map(io.BytesIO, some)), options.repeats)
        size = (len(before) + len(after)) / (1 << 20)
        figures = (reading, whole, whole / reading, whole / options.entries * 1e6)
        rows.append([str(schema), f"{size:.0f}", *(f"{each:.2f}" for each in figures)])
    print(aligned(rows))


if __name__ == "__main__":
    main()
