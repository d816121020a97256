"""The stat cache spares reading, is not fooled, and never gets in the way."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_dsver.content import hashing
from mlflow_dsver.content import stat_cache as module
from mlflow_dsver.content.hashing import Rules, hash_folder
from mlflow_dsver.content.parallel_reading import Reader
from mlflow_dsver.content.progress import SILENT
from mlflow_dsver.content.stat_cache import Row, StatCache, default_cache, is_young, stamp
from mlflow_dsver.model.manifests import Manifest


@pytest.fixture(autouse=True)
def old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old from their first instant, so that no test waits; those of `is_young` say so themselves."""
    monkeypatch.setattr(module, "YOUNG", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("a", "b/c", "d"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 10)
    return folder


class Counting:
    """Hashes a folder with a cache, and tells which files were read."""

    def __init__(self, cache: StatCache) -> None:
        self.cache = cache
        self.manifest: Manifest | None = None

    def __call__(self, folder: Path, **arguments: object) -> list[str]:
        read: list[str] = []
        plain = Reader(folder, None, SILENT)

        def take(descriptor: int, status: os.stat_result, path: str) -> str:
            read.append(path)
            return plain._hash(descriptor, status, path)

        self.manifest = hash_folder(folder, cache=self.cache, on_file=take, **arguments)  # type: ignore[arg-type]
        assert self.manifest.digest == hash_folder(folder, **arguments).digest  # type: ignore[arg-type]
        return sorted(read)


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    return Counting(StatCache(tmp_path / "cache"))


class TestSparing:
    def test_an_unchanged_folder_is_not_read_again(self, folder: Path, counting: Counting) -> None:
        assert counting(folder) == ["a", "b/c", "d"]
        assert counting(folder) == []

    def test_only_what_changed_is_read(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        (folder / "a").write_bytes(b"longer than before")
        (folder / "d").unlink()
        (folder / "e").write_bytes(b"new")
        assert counting(folder) == ["a", "e"]
        assert counting(folder) == []

    def test_a_folder_is_known_by_its_real_path(self, folder: Path, counting: Counting, tmp_path: Path) -> None:
        counting(folder)
        (tmp_path / "link").symlink_to(folder)
        assert counting(tmp_path / "link") == []

    def test_another_folder_knows_nothing_of_it(self, folder: Path, counting: Counting, tmp_path: Path) -> None:
        counting(folder)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "a").write_bytes(b"1")
        assert counting(tmp_path / "other") == ["a"]

    def test_patterns_forget_nothing_of_what_they_leave_out(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        assert counting(folder, rules=Rules(include=("a",))) == []
        (folder / "a").write_bytes(b"changed")
        assert counting(folder, rules=Rules(include=("a",))) == ["a"]
        assert counting(folder) == []

    def test_gone_files_are_forgotten(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        (folder / "b" / "c").unlink()
        counting(folder)
        assert [path for path, _ in counting.cache.rows(os.fsencode(folder.resolve()))] == ["a", "d"]

    def test_what_was_read_before_a_failure_is_remembered(self, folder: Path, counting: Counting) -> None:
        def take(_descriptor: int, _status: os.stat_result, path: str) -> str:
            if path == "d":
                raise KeyboardInterrupt
            return "00" * 32

        for number in range(600):
            (folder / f"a{number}").write_bytes(b"")
        with pytest.raises(KeyboardInterrupt):
            hash_folder(folder, cache=counting.cache, on_file=take)
        assert len(list(counting.cache.rows(os.fsencode(folder.resolve())))) >= 256

    @pytest.mark.parametrize(("bound", "value"), [("SAVE_EVERY", 0.0), ("MAX_UNSAVED", 999)])
    def test_long_work_saves_in_between_and_loses_nothing(
        self, folder: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch, bound: str, value: float
    ) -> None:
        monkeypatch.setattr(hashing, bound, value)
        for number in range(2500):
            (folder / f"a{number}").write_bytes(b"")
        counting(folder)
        assert counting(folder) == []


class TestNotFooled:
    def test_an_edit_in_place_with_restored_mtime_is_seen(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        file = folder / "a"
        before = file.stat()
        time.sleep(0.02)
        file.write_bytes(b"A" * before.st_size)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert counting(folder) == ["a"]

    def test_another_file_under_the_same_name_is_seen(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        before = (folder / "a").stat()
        (folder / "new").write_bytes(b"N" * before.st_size)
        (folder / "new").replace(folder / "a")
        os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert counting(folder) == ["a"]

    def test_two_files_that_change_names_are_seen(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        (folder / "a").rename(folder / "x")
        (folder / "d").rename(folder / "a")
        (folder / "x").rename(folder / "d")
        assert counting(folder) == ["a", "d"]

    def test_a_link_that_points_elsewhere_is_seen(self, folder: Path, counting: Counting, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).write_bytes(name.encode())
        (folder / "link").symlink_to(tmp_path / "one")
        counting(folder)
        (folder / "link").unlink()
        (folder / "link").symlink_to(tmp_path / "two")
        assert counting(folder) == ["link"]

    def test_young_files_are_not_remembered(
        self, folder: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "YOUNG", 3_000_000_000)
        assert counting(folder) == counting(folder) == ["a", "b/c", "d"]

    def test_age_is_that_of_the_younger_date(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "YOUNG", 3_000_000_000)
        file = folder / "a"
        os.utime(file, ns=(0, 0))
        status = file.stat()
        assert is_young(status, status.st_ctime_ns + 2_999_999_999)
        assert not is_young(status, status.st_ctime_ns + 3_000_000_000)
        os.utime(file, ns=(0, status.st_ctime_ns + 10**12))
        assert is_young(file.stat(), status.st_ctime_ns + 10**12)

    @pytest.mark.parametrize("field", ["st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
    def test_every_part_of_the_stamp_counts(self, field: str) -> None:
        class Status:
            st_dev = st_ino = st_size = st_mtime_ns = st_ctime_ns = 5

        changed = Status()
        setattr(changed, field, 6)
        assert stamp(Status()) != stamp(changed)  # type: ignore[arg-type]


def only_file(cache: StatCache) -> Path:
    (file,) = cache.path.iterdir()
    return file


class TestNeverInTheWay:
    def test_every_flipped_bit_is_found(self, folder: Path, counting: Counting) -> None:
        """A damaged cache is read as one that knows less, never as one that knows otherwise."""
        counting(folder)
        known = dict(counting.cache.rows(os.fsencode(folder.resolve())))
        content = only_file(counting.cache).read_bytes()
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8
            only_file(counting.cache).write_bytes(damaged)
            rows = list(counting.cache.rows(os.fsencode(folder.resolve())))
            assert rows == [], place
        assert len(known) == 3

    @pytest.mark.parametrize("keep", [0, 1, 30, 60, -1])
    def test_a_cut_off_cache_is_not_used(self, folder: Path, counting: Counting, keep: int) -> None:
        counting(folder)
        only_file(counting.cache).write_bytes(only_file(counting.cache).read_bytes()[:keep])
        assert counting(folder) == ["a", "b/c", "d"]
        assert counting(folder) == []

    def test_blocks_before_the_damage_are_used(self, tmp_path: Path) -> None:
        cache = StatCache(tmp_path / "cache")
        rows: list[Row] = [(f"{number:05}", (b"s" * 40, b"d" * 32)) for number in range(9000)]
        cache.save(b"/folder", rows)
        content = only_file(cache).read_bytes()
        only_file(cache).write_bytes(content[:-1])
        assert list(cache.rows(b"/folder")) == rows[:8192]

    def test_a_cache_of_another_version_is_replaced(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        only_file(counting.cache).write_bytes(b"mlflow-dsver stat cache 99\nwhatever")
        assert counting(folder) == ["a", "b/c", "d"]
        assert counting(folder) == []

    @pytest.mark.parametrize("place", ["a file", "a file/below"])
    def test_a_place_that_is_no_folder(
        self, folder: Path, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "a file").write_bytes(b"")
        with caplog.at_level(logging.INFO):
            assert Counting(StatCache(tmp_path / place))(folder) == ["a", "b/c", "d"]
        assert "is not written" in caplog.text

    def test_a_folder_in_the_place_of_the_file(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        file = only_file(counting.cache)
        file.unlink()
        file.mkdir()
        assert counting(folder) == ["a", "b/c", "d"]
        assert [entry.name for entry in counting.cache.path.iterdir()] == [file.name]  # no temporary file is left

    def test_a_full_disk(self, folder: Path, counting: Counting) -> None:
        """A bound on file size stands in: the write fails half way, with EFBIG instead of ENOSPC."""
        for number in range(300):
            (folder / f"a{number}").write_bytes(b"")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            manifest = hash_folder(folder, cache=counting.cache)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert len(manifest) == 303
        assert list(counting.cache.path.iterdir()) == []

    def test_a_cache_of_another_user_is_not_believed(
        self, folder: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counting(folder)
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        assert counting(folder) == ["a", "b/c", "d"]

    def test_nobody_else_may_read_the_names_in_it(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        assert only_file(counting.cache).stat().st_mode & 0o777 == 0o600

    def test_read_only_writes_nothing(self, folder: Path, counting: Counting, tmp_path: Path) -> None:
        nothing = Counting(StatCache(tmp_path / "none", read_only=True))
        assert nothing(folder) == ["a", "b/c", "d"]
        assert not (tmp_path / "none").exists()
        counting(folder)
        os.utime(only_file(counting.cache), (0, 0))
        (folder / "a").write_bytes(b"changed")
        before = (only_file(counting.cache).read_bytes(), only_file(counting.cache).stat())
        assert Counting(StatCache(counting.cache.path, read_only=True))(folder) == ["a"]
        after = (only_file(counting.cache).read_bytes(), only_file(counting.cache).stat())
        assert (before[0], before[1].st_mtime_ns, before[1].st_ctime_ns) == (
            after[0], after[1].st_mtime_ns, after[1].st_ctime_ns,
        )  # fmt: skip

    def test_several_processes_share_it(self, folder: Path, counting: Counting) -> None:
        """Ten at once, each with its own file to add; all end well and the cache is whole."""
        for number in range(500):
            (folder / f"a{number}").write_bytes(b"")
        code = (
            "import sys; from pathlib import Path\n"
            "from mlflow_dsver.content import hashing, stat_cache\n"
            "stat_cache.YOUNG = 0\n"
            "folder = Path(sys.argv[1])\n"
            "for number in range(5):\n"
            "    print(hashing.hash_folder(folder, cache=stat_cache.StatCache(Path(sys.argv[2]))).digest)\n"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(folder), str(counting.cache.path)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(10)
        ]  # fmt: skip
        answers = [process.communicate(timeout=120) for process in running]
        assert {error for _, error in answers} == {""}
        assert {line for output, _ in answers for line in output.split()} == {hash_folder(folder).digest}
        assert counting(folder) == []
        assert [entry.suffix for entry in counting.cache.path.iterdir()] == [".stat"]


class TestKeeping:
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
    pairs = st.tuples(st.binary(min_size=40, max_size=40), st.binary(min_size=32, max_size=32))

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(first=st.dictionaries(names, pairs), second=st.dictionaries(names, pairs), gone=st.sets(names, max_size=3))
    def test_rows_come_back_sorted_the_newer_ones_winning(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        first: dict[str, tuple[bytes, bytes]],
        second: dict[str, tuple[bytes, bytes]],
        gone: set[str],
    ) -> None:
        cache = StatCache(tmp_path_factory.mktemp("cache"))
        cache.save(b"/folder", first.items())
        some = set(list(first)[:2]) | gone
        cache.save(b"/folder", second.items(), some)
        expected = {**{path: pair for path, pair in first.items() if path not in some}, **second}
        assert list(cache.rows(b"/folder")) == sorted(expected.items())

    def test_folders_unused_for_long_are_forgotten(self, folder: Path, counting: Counting, tmp_path: Path) -> None:
        counting(folder)
        old = only_file(counting.cache)
        os.utime(old, (0, 0))
        leftover = old.with_name(".killed.tmp")
        leftover.write_bytes(b"")
        os.utime(leftover, (0, 0))
        foreign = old.with_name("foreign")
        foreign.write_bytes(b"")
        os.utime(foreign, (0, 0))
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "a").write_bytes(b"1")
        counting(tmp_path / "other")
        assert (old.exists(), leftover.exists(), foreign.exists()) == (False, False, True)

    def test_use_makes_a_folder_young_again(self, folder: Path, counting: Counting) -> None:
        counting(folder)
        os.utime(only_file(counting.cache), (0, 0))
        assert counting(folder) == []
        assert time.time() - only_file(counting.cache).stat().st_mtime < 60

    def test_the_default_lies_below_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path))
        assert default_cache().path == tmp_path / "cache" / "stat"
        assert default_cache(read_only=True).read_only
        assert not (tmp_path / "cache").exists()
