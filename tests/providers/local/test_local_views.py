"""How versions are given out: read-only views that mend themselves, and folders that are whole or absent."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import CorruptObject, InvalidArgument, StoreError
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.local import LocalProvider, objects, shared_views
from mlflow_dsver.providers.local.maintenance import check, collect
from mlflow_dsver.providers.local.shared_views import release_views
from mlflow_dsver.providers.local.store import remove_tree


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


def add_links(view: Path) -> None:
    view.chmod(0o755)
    (view / "labels.csv").unlink()
    (view / "labels.csv").symlink_to(view / "images")
    (view / "images").chmod(0o755)
    remove_tree(view / "images" / "deep")
    (view / "images" / "deep").write_text("a file where a folder was")
    os.mkfifo(view / "images" / "pipe")


CHANGES = [edit, edit_with_the_old_date, remove, add, hide, add_links, remove_all]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_view_that_nobody_uses_is_put_right(local: LocalProvider, version: DatasetVersion, change) -> None:
    """Whatever was done to a view, the next `path` gives the version, in the same place, and nothing is left over."""
    view = local.path(version)
    assert local.path(version) == view
    change(view)
    release_views()
    assert local.path(version) == view
    assert hash_folder(view).digest == version.content_digest
    assert not (view / ".dsverignore").exists()
    for found in [view, *view.rglob("*")]:
        assert found.stat().st_mode & 0o222 == 0, found
    assert check(local.store)
    collect(local.store, dry_run=False, min_age=0)
    assert beside(local.store.root / "tmp") == set()
    assert hash_folder(view).digest == version.content_digest


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_view_in_use_stays_and_others_get_another(
    local: LocalProvider, version: DatasetVersion, change
) -> None:
    """The job that was given the first view loses nothing; whoever asks now gets exactly the version's files."""
    view = local.path(version)
    change(view)
    before = {path: path.lstat().st_ino for path in view.rglob("*")}
    other = local.path(version)
    assert other != view or change is remove_all
    assert hash_folder(other).digest == version.content_digest
    assert not (other / ".dsverignore").exists()
    if change is not remove_all:
        assert {path: path.lstat().st_ino for path in view.rglob("*")} == before
    assert local.path(version) == other


def test_views_beside_each_other_share_their_bytes(local: LocalProvider, version: DatasetVersion) -> None:
    """Only names take room, however many jobs write something of theirs beside the data."""
    for number in range(4):
        view = local.path(version)
        (view / "images").chmod(0o755)
        (view / "images" / "labels.cache").write_text(f"cache of job {number}")
    large = {path.stat().st_ino for path in local.store.root.glob("views/*/*/images/deep/large.bin")}
    assert len(list(local.store.root.glob("views/*/files*/"))) == 4
    assert len(large) == 1


def test_an_edited_file_is_not_shared(local: LocalProvider, version: DatasetVersion) -> None:
    """The other files of an edited view are shared, the edited one comes from the objects."""
    view = local.path(version)
    edit(view)
    other = local.path(version)
    assert (other / "labels.csv").read_text() == "a,1\n"
    assert (view / "labels.csv").read_text() == "a,2\n"
    assert (view / "images" / "a.bin").samefile(other / "images" / "a.bin")


def test_without_hard_links_files_are_copied(
    local: LocalProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    add(local.path(version))
    assert hash_folder(local.path(version)).digest == version.content_digest


JOB = """
import sys
from pathlib import Path
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.model.refs import parse
local = LocalProvider(Path(sys.argv[1]))
view = local.path(local.resolve(parse("local://digits")))
print(view, flush=True)
view.chmod(0o755)
(view / "labels.cache").write_text("mine")
print("written", flush=True)
sys.stdin.read()
"""


def test_a_running_job_keeps_its_view_and_its_end_frees_it(local: LocalProvider, version: DatasetVersion) -> None:
    """Across processes: the lock is the kernel's, so the end of a job, however it ends, frees its view."""
    command = [sys.executable, "-c", JOB, str(local.store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        first = Path(job.stdout.readline().strip())
        assert job.stdout.readline() == "written\n"
        other = local.path(version)
        assert other != first
        assert (first / "labels.cache").read_text() == "mine"
        collect(local.store, dry_run=False, min_age=0)
        local.delete(version)
        collect(local.store, dry_run=False, min_age=0)
        assert (first / "labels.cache").read_text() == "mine"
        assert (other / "labels.csv").exists()
        job.kill()
        job.wait()
    local.create("digits", local.store.root.parent / "data")
    assert local.path(version) == other
    release_views()
    collect(local.store, dry_run=False, min_age=0)
    assert beside(first.parent) == {"files", "files.lock"}
    assert local.path(version) == first
    assert not (first / "labels.cache").exists()


def test_a_view_that_was_not_used_for_a_while_is_removed(
    local: LocalProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next `path` that has work to do; the first view stays."""
    first = local.path(version)
    add(first)
    add(local.path(version))
    release_views()
    monkeypatch.setattr(shared_views, "SPARE_AGE", -1.0)
    assert local.path(version) == first
    assert beside(first.parent) == {"files", "files.lock"}


def test_a_forked_process_keeps_the_view_of_its_parent(local: LocalProvider, version: DatasetVersion) -> None:
    """Workers that outlive the process which asked for the data go on reading it."""
    view = local.path(version)
    asks, tells = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.read(asks, 1)
        os._exit(0)
    try:
        add(view)
        release_views()
        assert local.path(version) != view
    finally:
        os.write(tells, b"x")
        os.waitpid(worker, 0)
        os.close(asks)
        os.close(tells)


def test_the_look_at_a_runs_end_is_at_the_view_that_was_given(local: LocalProvider, version: DatasetVersion) -> None:
    first = local.path(version)
    assert (place := local.local_copy(version)).given == first
    add(first)
    other = local.path(version)
    assert (place := local.local_copy(version)).given == other
    assert place.folder == local.store.root / "objects"


def test_an_intact_view_is_not_written(
    local: LocalProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once made, a view needs no lock and no object."""
    view = local.path(version)
    monkeypatch.setattr(shared_views, "give_out", lambda *_: pytest.fail("made again for nothing"))
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
