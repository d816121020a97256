"""How versions are given out: read-only views that mend themselves, and folders that are whole or absent."""

import os
import shutil
from pathlib import Path

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import CorruptObject, InvalidArgument, StoreError
from mlflow_dsver.providers.local import LocalProvider, objects, views
from mlflow_dsver.providers.local.maintenance import collect
from mlflow_dsver.providers.local.store import remove_tree
from mlflow_dsver.versions import DatasetVersion


@pytest.fixture
def local(tmp_path: Path) -> LocalProvider:
    return LocalProvider(tmp_path / "store")


@pytest.fixture
def version(local: LocalProvider, tmp_path: Path) -> DatasetVersion:
    folder = tmp_path / "data"
    (folder / "images" / "deep").mkdir(parents=True)
    (folder / "labels.csv").write_text("a,1\n")
    (folder / "images" / "a.bin").write_bytes(b"a" * 1000)
    (folder / "images" / "deep" / "large.bin").write_bytes(os.urandom(objects.SMALL + 10))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "link.csv").symlink_to("labels.csv")
    return local.create("digits", folder)


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_view_is_read_only_and_survives_its_source(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path
) -> None:
    """What `path` gives is the version, whatever happens to the folder that it came from."""
    shutil.rmtree(tmp_path / "data")
    path = local.path(version)
    assert hash_folder(path).digest == version.content_digest
    assert (path / "link.csv").read_text() == "a,1\n"
    assert not (path / "link.csv").is_symlink()
    for found in [path, *path.rglob("*")]:
        assert found.stat().st_mode & 0o222 == 0, found
    assert local.path(version) == path


def test_a_view_shares_nothing_with_the_source(local: LocalProvider, version: DatasetVersion, tmp_path: Path) -> None:
    """Objects and views are no hard links to people's files, so editing one does not edit the other."""
    view = local.path(version)
    for found in [*(tmp_path / "data").rglob("*"), *view.rglob("*"), *local.store.root.glob("objects/*/*")]:
        assert found.is_dir() or found.stat().st_nlink == 1


def edit(view: Path) -> None:
    (view / "labels.csv").chmod(0o644)
    (view / "labels.csv").write_text("a,2\n")


def edit_with_the_old_date(view: Path) -> None:
    before = (view / "labels.csv").stat()
    edit(view)
    os.utime(view / "labels.csv", ns=(before.st_atime_ns, before.st_mtime_ns))


def remove(view: Path) -> None:
    view.chmod(0o755)
    (view / "labels.csv").unlink()


def add(view: Path) -> None:
    view.chmod(0o755)
    (view / "added.txt").write_text("added")


def hide(view: Path) -> None:
    view.chmod(0o755)
    (view / ".dsverignore").write_text("added.txt\n")
    (view / "added.txt").write_text("added")


def remove_all(view: Path) -> None:
    remove_tree(view)


@pytest.mark.parametrize("change", [edit, edit_with_the_old_date, remove, add, hide, remove_all])
def test_a_changed_view_is_made_anew(local: LocalProvider, version: DatasetVersion, change) -> None:
    """Whatever was done to a view, the next `path` gives the version; what was put aside is collected."""
    view = local.path(version)
    assert local.path(version) == view
    change(view)
    assert local.path(version) == view
    assert hash_folder(view).digest == version.content_digest
    assert not (view / ".dsverignore").exists()
    collect(local.store, dry_run=False, min_age=0)
    assert beside(local.store.root / "tmp") == set()
    assert hash_folder(view).digest == version.content_digest


