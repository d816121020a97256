"""Objects that were damaged, lost or replaced: never believed, and restored by whoever has the bytes."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mlflow_dsver.checks.byte_checks import ReadOptions, read_bytes
from mlflow_dsver.checks.reports import ByteEvidence, Depth, Proof, ReadStatus
from mlflow_dsver.content import stat_cache as stat_cache
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.model.versions import DatasetVersion, now
from mlflow_dsver.providers import dataset_history
from mlflow_dsver.providers.local import LocalProvider, objects, verified_stats
from mlflow_dsver.providers.local.maintenance import check, collect
from mlflow_dsver.providers.local.verified_stats import VerifiedObjects, file_system_clock

DEFAULT, FULL = ReadOptions(Depth.DEFAULT), ReadOptions(Depth.FULL)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalProvider:
    """A store on a disk, beside a cache of digests that trusts files at once, so that nothing is read for it."""
    monkeypatch.setattr(stat_cache, "YOUNG", 0)
    monkeypatch.setattr(verified_stats, "dates_prove", lambda _: True)
    return LocalProvider(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_text(f"content of {name}\n")
    (folder / "large").write_bytes(os.urandom(objects.SMALL + 10))
    return folder


@pytest.fixture
def version(local: LocalProvider, folder: Path) -> DatasetVersion:
    return local.create("digits", folder)


def object_of(local: LocalProvider, version: DatasetVersion, path: str) -> Path:
    [digest] = [entry.digest for entry in local.manifest(version).entries if entry.path == path]
    return Path(local.store.object(digest))


def damage(path: Path) -> None:
    """Other bytes of the same length, with mtime and mode as before."""
    before = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def empty(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"")


def link_to_a_copy(path: Path) -> None:
    """A symbolic link to the right bytes, which lie where the store has no say."""
    elsewhere = path.parents[3] / "elsewhere"
    shutil.copy(path, elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)


def replace_with_a_damaged_copy(path: Path) -> None:
    """The whole fan-out folder comes from a backup of another day."""
    backup = path.parents[3] / "backup"
    shutil.copytree(path.parent, backup)
    damage(backup / path.name)
    shutil.rmtree(path.parent)
    backup.rename(path.parent)


HARMS = [damage, empty, Path.unlink, link_to_a_copy, replace_with_a_damaged_copy]


def look(local: LocalProvider, version: DatasetVersion, options: ReadOptions = DEFAULT) -> ByteEvidence:
    return read_bytes(LocalProvider(local.store.root), version, options)


def test_untouched_objects_need_not_be_read(local: LocalProvider, version: DatasetVersion) -> None:
    assert (look(local, version).status, look(local, version).proof) == (ReadStatus.READ, Proof.CACHED)
    assert look(local, version, FULL).proof is Proof.HASHED


@pytest.mark.parametrize("name", ["a", "large"])
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("options", [DEFAULT, FULL])
def test_a_harmed_object_is_found(
    local: LocalProvider, version: DatasetVersion, harm: Callable[[Path], None], name: str, options: ReadOptions
) -> None:
    harm(object_of(local, version, name))
    found = look(local, version, options)
    assert found.status in (ReadStatus.DAMAGED, ReadStatus.GONE)
    assert found.paths == (name,)


@pytest.mark.parametrize("name", ["a", "large"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_object_is_not_reused_by_a_later_version(
    local: LocalProvider, version: DatasetVersion, folder: Path, harm: Callable[[Path], None], name: str
) -> None:
    """The later version's bytes are at hand, so its object is what its name says, and the first version's as well."""
    harm(object_of(local, version, name))
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    (other / "new").write_text("new")
    later = local.create("digits", other)
    for each in (version, later):
        assert look(local, each, FULL).status is ReadStatus.READ
        assert look(local, each).proof is Proof.CACHED
    assert check(local.store)


@pytest.mark.parametrize("name", ["a", "large"])
@pytest.mark.parametrize("harm", HARMS)
def test_creating_unchanged_content_again_restores_what_was_harmed(
    local: LocalProvider, version: DatasetVersion, folder: Path, harm: Callable[[Path], None], name: str
) -> None:
    """Also when no file of the folder has to be read to know that it is the version."""
    harm(object_of(local, version, name))
    assert local.create("digits", folder) == version
    assert look(local, version, FULL).status is ReadStatus.READ
    assert hash_folder(local.path(version)).digest == version.content_digest


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_creating_unchanged_content_again_restores_the_manifest(
    local: LocalProvider, version: DatasetVersion, folder: Path, harm: Callable[[Path], None]
) -> None:
    path = local.store.manifest(version.content_digest or "")
    path.chmod(0o644)
    harm(path)
    local.create("digits", folder)
    assert local.manifest(version).digest == version.content_digest
    assert check(local.store)


def test_the_date_of_a_version_vouches_for_nothing(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version made by a machine whose clock runs ahead: damage done after it, and before its date, is found."""
    monkeypatch.setattr(dataset_history, "now", lambda: now() + timedelta(days=1))
    version = local.create("digits", folder)
    damage(object_of(local, version, "a"))
    assert look(local, version).status is ReadStatus.DAMAGED


