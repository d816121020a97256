"""What was acknowledged survives a power cut.

A store lies on an ext4 file system in a file. When `create` has returned, the file is copied without unmounting:
what the copy holds is what a disk would hold that lost its power then. It is mounted (the journal is replayed) and
everything must be there. Without the flushes it is not, which the mutants show. (The disk in this model loses what
the kernel had not handed to it; a disk that loses what it was handed and asked to flush is not tested.)
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import REASON, can_mount, make_disk, mounted

from mlflow_dsver.content import atomic_files
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import DsverError
from mlflow_dsver.providers.local import LocalProvider, log, objects, store
from mlflow_dsver.providers.local.maintenance import check

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not can_mount(), reason=REASON)]

FLUSHES = ("flush", "sync_folder", "sync_file_system")


def make_folder(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / f"{number % 5}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number % 256]) * (1000 + number))
    return folder


def lose_power(tmp_path: Path, work: Callable[[Path], None], look: Callable[[Path], None]) -> None:
    """Work on a disk, lose its power when the work is done, and look at what the disk has."""
    image = make_disk(tmp_path / "disk", 64)
    # a commit interval beyond the test's duration: what is durable is so because somebody asked for it
    with mounted(image, tmp_path / "mounted", "loop,commit=300") as disk:
        work(disk / "store")
        shutil.copyfile(image, tmp_path / "after")
    with mounted(tmp_path / "after", tmp_path / "restarted") as disk:
        look(disk / "store")


@pytest.mark.parametrize("count", [3, 300])
def test_acknowledged_version_survives(tmp_path: Path, count: int) -> None:
    """A version with few objects (flushed one by one) and with many (flushed together) is whole afterwards."""
    folder = make_folder(tmp_path / "data", count)
    made = []

    def work(root: Path) -> None:
        made.append(LocalProvider(root).create("digits", folder, tags=("clean",), message="kept"))

    def look(root: Path) -> None:
        local = LocalProvider(root)
        assert check(local.store)
        assert list(local.versions("digits")) == made
        local.materialise(made[0], tmp_path / "out")
        assert hash_folder(tmp_path / "out").digest == made[0].content_digest

    lose_power(tmp_path, work, look)


def test_acknowledged_changes_survive(tmp_path: Path) -> None:
    """A tag that moved, a second version that shares most objects, and a deletion are there afterwards."""
    folder = make_folder(tmp_path / "data", 40)
    seen = []

    def work(root: Path) -> None:
        local = LocalProvider(root)
        first = local.create("digits", folder, tags=("clean",))
        (folder / "0" / "0.bin").write_bytes(b"relabelled")
        second = local.create("digits", folder)
        local.update(second, add_tags=("clean",), message="better")
        third = local.create("other", folder)
        local.delete(third)
        seen.extend([first.id, second.id])

    def look(root: Path) -> None:
        local = LocalProvider(root)
        assert check(local.store)
        assert [version.id for version in local.versions("digits")] == seen[::-1]
        assert [version.id for version in local.versions("digits", tag="clean")] == [seen[1]]
        assert next(local.versions("digits")).message == "better"
        assert list(local.versions("other")) == []

    lose_power(tmp_path, work, look)


@pytest.mark.parametrize("lost", ["all", "content", "log"])
@pytest.mark.parametrize("count", [3, 300])
def test_without_the_flushes_it_would_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, lost: str
) -> None:
    """The mutants: no flush at all, none of the objects, none of the log. Each loses or breaks the version."""
    folder = make_folder(tmp_path / "data", count)
    modules = {"all": (atomic_files, log, log, objects, store), "content": (objects,), "log": (log,)}[lost]
    for module in modules:
        for name in FLUSHES:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_: True)
    if lost == "content":  # the later flushes would write the objects' names, and so the journal's order, as well
        monkeypatch.setattr(log, "sync_folder", lambda *_: None)

    def work(root: Path) -> None:
        LocalProvider(root).create("digits", folder)

    broken = []

    def look(root: Path) -> None:
        local = LocalProvider(root)
        try:
            broken.append(not check(local.store) or not list(local.versions("digits")))
        except DsverError:
            broken.append(True)

    lose_power(tmp_path, work, look)
    assert broken == [True]
