"""Atomic files, safe paths, deadlines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_dsver import deadlines
from mlflow_dsver.content.atomic_files import atomic_folder, atomic_write, check_new_folder, make_folder, safe_join
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.manifests import InvalidManifest


class TestAtomicWrite:
    def test_the_content_is_there_when_the_block_has_ended_and_not_before(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        with atomic_write(target) as stream:
            stream.write(b"content")
            assert not target.exists()
        assert target.read_bytes() == b"content"
        assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
    def test_a_failure_leaves_the_former_file_and_nothing_else(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        target = tmp_path / "file"
        target.write_bytes(b"former")

        def fail() -> None:
            with atomic_write(target) as stream:
                stream.write(b"half")
                raise error

        with pytest.raises(error):
            fail()
        assert target.read_bytes() == b"former"
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]

    def test_a_kill_leaves_the_former_file(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        target.write_bytes(b"former")
        code = (
            "import os, signal, sys; from pathlib import Path\n"
            "from mlflow_dsver.content.atomic_files import atomic_write\n"
            "with atomic_write(Path(sys.argv[1])) as stream:\n"
            "    stream.write(b'half' * 100000); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        ran = subprocess.run([sys.executable, "-c", code, str(target)], check=False, timeout=60)
        assert ran.returncode == -signal.SIGKILL
        assert target.read_bytes() == b"former"

    def test_mode(self, tmp_path: Path) -> None:
        with atomic_write(tmp_path / "file", mode=0o600):
            pass
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(("durable", "expected"), [(True, ["fsync", "rename", "fsync"]), (False, ["rename"])])
    def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, expected: list[str]
    ) -> None:
        done: list[str] = []
        real = Path.replace
        monkeypatch.setattr(os, "fsync", lambda _descriptor: done.append("fsync"))
        monkeypatch.setattr(Path, "replace", lambda self, to: (done.append("rename"), real(self, to))[1])
        with atomic_write(tmp_path / "file", durable=durable):
            pass
        assert done == expected

    def test_a_very_long_name_is_no_problem(self, tmp_path: Path) -> None:
        with atomic_write(tmp_path / ("x" * 255)) as stream:
            stream.write(b"1")
        assert (tmp_path / ("x" * 255)).read_bytes() == b"1"


def test_folders_are_made_with_their_parents_each_durable_before_its_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("mlflow_dsver.content.atomic_files.sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


@pytest.mark.parametrize("relative", ["../x", "/x", "a/../../x", "", ".", "a//b", "a\0b"])
def test_no_path_leaves_its_folder(tmp_path: Path, relative: str) -> None:
    with pytest.raises(InvalidManifest):
        safe_join(tmp_path, relative)


def test_a_path_below_its_folder(tmp_path: Path) -> None:
    assert safe_join(tmp_path, "a/b c") == tmp_path / "a" / "b c"


class TestAtomicFolder:
    @pytest.mark.parametrize("exists", [False, True])
    def test_a_new_or_empty_folder_is_filled_when_the_block_ends(self, exists: bool, tmp_path: Path) -> None:
        target = tmp_path / "deep" / "target"
        if exists:
            target.mkdir(parents=True)
        with atomic_folder(target) as folder:
            (folder / "file").write_bytes(b"1")
            assert not (target / "file").exists()
        assert [path.name for path in target.iterdir()] == ["file"]
        assert [path.name for path in target.parent.iterdir()] == ["target"]

    def test_a_failure_leaves_nothing_behind(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            fill_and_fail(tmp_path / "target", KeyboardInterrupt())
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_with_content_is_never_replaced(self, tmp_path: Path) -> None:
        """`check_new_folder` says so before the work, and the rename itself refuses it."""
        (tmp_path / "mine").touch()
        with pytest.raises(InvalidArgument, match="not an empty folder"):
            check_new_folder(tmp_path)
        with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path) as folder:
            (folder / "file").touch()
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    @pytest.mark.parametrize("why", ["mount point", "parent of another user"])
    def test_where_no_rename_is_possible_an_existing_folder_is_filled_and_emptied_on_failure(
        self, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "target"
        target.mkdir()
        if why == "mount point":
            monkeypatch.setattr(os.path, "ismount", lambda path: path == target)
        else:
            monkeypatch.setattr(Path, "mkdir", forbidden)
        with pytest.raises(KeyError):
            fill_and_fail(target, KeyError())
        assert list(target.iterdir()) == []
        with atomic_folder(target) as folder:
            assert folder == target
            (folder / "file").touch()
        with pytest.raises(OSError, match="not empty"):
            fill_and_fail(target, KeyError())
        assert [path.name for path in target.iterdir()] == ["file"]

    def test_where_neither_is_possible_the_error_reaches_the_caller(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "mkdir", forbidden)
        with pytest.raises(PermissionError), atomic_folder(tmp_path / "target"):
            pass


def fill_and_fail(target: Path, error: BaseException) -> None:
    with atomic_folder(target) as folder:
        os.mkdir(folder / "below")  # noqa: PTH102  (some tests forbid it for a Path)
        (folder / "file").touch()
        raise error


def forbidden(*_arguments: object, **_options: object) -> None:
    raise PermissionError(13, "Permission denied")


class TestDeadline:
    def test_without_a_bound_it_never_ends(self) -> None:
        deadline = Deadline(None)
        assert deadline.left() == float("inf")
        deadline.check("waiting")

    def test_it_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = [100.0]
        monkeypatch.setattr(deadlines.time, "monotonic", lambda: clock[0])
        slept: list[float] = []
        monkeypatch.setattr(deadlines.time, "sleep", slept.append)
        deadline = Deadline(5)
        clock[0] += 3
        assert deadline.left() == 2
        deadline.check("resolving")
        deadline.sleep(60)
        clock[0] += 2
        deadline.sleep(60)
        assert (slept, deadline.left()) == ([2, 0], 0)
        with pytest.raises(DeadlineExceeded, match="resolving: not done within 5 seconds"):
            deadline.check("resolving")

    def test_it_is_a_timeout(self) -> None:
        assert issubclass(DeadlineExceeded, TimeoutError)
        assert time.monotonic() > 0
