"""The lineage server's kept manifests: bounded, oldest use first out, whole or absent, never a reason to fail."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_dsver.server import manifest_cache

WORKER = """
import hashlib, random, sys
from pathlib import Path
from mlflow_dsver.server import manifest_cache

folder, seed, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)
found = 0
for step in range(400):
    number = draw.randrange(60)
    content = hashlib.sha256(str(number).encode()).digest() * (number + 1)
    had = manifest_cache.get(folder, str(number))
    assert had is None or had == content, "not whole"
    found += had is not None
    if had is None:
        manifest_cache.put(folder, str(number), content, limit=limit)
print(found)
"""


def bytes_in(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


def used(folder: Path, key: str, seconds_ago: float) -> None:
    when = time.time() - seconds_ago
    os.utime(folder / f"{hashlib.sha256(key.encode()).hexdigest()}.jsonl.gz", (when, when))


def test_what_was_put_is_got(tmp_path: Path) -> None:
    manifest_cache.put(tmp_path / "new" / "folder", "a", b"content", limit=100)
    assert manifest_cache.get(tmp_path / "new" / "folder", "a") == b"content"
    assert manifest_cache.get(tmp_path / "new" / "folder", "b") is None


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    """Getting is using: what was put first stays when somebody asked for it since."""
    for age, key in enumerate("abcd"):
        manifest_cache.put(tmp_path, key, b"x" * 25, limit=100)
        used(tmp_path, key, 1000 - age)
    assert manifest_cache.get(tmp_path, "a") is not None
    manifest_cache.put(tmp_path, "e", b"x" * 50, limit=100)
    assert [key for key in "abcde" if manifest_cache.get(tmp_path, key)] == ["a", "d", "e"]
    assert bytes_in(tmp_path) == 100


def test_what_is_larger_than_all_room_is_not_kept_and_costs_nobody_else_his_place(tmp_path: Path) -> None:
    manifest_cache.put(tmp_path, "a", b"x" * 60, limit=100)
    manifest_cache.put(tmp_path, "b", b"x" * 101, limit=100)
    assert manifest_cache.get(tmp_path, "a") is not None
    assert manifest_cache.get(tmp_path, "b") is None


def test_the_number_of_files_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_cache, "MOST_FILES", 3)
    for age, key in enumerate("abcde"):
        manifest_cache.put(tmp_path, key, b"", limit=100)
        used(tmp_path, key, 1000 - age)
    assert [key for key in "abcde" if manifest_cache.get(tmp_path, key) is not None] == ["c", "d", "e"]


def test_what_a_killed_process_left_behind_goes_after_an_hour(tmp_path: Path) -> None:
    old, young = tmp_path / ".old.tmp", tmp_path / ".young.tmp"
    for each in (old, young):
        each.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    manifest_cache.put(tmp_path, "a", b"x", limit=100)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    manifest_cache.put(tmp_path / "file", "a", b"x", limit=100)
    assert manifest_cache.get(tmp_path / "file", "a") is None


def test_two_workers_at_once_see_whole_files_and_keep_the_bound(tmp_path: Path) -> None:
    limit = 10_000  # a sixth of all that the two ask for
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, tmp_path, str(seed), str(limit)], stdout=subprocess.PIPE)
        for seed in (1, 2)
    ]
    told = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert all(int(each) > 0 for each in told)
    manifest_cache.put(tmp_path, "last", b"", limit=limit)
    assert 0 < bytes_in(tmp_path) <= limit