def test_an_object_put_back_from_a_backup_is_read_and_then_remembered(
    local: LocalProvider, version: DatasetVersion, folder: Path
) -> None:
    """Checks remember nothing, since they write nothing; creating does."""
    path = object_of(local, version, "a")
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)
    for _ in range(2):
        assert VerifiedObjects(local.store).untouched({path.name}) == set()
        assert look(local, version).status is ReadStatus.READ
    local.create("digits", folder)
    assert VerifiedObjects(local.store).untouched({path.name}) == {path.name}


def test_an_edit_through_a_mapping_that_stays_open_is_found(
    local: LocalProvider, version: DatasetVersion, folder: Path
) -> None:
    """Dates move only with the first write to a clean page, so pages are flushed before a stat counts."""
    path = object_of(local, version, "a")
    path.chmod(0o644)
    with path.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        mapped[0] = mapped[0]  # the page is dirty, its bytes are right
        local.create("digits", folder)
        assert look(local, version).status is ReadStatus.READ
        mapped[0] ^= 1
        assert look(local, version).status is ReadStatus.DAMAGED


@pytest.mark.parametrize("content", [b"", b"nonsense", b"dsv1" + b"\xff" * 100, None])
def test_a_damaged_list_of_verified_objects_costs_time_and_no_truth(
    local: LocalProvider, version: DatasetVersion, folder: Path, content: bytes | None
) -> None:
    """None: cut short by a kill. What cannot be read is written anew by the next creation."""
    for path in (local.store.root / "verified").iterdir():
        path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    assert look(local, version).proof is Proof.HASHED
    local.create("digits", folder)
    assert look(local, version).proof is Proof.CACHED
    damage(object_of(local, version, "a"))
    assert look(local, version).status is ReadStatus.DAMAGED


def test_a_list_of_verified_objects_that_cannot_be_written_stops_nothing(local: LocalProvider, folder: Path) -> None:
    local.store.make()
    (local.store.root / "verified").write_text("a file where a folder belongs")
    version = local.create("digits", folder)
    assert look(local, version).proof is Proof.HASHED


def test_nothing_is_remembered_where_dates_prove_nothing(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On tmpfs, for one, a write through a mapping moves no date at all."""
    monkeypatch.setattr(verified_stats, "dates_prove", lambda _: False)
    assert look(local, local.create("digits", folder)).proof is Proof.HASHED


def test_an_object_as_young_as_the_clock_is_not_remembered(local: LocalProvider, version: DatasetVersion) -> None:
    """It could be changed again within the grain of its ctime."""
    path = object_of(local, version, "a")
    path.chmod(0o440)
    status = path.lstat()
    known = VerifiedObjects(local.store)
    known.remember([(path.name, status)], status.st_ctime_ns)
    assert not known.unchanged(f"{path.parent.name}/{path.name}", status)
    known.remember([(path.name, status)], file_system_clock(local.store.root / "tmp", status.st_ctime_ns))
    assert known.unchanged(f"{path.parent.name}/{path.name}", status)


def test_the_list_of_verified_objects_stays_small(local: LocalProvider, version: DatasetVersion) -> None:
    """The same object again and again leaves the list as long as its store has objects, within a factor."""
    path = object_of(local, version, "a")
    for mode in (0o400, 0o444) * 100:
        path.chmod(mode)
        status = path.lstat()
        known = VerifiedObjects(local.store)
        known.remember([(path.name, status)], status.st_ctime_ns + 1)
    assert known.unchanged(f"{path.parent.name}/{path.name}", status)
    assert (local.store.root / "verified" / path.parent.name).stat().st_size < 200 * 64


def test_what_is_collected_is_forgotten(local: LocalProvider, version: DatasetVersion) -> None:
    path = object_of(local, version, "a")
    local.delete(version)
    collect(local.store, dry_run=False, min_age=0)
    assert not path.exists()
    assert [each for each in (local.store.root / "verified").iterdir() if each.stat().st_size] == []
