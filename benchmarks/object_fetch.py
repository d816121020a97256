"""Measures fetching the objects of a snapshot beside a plain loop with obstore, in one run.

A server of its own answers objects from memory, with versions and ranges, so that the clients are what is measured.
Ours also writes files beside and renames the folder, and compares sizes and (where the manifest has them) checksums;
the plain loop writes what comes. Both use as many threads. Pairs are interleaved; printed are seconds and the ratio
of the medians, for many small objects and for few large ones.

    python benchmarks/object_fetch.py [--small 10000] [--large-mib 256] [--repeats 5]
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.table import aligned

SMALL = 4096
PART = 16 << 20
THREADS = 32


class _Objects(BaseHTTPRequestHandler):
    """Answers /bucket/<size>/<anything> with that many bytes, whole or a range of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    block = bytes(1 << 20)

    def do_GET(self) -> None:
        size = int(self.path.split("/")[2])
        start, stop, status = 0, size, 200
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop, status = int(first), min(int(last or size - 1) + 1, size), 206
        self.send_response_only(status)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("ETag", '"e"')
        self.send_header("x-amz-version-id", "v")
        self.send_header("Last-Modified", "Tue, 01 Dec 2026 06:00:00 GMT")
        self.end_headers()
        left = stop - start
        while left > 0:
            left -= self.wfile.write(self.block[: min(left, len(self.block))])

    def log_message(self, *_: object) -> None:
        pass


def serve(port: int) -> None:
    """Answer until the process ends."""
    ThreadingHTTPServer(("127.0.0.1", port), _Objects).serve_forever()


@contextmanager
def server() -> Iterator[str]:
    """The address of the server, a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from benchmarks.object_fetch import serve; serve({port})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def plain(store: Any, keys: list[tuple[str, int]], folder: Path) -> None:
    """What a person writes with obstore: threads, and ranges for what is large."""
    import obstore

    def small(each: tuple[str, int]) -> None:
        (folder / each[0].replace("/", "_")).write_bytes(obstore.get(store, each[0]).bytes())

    def part(each: tuple[str, int, int]) -> None:
        key, start, stop = each
        content = obstore.get(store, key, options={"range": (start, stop)}).bytes()
        with (folder / key.replace("/", "_")).open("r+b") as stream:
            stream.seek(start)
            stream.write(content)

    parts = []
    for key, size in keys:
        if size > PART:
            (folder / key.replace("/", "_")).touch()
            parts += [(key, start, min(start + PART, size)) for start in range(0, size, PART)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(small, [each for each in keys if each[1] <= PART]))
        list(pool.map(part, parts))


def ours(keys: list[tuple[str, int]], folder: Path) -> None:
    """What `materialise` does."""
    from mlflow_dsver.content.progress import SILENT
    from mlflow_dsver.model.evidence import FileEvidence
    from mlflow_dsver.model.manifests import Manifest, with_evidence
    from mlflow_dsver.providers.buckets.connect import Location
    from mlflow_dsver.providers.buckets.reading import reader_of
    from mlflow_dsver.providers.file_fetching import fetch_folder

    evidence = FileEvidence((), "v", "e", "2026-12-01T06:00:00Z")
    entries = tuple(with_evidence(key, size, evidence) for key, size in sorted(keys))
    manifest = Manifest(entries)
    fetch_folder(manifest, reader_of(Location("s3", "bucket", ""), manifest), folder, SILENT, "s3://bucket")


def measured(keys: list[tuple[str, int]], repeats: int, work: Path) -> tuple[float, float]:
    """Median seconds of the plain loop and of ours, in interleaved pairs."""
    from mlflow_dsver.providers.buckets.connect import Location, object_store

    store = object_store(Location("s3", "bucket", ""))
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for number in range(2 * repeats):
        name = ("plain", "ours")[number % 2]
        folder = work / name
        if name == "plain":
            folder.mkdir()
        begun = time.perf_counter()
        if name == "plain":
            plain(store, keys, folder)
        else:
            ours(keys, folder)
        seconds[name].append(time.perf_counter() - begun)
        shutil.rmtree(folder)
    return median(seconds["plain"]), median(seconds["ours"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", type=int, default=10_000, help="number of small objects, of 4 KiB")
    parser.add_argument("--large-mib", type=int, default=256, help="MiB of each of the four large objects")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    sets = {
        f"{options.small:,} of 4 KiB": [(f"{SMALL}/{number:06}", SMALL) for number in range(options.small)],
        f"4 of {options.large_mib} MiB": [
            (f"{options.large_mib << 20}/{number}", options.large_mib << 20) for number in range(4)
        ],
    }
    rows = [["objects", "obstore s", "ours s", "ratio"]]
    with server() as address, tempfile.TemporaryDirectory() as work:
        os.environ.update(
            AWS_ENDPOINT_URL=address, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_REGION="us-east-1"
        )
        for name, keys in sets.items():
            one, other = measured(keys, options.repeats, Path(work))
            rows.append([name, f"{one:.2f}", f"{other:.2f}", f"{other / one:.2f}"])
    print(aligned(rows))


if __name__ == "__main__":
    main()
