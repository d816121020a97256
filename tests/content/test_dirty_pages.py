"""A digest is remembered only where each further change of the file moves its dates, memory maps included."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlflow_dsver.content import dirty_pages
from mlflow_dsver.content import stat_cache as module
from mlflow_dsver.content.dirty_pages import FILE_SYSTEMS, DirtyPages, dates_prove, file_system, flush_range
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.stat_cache import StatCache
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.providers.local.provider import LocalProvider

SIZE = 100_000
MEMORY = Path("/dev/shm")


@pytest.fixture(autouse=True)
def old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "YOUNG", 0)


@contextmanager
def mapped(file: Path) -> Iterator[mmap.mmap]:
    """A file of zeros, mapped for writing, whose pages are all dirty; the map stays open."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(SIZE))
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), SIZE) as view:
        view[:] = b"\1" * SIZE
        time.sleep(0.02)  # beyond the grain of the clock that files are stamped with
        yield view


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on tmpfs."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        pytest.skip("no tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


def is_proven(folder: Path) -> bool:
    return dates_prove(folder)


class TestMemoryMaps:
    def test_a_write_through_a_map_that_stays_open_is_seen(self, tmp_path: Path) -> None:
        cache = StatCache(tmp_path / "cache")
        with mapped(tmp_path / "data" / "x") as view:
            before = hash_folder(tmp_path / "data", cache=cache)
            for value in (b"\7", b"\11"):
                view[5:6] = value
                after = hash_folder(tmp_path / "data", cache=cache)
                assert after.digest == hash_folder(tmp_path / "data").digest != before.digest
                before = after

    def test_on_tmpfs_nothing_is_remembered(self, memory: Path, tmp_path: Path) -> None:
        cache = StatCache(tmp_path / "cache")
        with mapped(memory / "data" / "x") as view:
            before = hash_folder(memory / "data", cache=cache)
            assert list(cache.rows(os.fsencode(memory / "data"))) == []
            view[5:6] = b"\7"
            assert hash_folder(memory / "data", cache=cache).digest != before.digest

    def test_an_unchanged_file_is_still_remembered_while_it_is_mapped(self, tmp_path: Path) -> None:
        if not is_proven(tmp_path):
            pytest.skip("the file system of temporary folders is one where dates prove nothing")
        cache = StatCache(tmp_path / "cache")
        with mapped(tmp_path / "data" / "x"):
            hash_folder(tmp_path / "data", cache=cache)
            read: list[str] = []
            hash_folder(tmp_path / "data", cache=cache, on_file=lambda _d, _s, path: read.append(path) or "00" * 32)
        assert read == []

    def test_a_version_path_and_copy_are_of_the_bytes_of_now(self, tmp_path: Path) -> None:
        """`create`, `path` and `materialise` agree, with the bytes kept and without."""
        provider = LocalProvider()
        with mapped(tmp_path / "data" / "x") as view:
            first = provider.create("kept", tmp_path / "data")
            referred = provider.create("referred", tmp_path / "data", reference=True)
            view[5:6] = b"\7"
            second = provider.create("kept", tmp_path / "data")
            assert second.content_digest != first.content_digest
            assert (provider.path(second) / "x").read_bytes()[5] == 7
            assert (provider.path(first) / "x").read_bytes()[5] == 1
            with pytest.raises(OSError, match="has changed: x has other bytes"):
                provider.path(referred)
            with pytest.raises(OSError, match="is not the version's file any more"):
                provider.materialise(referred, tmp_path / "copy")

    def test_a_digest_that_was_remembered_without_a_flush_is_not_believed(self, tmp_path: Path) -> None:
        cache = StatCache(tmp_path / "cache")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "x").write_bytes(b"x")
        hash_folder(tmp_path / "data", cache=cache)
        for file in cache.path.iterdir():
            file.write_bytes(file.read_bytes().replace(b"stat cache 2\n", b"stat cache 1\n"))
        assert list(cache.rows(os.fsencode((tmp_path / "data").resolve()))) == []

    def test_a_flush_that_fails_proves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dirty_pages, "FILE_SYSTEMS", dict.fromkeys(FILE_SYSTEMS, lambda _descriptor: False))
        cache = StatCache(tmp_path / "cache")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "x").write_bytes(b"x")
        hash_folder(tmp_path / "data", cache=cache)
        assert list(cache.rows(os.fsencode((tmp_path / "data").resolve()))) == []

    def test_a_file_is_looked_at_before_it_is_flushed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write just before the flush has moved the dates, and must not pass for what was there before."""
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "x").write_bytes(b"before")

        def write_then_flush(_descriptor: int) -> bool:
            time.sleep(0.02)
            (tmp_path / "data" / "x").write_bytes(b"after.")
            return True

        monkeypatch.setattr(dirty_pages, "FILE_SYSTEMS", dict.fromkeys(FILE_SYSTEMS, write_then_flush))
        if not is_proven(tmp_path):
            pytest.skip("the file system of temporary folders is one where dates prove nothing")
        with pytest.raises(OSError, match="changed while it was read"):
            hash_folder(tmp_path / "data")


class TestWriters:
    def test_a_file_is_at_its_beginning_after_the_wait(self, tmp_path: Path) -> None:
        for content in (b"", b"abc"):
            (tmp_path / "x").write_bytes(content)
            with (tmp_path / "x").open("rb") as stream:
                DirtyPages().wait_for_writer(stream.fileno(), os.fstat(stream.fileno()).st_dev)
                assert os.read(stream.fileno(), 10) == content


class TestFileSystems:
    def test_tmpfs_proves_nothing(self, memory: Path) -> None:
        assert not dates_prove(memory)

    def test_an_unknown_file_system_proves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dirty_pages, "file_system", lambda _descriptor: 0x6969)  # NFS
        assert not dates_prove(tmp_path)

    def test_memory_network_fuse_and_overlay_are_not_among_the_proven_ones(self) -> None:
        unproven = {0x01021994, 0x858458F6, 0x6969, 0x65735546, 0x794C7630, 0x01021997, 0xFF534D42, 0x0BD00BD0}
        assert not unproven & set(FILE_SYSTEMS)

    def test_another_system_than_linux_proves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dirty_pages.sys, "platform", "darwin")
        assert not dates_prove(tmp_path)

    def test_the_user_may_say_that_dates_are_to_be_believed(
        self, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (memory / "data").mkdir()
        (memory / "data" / "x").write_bytes(b"x")
        monkeypatch.setenv("MLFLOW_DSVER_TRUST_DATES", f"/elsewhere:{memory}")
        cache = StatCache(tmp_path / "cache")
        hash_folder(memory / "data", cache=cache)
        assert [path for path, _ in cache.rows(os.fsencode(memory / "data"))] == ["x"]
        monkeypatch.setenv("MLFLOW_DSVER_TRUST_DATES", f"{memory}/dat")
        assert not dates_prove(memory / "data")

    def test_folders_to_be_believed_are_absolute(self, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_DSVER_TRUST_DATES", "data")
        with pytest.raises(SettingsError, match="absolute paths"):
            dates_prove(memory)

    def test_many_recent_files_are_flushed_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if not is_proven(tmp_path):
            pytest.skip("the file system of temporary folders is one where dates prove nothing")
        flushed: list[int] = []
        monkeypatch.setattr(dirty_pages, "sync_open_file_system", flushed.append)
        monkeypatch.setattr(dirty_pages, "MANY", 3)
        for number in range(3):
            assert flushed == []
            (tmp_path / f"{number}").write_bytes(b"x")
            hash_folder(tmp_path)
        assert len(flushed) == 1

    def test_the_type_and_the_flush_are_those_of_this_machine(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"x")
        with (tmp_path / "x").open("rb") as stream:
            if file_system(stream.fileno()) == 0xEF53:
                assert flush_range(stream.fileno())
        assert file_system(-1) == 0


def test_threads_may_share_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    pages = DirtyPages()
    answers = set()
    with (tmp_path / "x").open("rb") as stream:
        descriptor, device = stream.fileno(), os.fstat(stream.fileno()).st_dev
        threads = [threading.Thread(target=lambda: answers.add(pages.flush(descriptor, device))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 1
