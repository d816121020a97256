"""Files whole or absent, paths that stay inside, time that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlflow_dsver import deadlines
from mlflow_dsver.content.atomic_files import atomic_write, make_folder, safe_join
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded
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
