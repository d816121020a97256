"""A cache of small files: bounded, oldest use first out, whole or absent, never a reason to fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from mlflow_dsver.content.file_cache import FileCache

WORKER = """
import hashlib, random, sys
from pathlib import Path
from mlflow_dsver.content.file_cache import FileCache

folder, seed, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cache = FileCache(folder, max_bytes=limit)
draw = random.Random(seed)
found = 0
for step in range(400):
    number = draw.randrange(60)
    content = hashlib.sha256(str(number).encode()).digest() * (number + 1)
    had = cache.get(str(number), mark_used=True)
    assert had is None or had == content, "not whole"
    found += had is not None
    if had is None:
        cache.put(str(number), content)
print(found)
"""


def bytes_in(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


def used(folder: Path, key: str, seconds_ago: float) -> None:
    when = time.time() - seconds_ago
    os.utime(folder / key, (when, when))


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "new" / "folder", max_bytes=100)
    cache.put("a", b"content")
    assert cache.get("a") == b"content"
    assert cache.get("b") is None


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    """What was put first stays when it was marked as used since."""
    cache = FileCache(tmp_path, max_bytes=100)
    for age, key in enumerate("abcd"):
        cache.put(key, b"x" * 25)
        used(tmp_path, key, 1000 - age)
    assert cache.get("a", mark_used=True) is not None
    cache.put("e", b"x" * 50)
    assert [key for key in "abcde" if cache.get(key)] == ["a", "d", "e"]
    assert bytes_in(tmp_path) == 100


def test_what_is_larger_than_all_room_is_not_kept_and_costs_nobody_else_his_place(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, max_bytes=100)
    cache.put("a", b"x" * 60)
    cache.put("b", b"x" * 101)
    assert cache.get("a") is not None
    assert cache.get("b") is None


def test_a_file_over_its_own_bound_is_neither_written_nor_read(tmp_path: Path) -> None:
    FileCache(tmp_path).put("large", b"x" * 101)
    cache = FileCache(tmp_path, max_file_bytes=100)
    cache.put("a", b"x" * 101)
    assert (cache.get("a"), cache.get("large")) == (None, None)


def test_what_is_too_old_goes_when_another_is_added(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, max_age=60)
    for age, key in ((61, "a"), (30, "b")):
        cache.put(key, b"x")
        used(tmp_path, key, age)
    cache.put("c", b"x")
    assert sorted(cache.names()) == ["b", "c"]


def test_files_with_another_suffix_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    used(tmp_path, "mine.txt", 1000)
    cache = FileCache(tmp_path, max_age=60, suffix=".stat")
    cache.put("a.stat", b"x")
    assert (cache.names(), (tmp_path / "mine.txt").exists()) == (["a.stat"], True)


def test_only_the_owner_reads(tmp_path: Path) -> None:
    FileCache(tmp_path).put("a", b"x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_the_number_of_files_is_bounded_too(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, max_files=3)
    for age, key in enumerate("abcde"):
        cache.put(key, b"")
        used(tmp_path, key, 1000 - age)
    assert [key for key in "abcde" if cache.get(key) is not None] == ["c", "d", "e"]


def test_what_a_killed_process_left_behind_goes_after_an_hour(tmp_path: Path) -> None:
    old, young = tmp_path / ".old.tmp", tmp_path / ".young.tmp"
    for each in (old, young):
        each.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    FileCache(tmp_path).put("a", b"x")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_place_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = FileCache(tmp_path / "file")
    cache.put("a", b"x")
    cache.remove("a")
    assert cache.get("a") is None
    assert cache.names() == []


def test_two_workers_at_once_see_whole_files_and_keep_the_bound(tmp_path: Path) -> None:
    limit = 10_000  # a sixth of all that the two ask for
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, tmp_path, str(seed), str(limit)], stdout=subprocess.PIPE)
        for seed in (1, 2)
    ]
    told = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert all(int(each) > 0 for each in told)
    FileCache(tmp_path, max_bytes=limit).put("last", b"")
    assert 0 < bytes_in(tmp_path) <= limit
