"""Measures the checks against their goals: `python -m benchmarks.checks`.

All files are in a temporary folder; the tracking store is a SQLite file there. Times are medians of the work without
setup, after one warm-up round; memory is the peak of a separate process. Prints a table with goals, and the machine's
data.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.facts import load, machine
from benchmarks.subjects import walk_and_stat

SETTLE = 3.5
"""Seconds until files are old enough for the stat cache to accept them."""

Row = tuple[str, float, str]
"""The title, seconds (or another number), and the goal with its value."""


def seconds(work: Callable[[], object], repeat: int) -> float:
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def make_files(folder: Path, count: int, size: int) -> Path:
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:07}.bin"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(number.to_bytes(8, "big") * (size // 8))
    return folder


def make_manifest(count: int, tag: str = "", every: int = 0) -> bytes:
    from mlflow_dsver.model.manifests import FileEntry, Manifest

    def entries() -> Iterator[FileEntry]:
        for number in range(count):
            changed = tag if every and number % every == 0 else ""
            digest = hashlib.sha256(f"{number}{changed}".encode()).hexdigest()
            yield FileEntry(f"train/{number // 1000:04}/img_{number:07}.png", 4096, digest)

    return Manifest(tuple(entries())).to_bytes()


def measure_verify(work: Path, count: int, repeat: int) -> list[Row]:
    """verify of a run with many files, compared with a walk with stat, and with hashing alone."""
    import mlflow  # noqa: F401  (every process that verifies imports it, and it slows down the garbage collector)

    import mlflow_dsver as dsver
    from mlflow_dsver.content.hashing import hash_folder
    from mlflow_dsver.content.stat_cache import default_cache

    folder = make_files(work / "files", count, 4096)
    time.sleep(SETTLE)
    rows: list[Row] = []
    walk = seconds(walk_and_stat(folder, work), repeat)
    hashing = seconds(lambda: hash_folder(folder), repeat)
    rows += [(f"walk and stat, {count:,} files", walk, ""), ("hashing alone", hashing, "")]
    for kind, reference in (("stored", False), ("referenced", True)):
        dsver.create_version(f"local://{kind[:4]}", folder, reference=reference)
        hash_folder(folder, cache=default_cache())
        with dsver.start_run(inputs={"training": f"local://{kind[:4]}"}) as run:
            pass
        run_id = run.info.run_id
        plain = seconds(lambda run_id=run_id: _matching(run_id, "default"), repeat)
        full = seconds(lambda run_id=run_id: _matching(run_id, "full"), repeat)
        rows.append((f"verify, files {kind}, unchanged", plain, f"{plain / walk:.2f} × walk (at most 2.5)"))
        rows.append((f"verify --full, files {kind}", full, f"{full / hashing:.2f} × hashing (at most 1.3)"))
    return rows


def _matching(run_id: str, depth: str) -> None:
    import mlflow_dsver as dsver

    report = dsver.verify(run_id, depth=depth)
    if not report:
        raise SystemExit(f"no match: {report}")


def measure_runs(work: Path, runs: int, versions: int) -> list[Row]:
    """verify of many runs over few versions: time, and number of requests to the provider."""
    import mlflow

    import mlflow_dsver as dsver

    folder = work / "versions"
    folder.mkdir()
    created = []
    for number in range(versions):
        (folder / "number").write_text(str(number))
        created.append(dsver.create_version("local://many", folder))
    experiment = mlflow.set_experiment("many runs")
    for number in range(runs):
        with dsver.start_run(inputs={"training": created[number % versions]}):
            pass
    start = time.perf_counter()
    report = dsver.verify_runs(experiments=[experiment.name])
    elapsed = time.perf_counter() - start
    if not report or len(report.runs) != runs:
        raise SystemExit(f"no match: {report.verdict} of {len(report.runs)} runs")
    requests = f"{report.resolutions} resolutions (at most {versions})"
    return [(f"verify of {runs:,} runs over {versions} versions", elapsed, requests)]


def measure_diff(work: Path, count: int) -> list[Row]:
    """Two manifests of a million files: 1 % and 100 % of the files differ."""
    (work / "a.gz").write_bytes(make_manifest(count))
    rows: list[Row] = []
    for name, every in (("1 % changed", 100), ("all changed", 1)):
        (work / "b.gz").write_bytes(make_manifest(count, "b", every))
        command = [sys.executable, __file__, "--diff", str(work / "a.gz"), str(work / "b.gz")]
        result = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        memory = f"{result['peak'] / 2**20:.0f} MiB"
        rows.append((f"diff of {count:,} files, {name}", result["seconds"], f"below 10 s and 2 GiB; {memory}"))
    return rows


def _diff_alone(before: Path, after: Path) -> None:
    from mlflow_dsver.checks.manifest_stream import diff_streams

    start = time.perf_counter()
    with before.open("rb") as old, after.open("rb") as new:
        found = diff_streams(old, new)
    elapsed = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": elapsed, "peak": peak, "changed": len(found.changed)}))


def measure_contains(work: Path, manifests: int, files: int, repeat: int) -> list[Row]:
    """The index of manifests: filled, then searched for a file by content and by path."""
    from mlflow_dsver.checks.manifest_index import Index
    from mlflow_dsver.model.manifests import FileEntry, Manifest

    def digest(number: int, file: int) -> str:
        return hashlib.sha256(f"{number}/{file}".encode()).hexdigest()

    path = work / "contents.sqlite"
    filling = 0.0
    with Index(path) as index:
        for number in range(manifests):
            entries = tuple(FileEntry(f"{number}/{file:05}.png", 4096, digest(number, file)) for file in range(files))
            stream = io.BytesIO(Manifest(entries).to_bytes())
            start = time.perf_counter()
            index.add(stream)
            filling += time.perf_counter() - start

    def search(find: Callable[[Index], Iterator[object]]) -> float:
        def work() -> None:
            with Index(path) as index:
                if len(list(find(index))) != 1:
                    raise SystemExit("not found")

        return seconds(work, repeat)

    by_content = search(lambda index: index.by_content(digest(manifests // 2, files // 2)))
    by_path = search(lambda index: index.by_path(f"{manifests // 3}/{files // 3:05}.png"))
    size = f"{path.stat().st_size / manifests / files:.0f} bytes a file"
    return [
        (f"index of {manifests:,} manifests of {files:,} files, filled", filling, size),
        ("contains, by content", by_content, "below 0.1 s"),
        ("contains, by path", by_path, "below 0.1 s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checks", description=__doc__)
    parser.add_argument("--small", action="store_true", help="1 %% of the data, for a quick try")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="repetitions (5)")
    parser.add_argument("--only", choices=["verify", "runs", "diff", "contains"], help="run only this part")
    parser.add_argument("--diff", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.diff:
        _diff_alone(*options.diff)
        return
    scale = 100 if options.small else 1
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-benchmarks-") as name:
        work = Path(name)
        _set_environment(work)
        parts: dict[str, Callable[[], list[Row]]] = {
            "verify": lambda: measure_verify(work, 50_000 // scale, options.repeat),
            "runs": lambda: measure_runs(work, 1000 // scale, min(20, 1000 // scale)),
            "diff": lambda: measure_diff(work, 1_000_000 // scale),
            "contains": lambda: measure_contains(work, 1000 // scale, 10_000, options.repeat),
        }
        for part, measure in parts.items():
            if options.only in (None, part):
                for title, value, goal in measure():
                    print(f"{title:<56} {value:9.3f} s   {goal}", flush=True)
        print()
        for fact, text in {**machine(work, sys.executable), "load": load()}.items():
            print(f"{fact}: {text}")


def _set_environment(work: Path) -> None:
    """Use a store, a cache and a tracking database in the benchmark's folder."""
    import logging

    os.environ["MLFLOW_DSVER_HOME"] = str(work / "home")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{work}/mlflow.db"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.chdir(work)
    logging.disable(logging.WARNING)


if __name__ == "__main__":
    main()
