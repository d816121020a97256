"""Every flipped bit in a store is found by the check, and none is ever served.

Each byte of each file is damaged in turn, in one bit that changes from byte to byte; the log, in which every byte
decides over versions, in each of its bits.
"""

import os
import shutil
from pathlib import Path

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import CorruptObject, DsverError, StoreError
from mlflow_dsver.providers.local import LocalProvider, maintenance, objects
from mlflow_dsver.providers.local.maintenance import check
from mlflow_dsver.providers.local.shared_views import release_views

pytestmark = pytest.mark.faults


@pytest.fixture
def local(tmp_path: Path) -> LocalProvider:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "labels.csv").write_text("a,1\n")
    (folder / "images" / "ü.bin").write_bytes(os.urandom(300))
    local = LocalProvider(tmp_path / "store")
    local.create("digits", folder, tags=("clean",), message="first", metadata={"by": "round 3"})
    (folder / "labels.csv").write_text("a,2\n")
    local.create("digits", folder)
    return local


def bits(path: Path) -> list[tuple[int, int]]:
    """(byte, bit) of the flips to try in a file."""
    size = path.stat().st_size
    if path.name == "log":
        return [(byte, bit) for byte in range(size) for bit in range(8)]
    return [(byte, byte % 8) for byte in range(size)]


def flip(path: Path, byte: int, bit: int) -> None:
    """Flip one bit in place, as a bad disk would."""
    path.chmod(0o644)
    with path.open("r+b", buffering=0) as stream:
        stream.seek(byte)
        (value,) = stream.read(1)
        stream.seek(byte)
        stream.write(bytes([value ^ (1 << bit)]))


def every_flip_is_found(local: LocalProvider) -> int:
    """Flip, check, flip back; how many flips there were."""
    assert check(local.store), "the store is sound to begin with"
    count = 0
    for path in sorted(path for path in local.store.root.rglob("*") if path.is_file()):
        if path.parent.name == "verified":
            continue  # damage there costs time: objects are read again
        for byte, bit in bits(path):
            flip(path, byte, bit)
            report = check(local.store)
            assert not report, f"bit {bit} of byte {byte} of {path.name} ({path.stat().st_size} bytes) is not noticed"
            relative = str(path.relative_to(local.store.root))
            assert any(relative.startswith(finding.file) for finding in report.findings), report.findings
            flip(path, byte, bit)
            count += 1
    assert check(local.store), "and at the end"
    return count


def test_every_flipped_bit_is_found(local: LocalProvider) -> None:
    """Format, log, manifests and objects: the report names the file that was damaged."""
    assert every_flip_is_found(local) > 5000


@pytest.mark.slow
def test_no_damage_is_ever_served(local: LocalProvider, tmp_path: Path) -> None:
    """With an object, a manifest or the log damaged, a version is served with its own bytes or not at all."""
    versions = {version.id: version for version in local.versions("digits")}
    served = refused = 0
    for path in sorted(path for path in local.store.root.rglob("*") if path.is_file()):
        every = bits(path)
        for byte, bit in every[:: max(1, len(every) // 60)]:
            flip(path, byte, bit)
            for version_id, version in versions.items():
                out = tmp_path / "out"
                try:
                    local.materialise(local.get("digits", version_id), out)
                    assert hash_folder(out).digest == version.content_digest
                    shutil.rmtree(out)
                    served += 1
                except StoreError:  # and never NotFound: damage does not make a version vanish
                    assert not out.exists()
                    refused += 1
            flip(path, byte, bit)
    assert served
    assert refused


def test_damaged_object_is_named_and_the_rest_still_served(local: LocalProvider, tmp_path: Path) -> None:
    """The error names the file of the version and the object; a version that does not need it is served."""
    newest, oldest = local.versions("digits")
    entry = next(entry for entry in local.manifest(oldest).entries if entry.path == "labels.csv")
    flip(Path(local.store.object(entry.digest)), 0, 3)
    for refused in (lambda: local.path(oldest), lambda: local.materialise(oldest, tmp_path / "out")):
        with pytest.raises(CorruptObject, match=r"labels\.csv") as caught:
            refused()
        assert entry.digest in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert list((local.store.root / "views").iterdir()) == []
    assert hash_folder(local.path(newest)).digest == newest.content_digest


def test_damaged_view_is_put_right(local: LocalProvider) -> None:
    """A bit that flips in a folder given out before is noticed by the check and mended by the next `path`."""
    version = next(local.versions("digits"))
    file = local.path(version) / "labels.csv"
    flip(file, 0, 1)
    assert [finding.kind for finding in check(local.store).findings] == ["view"]
    release_views()
    assert (local.path(version) / "labels.csv").read_text() == "a,2\n"
    assert check(local.store)


def test_every_byte_cut_from_the_log_is_the_state_before(local: LocalProvider) -> None:
    """A log that was cut anywhere in its last line is read as if the line was not begun, and can be written on."""
    newest, oldest = local.versions("digits")
    log = local.store.log("digits")
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(len(lines[0]), len(whole)):
        for tail in (b"", bytes(4096)):  # a file system may have made the file longer before the bytes came
            log.write_bytes(whole[:cut] + tail)
            assert [version.id for version in local.versions("digits")] == [oldest.id]
            assert check(local.store)
    log.write_bytes(whole[:-9])
    assert check(local.store).interrupted
    local.update(oldest, message="written behind the cut")
    assert [version.message for version in local.versions("digits")] == ["written behind the cut"]
    assert not check(local.store).interrupted
    assert newest


@pytest.mark.parametrize("mutant", ["objects are trusted", "mode is trusted", "manifest sums are not looked at"])
def test_the_flips_catch_a_check_that_does_not_read(
    local: LocalProvider, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    """A check that skips hashing, or believes what is read-only, or only parses manifests, lets flips through."""
    if mutant == "objects are trusted":
        monkeypatch.setattr(maintenance, "object_state", lambda *_: None)
    elif mutant == "mode is trusted":
        real = objects.object_state

        def trusting(store, entry):
            return real(store, entry) if Path(store.object(entry.digest)).stat().st_size != entry.bytes else None

        monkeypatch.setattr(maintenance, "object_state", trusting)
    else:
        monkeypatch.setattr(maintenance._Needs, "add", lambda self, state: _needs_without_sums(self, state))
    with pytest.raises((AssertionError, DsverError), match="is not noticed"):
        every_flip_is_found(local)


def _needs_without_sums(needs: maintenance._Needs, state: maintenance.State) -> None:
    class Anything(set[str]):
        def __contains__(self, _: object) -> bool:
            return True

    for record in state.versions.values():
        needs.versions.setdefault(record.digest, []).append(record.id)
        needs.sums[record.digest] = Anything()
        needs.kept.add(record.digest)
