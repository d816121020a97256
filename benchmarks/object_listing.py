"""Measures how long a listing of 100,000 S3 object versions keeps this process busy, beside a plain loop with boto3.

A server of its own answers prepared pages of 1,000 keys, as S3 writes them, without any work: the client is what is
measured. Both list the same: all versions below a prefix, in one folder or in 100. Printed are the seconds of CPU of
the process, the seconds that passed, and ours divided by those of boto3.

    python benchmarks/object_listing.py [--objects 100000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.table import aligned

PAGE = 1000
FOLDERS = 100
LAYOUTS = {"one folder": "flat", f"{FOLDERS} folders": "deep"}
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def keys_of(layout: str, objects: int) -> list[str]:
    """The keys below a layout's prefix, in the order of S3."""
    if layout == "flat":
        return [f"flat/train/image-{number:08}.jpg" for number in range(objects)]
    each = -(-objects // FOLDERS)
    return [f"deep/class-{number // each:03}/image-{number:08}.jpg" for number in range(objects)]


def page_of(keys: list[str], following: bool) -> bytes:
    """A page of a listing of versions."""
    entries = "".join(
        f"<Version><Key>{key}</Key><VersionId>3HL4kqtJvjVBH40Nrjfkd{index:011}</VersionId><IsLatest>true</IsLatest>"
        "<LastModified>2026-11-30T06:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
        "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>109430</Size>"
        "<Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID></Owner>"
        "<StorageClass>STANDARD</StorageClass></Version>"
        for index, key in enumerate(keys)
    )
    marker = f"<NextKeyMarker>{keys[-1]}</NextKeyMarker>" if following else ""
    head = f"<Name>bucket</Name><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(following).lower()}</IsTruncated>{marker}"
    return f'<ListVersionsResult xmlns="{NAMESPACE}">{head}{entries}</ListVersionsResult>'.encode()


def pages_of(keys: list[str]) -> dict[str, bytes]:
    """The pages of a listing, by the key that each comes after."""
    starts = range(0, len(keys), PAGE)
    return {
        keys[start - 1] if start else "": page_of(keys[start : start + PAGE], start + PAGE < len(keys))
        for start in starts
    }


def serve(port: int, objects: int) -> None:
    """Answer listings for ever."""
    pages: dict[str, dict[str, bytes]] = {}
    for layout in LAYOUTS.values():
        keys = keys_of(layout, objects)
        pages[f"{layout}/"] = pages_of(keys)
        folders: dict[str, list[str]] = {}
        for key in keys:
            folders.setdefault(key.rpartition("/")[0] + "/", []).append(key)
        pages |= {folder: pages_of(inside) for folder, inside in folders.items()}
        inside = "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in sorted(folders))
        listing = f'<ListVersionsResult xmlns="{NAMESPACE}"><IsTruncated>false</IsTruncated>{inside}'
        pages[f"{layout}/ by folder"] = {"": f"{listing}</ListVersionsResult>".encode()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            prefix = query.get("prefix", "")
            by_folder = f"{prefix} by folder"
            found = pages.get(by_folder if "delimiter" in query and by_folder in pages else prefix, {})
            versioning = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            body = found.get(query.get("key-marker", ""), versioning)
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


@contextmanager
def server(objects: int) -> Iterator[str]:
    """The address of the server, a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(port), "--objects", str(objects)])
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ours(prefix: str) -> int:
    """Number of objects that this package lists."""
    from mlflow_dsver.providers.buckets.connect import Location
    from mlflow_dsver.providers.buckets.listing import list_objects

    return len(list(list_objects(Location("s3", "bucket", prefix)).objects))


def with_boto3(prefix: str) -> int:
    """Number of objects that a plain loop with boto3 lists."""
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    pages = client.get_paginator("list_object_versions").paginate(Bucket="bucket", Prefix=f"{prefix}/")
    return len([(each["Key"], each["VersionId"], each["Size"]) for page in pages for each in page["Versions"]])


def measured(what: Callable[[str], int], prefix: str, objects: int) -> tuple[float, float]:
    """Seconds of CPU and seconds that passed. Raises RuntimeError when not all objects were listed."""
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    found = what(prefix)
    after = resource.getrusage(resource.RUSAGE_SELF)
    if found != objects:
        raise RuntimeError(f"{found} objects instead of {objects}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.objects)
        return
    lines = [["listing", "CPU s", "passed s", "CPU share", "objects/s"]]
    ratios = [["ours / boto3", "CPU", "passed"]]
    with server(given.objects) as address:
        os.environ |= {"AWS_ENDPOINT_URL": address, "AWS_REGION": "us-east-1"}
        os.environ |= {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-0123456789"}
        for layout, prefix in LAYOUTS.items():
            middle = {}
            for name, what in (("ours", ours), ("boto3", with_boto3)):
                what(prefix)  # imports, connections
                times = [measured(what, prefix, given.objects) for _ in range(given.repeats)]
                cpu, passed = middle[name] = median(each[0] for each in times), median(each[1] for each in times)
                row = [f"{name}, {layout}", f"{cpu:.2f}", f"{passed:.2f}", f"{cpu / passed:.0%}"]
                lines.append([*row, f"{given.objects / passed:,.0f}"])
            pair = [middle["ours"][index] / middle["boto3"][index] for index in (0, 1)]
            ratios.append([layout, *(f"{each:.2f}" for each in pair)])
    print(aligned(lines))
    print()
    print(aligned(ratios))


if __name__ == "__main__":
    main()
