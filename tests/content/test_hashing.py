"""A folder's manifest: right, the same everywhere, and never of a file that did not hold still."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from threading import Lock

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_dsver import __version__
from mlflow_dsver.content import parallel_reading
from mlflow_dsver.content.hashing import Rules, hash_file, hash_folder
from mlflow_dsver.content.parallel_reading import Reader, read_parallel
from mlflow_dsver.errors import ContentError
from mlflow_dsver.model.manifests import FileEntry, content_digest

GOLDEN_TREE = {
    "a": b"",
    "a.b": b"one\n",
    "a dir/ünï.txt": b"two\r\n",
    'quote".txt': b"\0\1\2",
    "new\nline": b"three",
    "deep/er/est/file": b"x" * 200_000,
    "😀": b"astral",
    "\uffff": b"last of the plane",
}
GOLDEN_DIGEST = "blake3:9cda43511a50c71feb379d104a75ba5173ed507981e1ad7a7df571a00e4dac94"


def fill(folder: Path, content: dict[str, bytes]) -> Path:
    for path, data in content.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def refused(folder: Path, **arguments: object) -> ContentError:
    with pytest.raises(ContentError) as caught:
        hash_folder(folder, **arguments)  # type: ignore[arg-type]
    return caught.value


class Counted:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.totals: list[tuple[int | None, int | None]] = []
        self.files = self.bytes = 0
        self._lock = Lock()

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        self.totals.append((files, bytes))

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        with self._lock:
            self.files += files
            self.bytes += bytes


class TestDigests:
    def test_entries_are_path_size_and_blake3(self, tmp_path: Path) -> None:
        manifest = hash_folder(fill(tmp_path, {"b": b"2", "a/c": b"", "a.": b"111"}))
        assert manifest.entries == tuple(
            FileEntry(path, len(data), blake3(data).hexdigest())
            for path, data in (("a.", b"111"), ("a/c", b""), ("b", b"2"))
        )
        assert manifest.digest == content_digest(manifest.entries)

    @pytest.mark.parametrize(
        "size",
        [
            0,
            1,
            4096,
            parallel_reading.SMALL - 1,
            parallel_reading.SMALL,
            parallel_reading.SMALL + 1,
            parallel_reading.BLOCK,
            parallel_reading.LARGE + 7,
        ],
    )
    def test_every_way_of_reading_gives_the_same_digest(self, tmp_path: Path, size: int) -> None:
        data = os.urandom(size)
        (entry,) = hash_folder(fill(tmp_path, {"file": data})).entries
        assert entry == FileEntry("file", size, blake3(data).hexdigest())
        assert hash_file(tmp_path / "file") == entry

    def test_many_large_files_take_one_thread_each_and_are_all_right(self, tmp_path: Path) -> None:
        content = {f"{number}": bytes([number]) * (parallel_reading.LARGE + number) for number in range(4)}
        manifest = hash_folder(fill(tmp_path, {**content, "small": b"s"}))
        assert [entry.digest for entry in manifest.entries[:4]] == [
            blake3(data).hexdigest() for data in content.values()
        ]

    def test_the_same_tree_has_this_digest_on_every_machine(self, tmp_path: Path) -> None:
        """A literal, so that no change of order, escaping or algorithm goes unnoticed."""
        assert hash_folder(fill(tmp_path, GOLDEN_TREE)).digest == GOLDEN_DIGEST

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        content=st.dictionaries(
            st.from_regex(r"[a-cé]{1,3}(/[x-z.]{1,2}q)?", fullmatch=True), st.binary(max_size=20)
        ),
        data=st.data(),
    )
    def test_order_date_and_place_do_not_touch_the_digest(
        self, tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes], data: st.DataObject
    ) -> None:
        files = {path: value for path, value in content.items() if not any(p.startswith(path + "/") for p in content)}
        files["always"] = b"there"
        one = fill(tmp_path_factory.mktemp("one"), files)
        other = fill(
            tmp_path_factory.mktemp("other") / "deeper",
            {path: files[path] for path in data.draw(st.permutations(sorted(files)))},
        )
        for path in files:
            os.utime(other / path, ns=(data.draw(st.integers(0, 2**62)), data.draw(st.integers(0, 2**62))))
        assert hash_folder(one).digest == hash_folder(other).digest

    def test_a_link_counts_as_what_it_points_to(self, tmp_path: Path) -> None:
        plain = fill(tmp_path / "plain", {"a": b"1", "d/b": b"2"})
        linked = tmp_path / "linked"
        linked.mkdir()
        (linked / "a").symlink_to(plain / "a")
        (linked / "d").symlink_to(plain / "d")
        assert hash_folder(linked).digest == hash_folder(plain).digest

    def test_names_alike_are_both_in_the_manifest(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            manifest = hash_folder(fill(tmp_path, {"A": b"1", "a": b"2"}))
        assert [entry.path for entry in manifest.entries] == ["A", "a"]

    def test_the_manifest_says_how_it_was_made(self, tmp_path: Path) -> None:
        fill(tmp_path, {"a.png": b"1", "b.tmp": b"2", ".dsverignore": b"# why\n*.tmp\n"})
        manifest = hash_folder(tmp_path, rules=Rules(include=("*.png", "*.tmp"), exclude=("x",)))
        assert manifest.made == {
            "tool": f"mlflow-dsver {__version__}",
            "digest": "blake3",
            "links": "followed",
            "include": ["*.png", "*.tmp"],
            "exclude": ["x"],
            "ignore_file": ["*.tmp"],
        }
        assert hash_folder(tmp_path, rules=Rules(exclude=("x",))).digest == manifest.digest

    def test_without_an_ignore_file_none_is_recorded(self, tmp_path: Path) -> None:
        assert hash_folder(fill(tmp_path, {"a": b""})).made["ignore_file"] is None


class TestRefused:
    def test_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(ContentError, match="has no files; expected at least one"):
            hash_folder(tmp_path)

    def test_a_folder_of_which_patterns_leave_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ContentError, match="has no files"):
            hash_folder(fill(tmp_path, {"a": b""}), rules=Rules(exclude=("*",)))

    def test_a_missing_folder_and_a_file(self, tmp_path: Path) -> None:
        assert "does not exist" in str(refused(tmp_path / "gone"))
        assert "is a file" in str(refused(fill(tmp_path, {"f": b""}) / "f"))

    def test_a_missing_file_and_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for name in ("gone", "pipe"):
            with pytest.raises(ContentError) as caught:
                hash_file(tmp_path / name)
            assert caught.value.paths == (name,)

    def test_nothing_is_read_when_the_walk_meets_a_problem(self, tmp_path: Path) -> None:
        fill(tmp_path, {"a": b""})
        (tmp_path / "z").symlink_to("gone")
        taken: list[str] = []
        assert refused(tmp_path, on_file=lambda _d, _s, path: taken.append(path) or "0" * 64).paths == ("z",)
        assert taken == []

    def test_unreadable_files_are_all_named(self, reachable: Path) -> None:
        """Run as a user without privileges, since root may read everything."""
        fill(reachable, {"a": b"1", "b": b"2", "c/d": b"3", "e": b"4"})
        for name in ("b", "c/d"):
            (reachable / name).chmod(0)
        code = (
            f"import os, sys; sys.path[:0] = {sys.path!r}\n"
            "from pathlib import Path\n"
            "from mlflow_dsver.content.hashing import hash_folder; from mlflow_dsver.errors import ContentError\n"
            "import mlflow_dsver.content.open_folder, blake3\n"
            f"os.chdir({str(reachable)!r}); os.geteuid() or os.seteuid(65534)\n"
            "try: hash_folder(Path('.'))\n"
            "except ContentError as error: print(error.paths, error)\n"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert ran.stderr == ""
        assert ran.stdout.startswith("('b', 'c/d') ")
        assert "no permission to read it" in ran.stdout


def edit_in_place(file: Path) -> None:
    status = file.stat()
    file.write_bytes(b"B" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"more")


def cut(file: Path) -> None:
    os.truncate(file, 1)


def write_during(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"!")


class TestChanging:
    """What happens to a file while it is read is noticed, and the file is named."""

    @pytest.mark.parametrize("change", [edit_in_place, append, cut, write_during])
    def test_a_change_is_noticed(self, tmp_path: Path, change: object) -> None:
        """Deterministic: the file is changed between the first and the second look at it."""
        fill(tmp_path, {"a": b"1", "b": b"A" * 5000, "c": b"2"})

        def take(descriptor: int, status: os.stat_result, path: str) -> str:
            data = os.read(descriptor, status.st_size + 1)
            if path == "b":
                change(tmp_path / path)  # type: ignore[operator]
            return blake3(data).hexdigest()

        error = refused(tmp_path, on_file=take)
        assert error.paths == ("b",)
        assert "changed while it was read" in str(error)

    @pytest.mark.parametrize("size", [5000, parallel_reading.SMALL + 5000])
    def test_a_file_that_is_longer_or_shorter_than_its_stat_is_noticed(
        self, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where dates tell nothing, as on a file system that keeps none."""
        fill(tmp_path, {"b": b"A" * size})
        monkeypatch.setattr(parallel_reading, "stamp", lambda _status: b"always the same")
        for wrong in (-1, 1):
            real = os.fstat

            def fstat(descriptor: int, wrong: int = wrong, real: object = real) -> os.stat_result:
                status = real(descriptor)  # type: ignore[operator]
                return os.stat_result(
                    (*status[:6], status.st_size + wrong, *status[7:]), {"st_ctime_ns": 0, "st_mtime_ns": 0}
                )

            with monkeypatch.context() as patch:
                patch.setattr(parallel_reading.os, "fstat", fstat)
                assert refused(tmp_path).paths == ("b",)

    def test_a_file_that_goes_away_is_named(self, tmp_path: Path) -> None:
        fill(tmp_path, {"a": b"1", "b": b"2"})

        def take(_descriptor: int, _status: os.stat_result, path: str) -> str:
            (tmp_path / "b").unlink(missing_ok=True)
            return blake3(b"1").hexdigest()

        error = refused(tmp_path, on_file=take)
        assert error.paths == ("b",)
        assert "removed" in str(error)

    def test_a_file_that_becomes_a_pipe_is_named_and_not_waited_for(self, tmp_path: Path) -> None:
        fill(tmp_path, {"a": b"1", "b": b"2"})

        def take(_descriptor: int, _status: os.stat_result, path: str) -> str:
            (tmp_path / "b").unlink()
            os.mkfifo(tmp_path / "b")
            return blake3(b"1").hexdigest()

        assert refused(tmp_path, on_file=take).paths == ("b",)

    def test_a_file_replaced_before_it_is_opened_is_the_new_one(self, tmp_path: Path) -> None:
        """The manifest then describes what was read, size and all."""
        fill(tmp_path, {"a": b"1", "b": b"old"})

        def take(descriptor: int, status: os.stat_result, path: str) -> str:
            if path == "a":
                (tmp_path / "beside").write_bytes(b"newer")
                (tmp_path / "beside").replace(tmp_path / "b")
            return blake3(os.read(descriptor, 100)).hexdigest()

        assert hash_folder(tmp_path, on_file=take).entries[1] == FileEntry("b", 5, blake3(b"newer").hexdigest())

    def test_a_file_written_this_instant_waits_for_the_next_tick(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise a write in the same tick of the clock would leave the same date."""
        fill(tmp_path, {"a": b"1"})
        slept: list[float] = []
        monkeypatch.setattr(parallel_reading.time, "sleep", slept.append)
        changed = (tmp_path / "a").stat().st_ctime_ns
        monkeypatch.setattr(parallel_reading.time, "time_ns", lambda: changed + 1)
        hash_folder(tmp_path)
        monkeypatch.setattr(parallel_reading.time, "time_ns", lambda: changed + parallel_reading.TICK)
        hash_folder(tmp_path)
        assert slept == [parallel_reading.TICK / 1e9]

    def test_after_a_problem_no_further_file_is_taken(self, tmp_path: Path) -> None:
        fill(tmp_path, {f"{number}": b"x" for number in range(9)})
        taken: list[str] = []

        def take(_descriptor: int, _status: os.stat_result, path: str) -> str:
            taken.append(path)
            append(tmp_path / path)
            return "0" * 64

        assert refused(tmp_path, on_file=take).paths == ("0",)
        assert taken == ["0"]


class TestTake:
    def test_take_gets_the_open_file_its_stat_and_its_path(self, tmp_path: Path) -> None:
        fill(tmp_path, {"d/a": b"content"})
        seen: list[tuple[bytes, int, str]] = []

        def take(descriptor: int, status: os.stat_result, path: str) -> str:
            seen.append((os.read(descriptor, 100), status.st_size, path))
            return "ab" * 32

        assert hash_folder(tmp_path, on_file=take).entries == (FileEntry("d/a", 7, "ab" * 32),)
        assert seen == [(b"content", 7, "d/a")]

    @pytest.mark.parametrize("count", [3, 2000])
    def test_what_take_raises_comes_through_as_it_is(self, tmp_path: Path, count: int) -> None:
        fill(tmp_path, {f"{number}": b"x" for number in range(count)})
        failure = OSError("the disk is full")

        def take(_descriptor: int, _status: os.stat_result, path: str) -> str:
            raise failure

        with pytest.raises(OSError) as caught:
            hash_folder(tmp_path, on_file=take)
        assert caught.value is failure

    def test_files_that_are_waited_for_are_taken_by_several_threads(self, tmp_path: Path) -> None:
        fill(tmp_path, {f"{number:04}": b"x" for number in range(700)})
        threads = set()

        def take(_descriptor: int, _status: os.stat_result, path: str) -> str:
            threads.add(threading.get_ident())
            time.sleep(0.0005)
            return blake3(path.encode()).hexdigest()

        manifest = hash_folder(tmp_path, on_file=take)
        assert len(threads) > 1
        assert all(entry.digest == blake3(entry.path.encode()).hexdigest() for entry in manifest.entries)

    def test_an_interruption_ends_the_reading_of_a_huge_file(self, tmp_path: Path) -> None:
        """A sparse file of 1 TiB, of which only little is read before the block ends."""
        with (tmp_path / "huge").open("wb") as stream:
            stream.truncate(1 << 40)
        progress = Counted()
        reader = Reader(tmp_path, None, progress)

        def stop_soon() -> None:
            while progress.bytes == 0:
                time.sleep(0.001)
            reader.stopped.set()

        stopper = threading.Thread(target=stop_soon)
        stopper.start()
        list(read_parallel(reader, [(0, "huge", 1 << 40)]))
        stopper.join()
        assert 0 < progress.bytes < 1 << 39


class TestProgress:
    def test_progress_comes_to_the_total(self, tmp_path: Path) -> None:
        fill(
            tmp_path,
            {
                "a": b"1",
                "b": b"2" * (parallel_reading.SMALL + 1),
                "c": b"3" * parallel_reading.LARGE,
                **{f"d{n}": b"" for n in range(600)},
            },
        )
        progress = Counted()
        manifest = hash_folder(tmp_path, progress=progress)
        assert progress.totals == [(603, manifest.total_bytes)]
        assert (progress.files, progress.bytes) == progress.totals[0]

    def test_with_a_take_of_ones_own_too(self, tmp_path: Path) -> None:
        fill(tmp_path, {"a": b"1", "b": b"2" * (parallel_reading.SMALL + 1)})
        progress = Counted()
        hash_folder(tmp_path, progress=progress, on_file=lambda _d, _s, _p: "0" * 64)
        assert (progress.files, progress.bytes) == (2, parallel_reading.SMALL + 2)


def test_cycle_collection_is_as_it_was(tmp_path: Path) -> None:
    import gc

    fill(tmp_path, {"a": b""})
    for wanted in (True, False):
        (gc.enable if wanted else gc.disable)()
        try:
            hash_folder(tmp_path)
            refused(tmp_path / "gone")
            assert gc.isenabled() is wanted
        finally:
            gc.enable()


PEAK = """
import sys
from pathlib import Path
from mlflow_dsver.content.stat_cache import StatCache
from mlflow_dsver.content.hashing import hash_folder
hash_folder(Path(sys.argv[1]), cache=StatCache(Path(sys.argv[2])))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("size", [1 << 20, 2 << 30])
def test_memory_stays_flat_for_a_large_file(tmp_path: Path, size: int) -> None:
    """A file of 2 GiB (of holes) needs no more memory than one of 1 MiB: less than 64 MiB in all, Python included."""
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "file").open("wb") as stream:
        stream.truncate(size)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "data"), str(tmp_path / "cache")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert int(ran.stdout) < 64 * 1024  # KiB