def test_an_intact_view_is_not_written(
    local: LocalProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once made, a view needs no lock and no object."""
    view = local.path(version)
    monkeypatch.setattr(views, "give_out", lambda *_: pytest.fail("made again for nothing"))
    shutil.rmtree(local.store.root / "objects")
    assert local.path(version) == view


@pytest.mark.parametrize("exists", [False, True])
def test_materialise_makes_the_folder(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path, exists: bool
) -> None:
    """Into a new folder, with its parents, or an empty one; files are the user's to change; nothing else is left."""
    out = tmp_path / "new" / "out"
    if exists:
        out.mkdir(parents=True)
    local.materialise(version, out)
    assert hash_folder(out).digest == version.content_digest
    assert beside(out.parent) == {"out"}
    (out / "labels.csv").write_text("mine now")


def test_materialise_into_the_current_folder(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name is meant from where the caller stands."""
    monkeypatch.chdir(tmp_path)
    local.materialise(version, Path("out"))
    assert hash_folder(tmp_path / "out").digest == version.content_digest


@pytest.mark.parametrize("kind", ["file", "full", "dangling link"])
def test_materialise_refuses_what_is_there(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path, kind: str
) -> None:
    """A file, a folder with something in it, a link to nowhere: refused and left as they were."""
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "full":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = beside(tmp_path)
    with pytest.raises(InvalidArgument, match="not an empty folder"):
        local.materialise(version, out)
    assert beside(tmp_path) == before


@pytest.mark.parametrize("where", ["new", "empty", "mount point"])
def test_failed_materialise_leaves_nothing(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A damaged object is met on the way: the target is as it was, with nothing beside it."""
    out = tmp_path / "parent" / "out"
    (out if where != "new" else out.parent).mkdir(parents=True)
    if where == "mount point":  # cannot be replaced by a renaming, so it is filled in place
        monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)
    last = next(entry for entry in local.manifest(version).entries if entry.path == "labels.csv")
    damaged = Path(local.store.object(last.digest))
    damaged.chmod(0o644)
    damaged.write_bytes(b"X,1\n")
    with pytest.raises(CorruptObject, match=last.path):
        local.materialise(version, out)
    assert beside(out.parent) == ({"out"} if where != "new" else set())
    assert not out.exists() or beside(out) == set()


def test_materialise_at_a_mount_point(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be replaced (a volume of a container) is filled in place."""
    out = tmp_path / "volume"
    out.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)
    inode = out.stat().st_ino
    local.materialise(version, out)
    assert hash_folder(out).digest == version.content_digest
    assert out.stat().st_ino == inode


def test_names_that_are_the_same_to_the_file_system_are_refused(
    local: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that ignores case two names of a version are one file: refused, and nothing is left."""
    (tmp_path / "data").mkdir()
    for name in ("Label.csv", "label.csv"):
        (tmp_path / "data" / name).write_text(name)
    version = local.create("digits", tmp_path / "data")
    real = objects.safe_join
    monkeypatch.setattr(objects, "safe_join", lambda folder, path: real(folder, path.lower()))
    with pytest.raises(StoreError, match=r"Label\.csv and another|label\.csv and another"):
        local.materialise(version, tmp_path / "out")
    assert beside(tmp_path) - {"dsver-home"} == {"data", "store"}


def test_folders_that_are_the_same_to_the_file_system_are_refused(
    local: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders `A` and `a` would be merged in silence otherwise."""
    for name in ("A/one.txt", "a/two.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).write_text(name)
    version = local.create("digits", tmp_path / "data")
    real = Path.mkdir

    def mkdir(path: Path, *arguments: int, **options: bool) -> None:
        real(path.with_name(path.name.lower()) if path.name == "A" else path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StoreError):
        local.materialise(version, tmp_path / "out")
    assert beside(tmp_path) - {"dsver-home"} == {"data", "store"}


def test_large_files_are_shared_where_the_file_system_can(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone that succeeds is what is hashed; the test's clone copies, because few file systems can share."""
    cloned = []

    def clone(source: int, target: int) -> bool:
        os.sendfile(target, source, 0, os.fstat(source).st_size)
        os.lseek(target, 0, os.SEEK_SET)
        cloned.append(target)
        return True

    monkeypatch.setattr(objects, "reflink", clone)
    (tmp_path / "data" / "more.bin").write_bytes(os.urandom(objects.SMALL + 5))
    second = local.create("digits", tmp_path / "data")
    local.materialise(second, tmp_path / "out")
    assert hash_folder(tmp_path / "out").digest == second.content_digest
    assert cloned


def test_a_clone_that_is_wrong_is_not_served(
    local: LocalProvider, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is hashed, not what it was copied from."""

    def clone(source: int, target: int) -> bool:
        os.write(target, b"wrong")
        os.lseek(target, 0, os.SEEK_SET)
        return True

    monkeypatch.setattr(objects, "reflink", clone)
    with pytest.raises(CorruptObject, match=r"large\.bin"):
        local.materialise(version, tmp_path / "out")
