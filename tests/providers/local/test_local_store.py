"""The store's layout, its locks and its garbage collection."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlflow_dsver.content import file_locks
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import CorruptObject, StoreError
from mlflow_dsver.providers.local import LocalProvider, Store, log
from mlflow_dsver.providers.local import store as store_module
from mlflow_dsver.providers.local.maintenance import check, collect
from mlflow_dsver.providers.local.shared_views import release_views
from mlflow_dsver.providers.local.store import hex_of, locked, remove_tree


@pytest.fixture
def local(tmp_path: Path) -> LocalProvider:
    return LocalProvider(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "data" / "b.txt").write_text("b")
    return tmp_path / "data"


def test_the_default_store_follows_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`MLFLOW_DSVER_HOME` is read when a provider is made, not when the module is imported."""
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path / "elsewhere"))
    assert LocalProvider().store == Store(tmp_path / "elsewhere" / "store")


@pytest.mark.parametrize("content", [b"mlflow-dsver local store, layout 2\n", b"", b"\xff\xfe"])
def test_unknown_layout_is_refused_and_left_alone(local: LocalProvider, folder: Path, content: bytes) -> None:
    """A store of a later version, or a damaged format file, is neither read nor written."""
    version = local.create("digits", folder)
    (local.store.root / "format").write_bytes(content)
    before = sorted(local.store.root.rglob("*"))
    for refused in (
        lambda: local.get("digits", version.id),
        lambda: local.create("digits", folder, message="x"),
        lambda: list(local.datasets()),
        lambda: collect(local.store, dry_run=False, min_age=0),
    ):
        with pytest.raises(StoreError, match="layout"):
            refused()
    assert sorted(local.store.root.rglob("*")) == before
    assert [finding.kind for finding in check(local.store).findings] == ["format"]


def test_missing_format_is_refused_where_there_are_datasets(local: LocalProvider, folder: Path) -> None:
    """A store that lost its format file is not taken for an empty one."""
    version = local.create("digits", folder)
    (local.store.root / "format").unlink()
    with pytest.raises(StoreError, match="no format file"):
        local.get("digits", version.id)
    with pytest.raises(StoreError, match="no format file"):
        local.create("digits", folder)


def test_a_store_has_an_id_from_the_beginning(local: LocalProvider, folder: Path) -> None:
    """Random, kept in a file, and said by each version; it goes with the store where that is moved."""
    version = local.create("digits", folder)
    assert version.store == local.store.id() == local.resolve(version.ref).store
    assert re.fullmatch("[0-9a-f]{32}", version.store or "")
    other = LocalProvider(local.store.root.with_name("other")).create("digits", folder)
    assert other.store != version.store
    moved = local.store.root.rename(local.store.root.with_name("moved"))
    assert LocalProvider(moved).get("digits", version.id) == version


def test_a_store_without_an_id_gets_one_when_it_is_written(local: LocalProvider, folder: Path) -> None:
    """A store of an earlier version of this package; reading leaves it as it is."""
    version = local.create("digits", folder)
    (local.store.root / "id").unlink()
    assert local.get("digits", version.id).store is None
    assert check(local.store)
    assert not (local.store.root / "id").exists()
    assert local.update(version, message="new").store == local.store.id() is not None


def test_many_writers_agree_on_the_id_of_a_store(local: LocalProvider) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: (local.store.make(), local.store.id())[1], range(16)))
    assert len(found) == 1
    assert None not in found


@pytest.mark.parametrize("content", [b"", b"x", b"0" * 32 + b" 00000000\n", b"\xff" * 1000])
def test_an_id_that_is_damaged_is_found_and_not_replaced(local: LocalProvider, folder: Path, content: bytes) -> None:
    """Whoever replaced it would make the store unknown to all its links."""
    version = local.create("digits", folder)
    (local.store.root / "id").write_bytes(content)
    assert local.update(version, message="new").store is None
    assert (local.store.root / "id").read_bytes() == content
    assert [finding.kind for finding in check(local.store).findings] == ["id"]


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path: Path, folder: Path) -> None:
    """The setting names a file: nothing can be there."""
    (tmp_path / "file").write_text("x")
    local = LocalProvider(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="cannot be made"):
        local.create("digits", folder)
    assert list(local.datasets()) == []


