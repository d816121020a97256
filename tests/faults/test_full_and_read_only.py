"""A full disk, a read-only disk and a store of somebody else are clear errors, and change nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from disks import REASON, can_mount, make_disk, mounted

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import StoreError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.local import LocalProvider, sparse
from mlflow_dsver.providers.local.maintenance import check, collect

pytestmark = pytest.mark.faults
needs_mount = pytest.mark.skipif(not can_mount(), reason=REASON)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        (tmp_path / "data" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / str(number % 3) / f"{number}.bin").write_bytes(bytes([number]) * 2000)
    return tmp_path / "data"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(make_disk(tmp_path / "image", 16), tmp_path / "disk") as disk:
        yield disk


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder below root with what would show a change."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in [root, *root.rglob("*")]
    }


def without_times(found: dict[str, tuple[int, int, int]]) -> set[str]:
    return set(found)


@needs_mount
@pytest.mark.parametrize("size", [500_000, 5_000_000], ids=["many small", "one large"])
def test_full_disk_is_a_clear_error_and_leaves_nothing(disk: Path, folder: Path, size: int) -> None:
    """Creation says that the disk is full, its unfinished work is gone, and what was there still works."""
    local = LocalProvider(disk / "store")
    first = local.create("digits", folder)
    before = without_times(snapshot(disk / "store"))
    for number in range(20_000_000 // size):
        (folder / f"large-{number}.bin").write_bytes(os.urandom(size))
    with pytest.raises(StoreError, match="the disk is full"):
        local.create("digits", folder)
    assert without_times(snapshot(disk / "store")) == before
    assert check(local.store)
    assert list(local.versions("digits")) == [first]
    for path in folder.glob("large-*"):
        path.write_bytes(path.read_bytes()[:1000])
    second = local.create("digits", folder)
    assert hash_folder(local.path(second)).digest == second.content_digest


@needs_mount
def test_full_disk_while_the_log_is_written(disk: Path, folder: Path) -> None:
    """No block is left for the log: the operation did not happen, and happens when there is room again."""
    local = LocalProvider(disk / "store")
    version = local.create("digits", folder)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(b"x" * 4096):
            pass
    message = "m" * 60_000
    with pytest.raises(StoreError, match="the disk is full"):
        local.update(version, message=message)
    assert local.get("digits", version.id) == version
    assert check(local.store).interrupted == ()
    filler.unlink()
    assert local.update(version, message=message).message == message


@needs_mount
def test_full_disk_while_a_view_is_made(disk: Path, folder: Path) -> None:
    """There is room for the objects but not for a copy of them: `path` says so and leaves no half of a view."""
    (folder / "large.bin").write_bytes(os.urandom(7_000_000))
    local = LocalProvider(disk / "store")
    version = local.create("digits", folder)
    with pytest.raises(StoreError, match="the disk is full"):
        local.path(version)
    assert list((disk / "store" / "views").iterdir()) == []
    with pytest.raises(StoreError, match="the disk is full"):
        local.materialise(version, disk / "out")
    assert {path.name for path in disk.iterdir()} == {"lost+found", "store"}
    assert check(local.store)


@needs_mount
def test_a_full_disk_is_noticed_when_errors_are_swallowed(
    disk: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: writing stops at the error and goes on as if all were written. The store is broken then."""
    real = sparse.write_all

    def forgiving(descriptor: int, content: memoryview) -> None:
        try:
            real(descriptor, content)
        except OSError:  # and so that there is space for the manifest and the log:
            os.ftruncate(descriptor, max(0, os.fstat(descriptor).st_size - 200_000))

    monkeypatch.setattr(sparse, "write_all", forgiving)
    (folder / "large.bin").write_bytes(os.urandom(20_000_000))
    local = LocalProvider(disk / "store")
    try:
        local.create("digits", folder)
    except StoreError:
        pytest.fail("the mutant was to create the version")
    except OSError:
        pass  # the log, which does not forgive
    shutil.rmtree(disk / "store" / "tmp")
    assert not check(local.store)


@needs_mount
def test_read_only_disk_serves_and_is_not_written(tmp_path: Path, folder: Path) -> None:
    """Reading and checking work; whatever needs writing is a clear error; not a byte of the disk changes."""
    image = make_disk(tmp_path / "image", 16)
    with mounted(image, tmp_path / "disk") as disk:
        local = LocalProvider(disk / "store")
        first = local.create("digits", folder, tags=("clean",))
        local.path(first)
        (folder / "new.bin").write_bytes(b"new")
        second = local.create("digits", folder)
    before = image.read_bytes()
    with mounted(image, tmp_path / "disk", "loop,ro") as disk:
        local = LocalProvider(disk / "store")
        assert local.get("digits", first.id) == first
        assert list(local.versions("digits")) == [second, first]
        assert local.resolve(DatasetRef("local", "digits", "clean")) == first
        assert local.manifest(first).digest == first.content_digest
        assert check(local.store)
        assert collect(local.store).dry_run
        assert hash_folder(local.path(first)).digest == first.content_digest
        local.materialise(second, tmp_path / "out")
        assert hash_folder(tmp_path / "out").digest == second.content_digest
        for refused in (
            lambda: local.path(second),
            lambda: local.create("digits", folder),
            lambda: local.update(first, message="x"),
            lambda: local.delete(first),
            lambda: collect(local.store, dry_run=False, min_age=0),
        ):
            with pytest.raises(StoreError, match="not allowed"):
                refused()
    assert image.read_bytes() == before


OTHER_USER = """
import sys
from contextlib import suppress
from pathlib import Path
from mlflow_dsver.errors import StoreError
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.providers.local.maintenance import check
local = LocalProvider(Path(sys.argv[1]))
version = next(local.versions("digits"))
assert check(local.store)
assert (local.path(version) / "0" / "0.bin").read_bytes() == bytes(2000)
for refused in (lambda: local.create("digits", Path(sys.argv[2])), lambda: local.delete(version)):
    try:
        refused()
    except StoreError as error:
        assert "not allowed" in str(error), error
    else:
        raise AssertionError("written by a user who may not")
print("served")
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv to be another user"
)
def test_store_of_another_user_serves_and_is_not_written(tmp_path: Path, folder: Path) -> None:
    """A user without the right to write reads versions and gets clear errors for the rest."""
    local = LocalProvider(tmp_path / "shared" / "store")
    local.path(local.create("digits", folder))
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent.name.startswith(("pytest", "popen-gw")):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    before = snapshot(tmp_path / "shared")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    probe = subprocess.run([*nobody, sys.executable, "-c", "import mlflow_dsver"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip("the Python in use cannot be read by another user")
    done = subprocess.run(
        [*nobody, sys.executable, "-c", OTHER_USER, str(tmp_path / "shared" / "store"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "MLFLOW_DSVER_HOME": str(tmp_path / "nobody"), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
    )
    assert done.stdout == "served\n", done.stderr
    assert snapshot(tmp_path / "shared") == before
