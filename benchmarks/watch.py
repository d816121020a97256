"""Measures what MLFLOW_DSVER_WATCH costs a loader that opens many small files, and the end of its run.

Each measurement is a process of its own, with and without the audit hook by turns: the hook cannot be removed. A
process reads all files twice, as two epochs do; files are in the page cache. Times are processor times of the
process, and the least of all rounds counts, so that other programs on the machine weigh less. Then the end of a run
is measured: the time in which the opened files are judged against a linked version, and the memory that the paths
take.

    python benchmarks/watch.py [--files 50000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.facts import load, machine  # noqa: E402  (the path above has them)
from benchmarks.table import aligned  # noqa: E402  (the path above has them)

PER_FOLDER = 500
GOAL = 1.10
Loader = Callable[[str], object]


def make(folder: Path, files: int) -> None:
    """Images of 32 × 32 pixels in three colours, as NumPy arrays in uncompressed files."""
    import numpy

    for number in range(files):
        file = folder / f"class-{number // PER_FOLDER:03}" / f"image-{number:06}.npy"
        if number % PER_FOLDER == 0:
            file.parent.mkdir(parents=True)
        numpy.save(file, numpy.full((32, 32, 3), number % 251, dtype="uint8"))


def by_open(path: str) -> object:
    with open(path, "rb") as stream:  # noqa: PTH123  (the fastest way, in which the hook weighs most)
        return stream.read()


def by_pathlib(path: str) -> object:
    return Path(path).read_bytes()


def by_numpy(path: str) -> object:
    import numpy

    return numpy.load(path)


LOADERS: dict[str, Loader] = {"open and read": by_open, "Path.read_bytes": by_pathlib, "numpy.load": by_numpy}


def paths_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.glob("*/*.npy"))


def measure(folder: Path, loader: str, watched: bool) -> dict[str, Any]:
    """In this process: processor seconds of two epochs, and of the end of a run."""
    from mlflow_dsver.tracking import opened_files

    import_loader = LOADERS[loader]
    import_loader(paths_in(folder)[0])
    if watched:
        opened_files.install()
    epochs = []
    for _ in range(2):
        paths = paths_in(folder)  # other text objects, as a loader has them in each epoch
        start = time.process_time()
        for path in paths:
            import_loader(path)
        epochs.append(time.process_time() - start)
    return {"epochs": epochs}


def end_of_run(folder: Path) -> dict[str, Any]:
    """In this process: seconds in which all files are judged, with the version's folder known and not, and bytes."""
    import tracemalloc

    import mlflow_dsver as dsver
    from mlflow_dsver.checks.undeclared_files import judge
    from mlflow_dsver.model.versions import Grade, Link, now
    from mlflow_dsver.tracking import opened_files

    told: dict[str, Any] = {}
    links = {}
    for name, reference in (("kept version, read where it was made", False), ("version that refers to it", True)):
        version = dsver.create_version(f"local://{'referring' if reference else 'kept'}", folder, reference=reference)
        links[name] = Link("training", str(version), version, Grade("A"), now())
    opened_files.install()
    tracemalloc.start()
    for path in paths_in(folder):
        by_open(path)
    opened = opened_files.snapshot()
    assert opened is not None
    told["bytes"] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    for name, link in [*links.items(), ("no linked version", None)]:
        start = time.perf_counter()
        found = judge("0", opened, {} if link is None else {"training": link}, seconds=60)
        told[name] = time.perf_counter() - start
        expected = len(paths_in(folder))
        assert (found.versions[0].files_read if link else found.undeclared.count) == expected, found.summary()
    return told


def in_process(*arguments: str, **variables: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def report(folder: Path, rounds: int) -> None:
    """Measure everything by turns, and print it."""
    lines = [["processor µs a file, least", "without", "watched", "ratio", "goal", ""]]
    for loader in LOADERS:
        seconds: dict[tuple[bool, int], list[float]] = {}
        for _ in range(rounds):
            for watched in (False, True):
                told = in_process("--measure", loader, "--folder", str(folder), *(["--watched"] if watched else []))
                for epoch, taken in enumerate(told["epochs"]):
                    seconds.setdefault((watched, epoch), []).append(taken)
        for epoch in (0, 1):
            bare, watched_time = (min(seconds[watched, epoch]) for watched in (False, True))
            count, ratio = len(paths_in(folder)), watched_time / bare
            lines.append(
                [
                    f"{loader}, {'first epoch' if epoch == 0 else 'second epoch'}",
                    f"{bare / count * 1e6:.2f}",
                    f"{watched_time / count * 1e6:.2f}",
                    f"{ratio:.3f}",
                    f"{GOAL:.2f}",
                    "met" if ratio <= GOAL else "MISSED",
                ]
            )
    print(aligned(lines), end="\n\n")
    with tempfile.TemporaryDirectory() as home:
        told = in_process("--end", "--folder", str(folder), MLFLOW_DSVER_HOME=home)
    print(f"memory of the paths: {told.pop('bytes') / 2**20:.1f} MiB")
    for name, taken in told.items():
        print(f"end of a run, {name}: {taken:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=LOADERS, help=argparse.SUPPRESS)
    parser.add_argument("--watched", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--end", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.folder, options.measure, options.watched)))
    elif options.end:
        os.chdir(options.folder.parent)  # a temporary folder is left out, unless it is the working folder
        print(json.dumps(end_of_run(options.folder)))
    else:
        with tempfile.TemporaryDirectory(prefix="mlflow-dsver-benchmark-") as name:
            folder = Path(name) / "images"
            make(folder, options.files)
            facts = {**machine(folder, sys.executable), "load at the start": load()}
            print("\n".join(f"{key:18} {value}" for key, value in facts.items()), end="\n\n")
            print(f"{options.files:,} files, {options.rounds} rounds", end="\n\n")
            report(folder, options.rounds)


if __name__ == "__main__":
    main()