def test_a_lock_that_others_hold_is_waited_for_and_given_up(tmp_path: Path) -> None:
    """Within the given time, with the file named."""
    path = tmp_path / "lock"
    path.touch()
    with locked(path, exclusive=False):
        with locked(path, exclusive=False, seconds=0.1):
            pass
        begun = time.monotonic()
        with pytest.raises(StoreError, match=f"others have held {path}"), locked(path, exclusive=True, seconds=0.2):
            pass
        assert time.monotonic() - begun >= 0.2
    with locked(path, exclusive=True, seconds=0.1):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A killed process holds nothing back."""
    path = tmp_path / "lock"
    path.touch()
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StoreError), locked(path, exclusive=False, seconds=0.05):
            pass
        process.kill()
    with locked(path, exclusive=True, seconds=1):
        pass


def test_a_system_without_locks_is_told_so(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows the local store says that it cannot work, instead of working without locks."""
    monkeypatch.setattr(file_locks, "fcntl", None)
    with pytest.raises(StoreError, match="Linux or macOS"):
        local.create("digits", folder)


def test_a_file_system_without_locks_is_told_so(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have none."""

    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(file_locks.fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match="No locks available"):
        local.create("digits", folder)


def test_digests_are_looked_at_before_they_become_paths(local: LocalProvider) -> None:
    """Nothing but 64 hex digits becomes a file's name."""
    for text in ("../../etc/passwd", "blake3:" + "g" * 64, "", "a" * 63, "A" * 64, "blake3:" + "a" * 64 + "\n"):
        with pytest.raises(StoreError, match="not a content digest"):
            hex_of(text)


def test_many_objects_are_flushed_with_the_file_system(
    local: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand files do not cost a thousand flushes."""
    from mlflow_dsver.providers.local import objects

    for number in range(1000):
        (tmp_path / "many" / f"{number % 7}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "many" / f"{number % 7}" / f"{number}").write_text(str(number))
    flushes = []
    real = objects.flush
    monkeypatch.setattr(objects, "flush", lambda descriptor: (flushes.append(1), real(descriptor)))
    version = local.create("digits", tmp_path / "many")
    assert len(flushes) < 10
    assert hash_folder(local.path(version)).digest == version.content_digest


def test_without_such_a_call_each_object_is_flushed(
    local: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no flush of a whole file system."""
    from mlflow_dsver.providers.local import objects

    (tmp_path / "many").mkdir()
    for number in range(100):
        (tmp_path / "many" / f"{number}").write_text(str(number))
    flushes = []
    monkeypatch.setattr(objects, "sync_file_system", lambda _: False)
    monkeypatch.setattr(objects, "flush", flushes.append)
    local.create("digits", tmp_path / "many")
    assert len(flushes) == 100


def test_collecting_removes_what_nobody_needs_and_nothing_else(local: LocalProvider, folder: Path) -> None:
    """After a deletion: its manifest, its own objects and its view go; what another version shares stays."""
    first = local.create("digits", folder)
    (folder / "a.txt").write_text("another a")
    second = local.create("other", folder)
    local.path(first)
    release_views()
    local.delete(first)
    dry = collect(local.store, min_age=0)
    assert (dry.dry_run, dry.objects, dry.manifests, dry.views) == (True, 1, 1, 1)
    assert local.store.view(first.content_digest or "").exists()
    done = collect(local.store, dry_run=False, min_age=0)
    assert (done.objects, done.manifests, done.views, done.leftovers) == (1, 1, 1, dry.leftovers)
    assert done.bytes == dry.bytes
    again = collect(local.store, dry_run=False, min_age=0)
    assert (again.objects, again.manifests, again.views, again.leftovers, again.bytes) == (0, 0, 0, 0, 0)
    assert check(local.store)
    assert hash_folder(local.path(second)).digest == second.content_digest


def test_collecting_keeps_what_is_young(local: LocalProvider, folder: Path) -> None:
    """By default nothing goes that changed within the last hour."""
    local.delete(local.create("digits", folder))
    report = collect(local.store, dry_run=False)
    assert (report.objects, report.manifests) == (0, 0)
    assert report.kept_young == 3
    assert collect(local.store, dry_run=False, min_age=0).objects == 2


def test_collecting_keeps_the_manifest_of_references(local: LocalProvider, folder: Path) -> None:
    """A version by reference needs its manifest and no objects."""
    kept = local.create("digits", folder)
    local.create("by-reference", folder, reference=True)
    local.delete(kept)
    report = collect(local.store, dry_run=False, min_age=0)
    assert (report.objects, report.manifests) == (2, 0)
    assert check(local.store)
    assert check(local.store).references == 1


def test_collecting_stops_at_damage(local: LocalProvider, folder: Path) -> None:
    """What a damaged manifest or log needs cannot be known, so nothing is removed."""
    version = local.create("digits", folder)
    local.delete(local.create("gone", folder.parent / "data"))
    (folder / "a.txt").write_text("unneeded")
    local.delete(local.create("gone", folder))
    path = local.store.manifest(version.content_digest or "")
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    before = sorted(local.store.root.rglob("*"))
    with pytest.raises(CorruptObject, match="Nothing was removed"):
        collect(local.store, dry_run=False, min_age=0)
    assert sorted(local.store.root.rglob("*")) == before
    local.delete(version)
    assert collect(local.store, dry_run=False, min_age=0).objects == 3


def test_collecting_waits_for_writers(local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is collected while a version is being created."""
    local.create("digits", folder)
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.2)
    with local.store.writing(), pytest.raises(StoreError, match="others have held"):
        collect(local.store, dry_run=False, min_age=0)


def test_check_reports_all_and_changes_nothing(local: LocalProvider, folder: Path) -> None:
    """Every damaged or missing thing is in one report, with the versions that need it."""
    first = local.create("digits", folder)
    (folder / "a.txt").write_text("another a")
    second = local.create("digits", folder)
    third = local.create("other", folder)
    a, b = (Path(local.store.object(entry.digest)) for entry in local.manifest(first).entries)
    a.unlink()
    b.chmod(0o644)
    b.write_text("c")
    local.store.manifest(second.content_digest or "").unlink()
    before = [(path, path.stat().st_mtime_ns) for path in sorted(local.store.root.rglob("*"))]
    report = check(local.store)
    assert not report
    assert not report.to_json()["ok"]
    found = {(finding.kind, finding.file): finding for finding in report.findings}
    assert set(found) == {
        ("object", f"objects/{a.name[:2]}/{a.name}"),
        ("object", f"objects/{b.name[:2]}/{b.name}"),
        ("manifest", f"manifests/{hex_of(second.content_digest or '')}.jsonl.gz"),
    }
    assert found["object", f"objects/{a.name[:2]}/{a.name}"].versions == (str(first),)
    manifest = found["manifest", f"manifests/{hex_of(second.content_digest or '')}.jsonl.gz"]
    assert set(manifest.versions) == {str(second), str(third)}
    assert [(path, path.stat().st_mtime_ns) for path in sorted(local.store.root.rglob("*"))] == before


def test_check_reads_objects_that_no_version_needs(local: LocalProvider, folder: Path) -> None:
    """A later version would rely on them."""
    local.delete(local.create("digits", folder))
    path = next(path for path in (local.store.root / "objects").rglob("*") if path.is_file())
    path.chmod(0o644)
    path.write_text("x")
    assert [finding.versions for finding in check(local.store).findings] == [()]


def test_misplaced_log_is_found(local: LocalProvider, folder: Path) -> None:
    """A log that was copied to another dataset's place is not taken for that one's."""
    local.create("digits", folder)
    target = local.store.log("other")
    target.parent.mkdir()
    target.write_bytes(local.store.log("digits").read_bytes())
    with pytest.raises(CorruptObject, match="'other' is damaged"):
        list(local.versions("other"))
    assert [finding.kind for finding in check(local.store).findings] == ["log"]


def test_lines_of_a_later_version_are_not_guessed(local: LocalProvider, folder: Path) -> None:
    """An operation that this version does not know is damage to it, not something to pass over."""
    local.create("digits", folder)
    path = local.store.log("digits")
    line, _ = log.line_of({"dataset": "digits", "op": "merge", "version": "x"}, path.read_bytes()[18:50].decode())
    with path.open("ab") as stream:
        stream.write(line)
    with pytest.raises(CorruptObject, match="line 2: it says what this version does not understand"):
        list(local.versions("digits"))


def test_remove_tree_follows_no_links(tmp_path: Path) -> None:
    """A link in a folder that is removed leaves its target alone."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_text("a")
    (tmp_path / "mine").chmod(0o555)
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "mine")
    remove_tree(tmp_path / "gone")
    assert (tmp_path / "mine" / "a").read_text() == "a"
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o555
    remove_tree(tmp_path / "gone")


def test_files_follow_the_umask(tmp_path: Path, folder: Path) -> None:
    """A user who shares nothing shares no object either."""
    before = os.umask(0o077)
    try:
        LocalProvider(tmp_path / "store").create("digits", folder)
    finally:
        os.umask(before)
    for path in (tmp_path / "store").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
