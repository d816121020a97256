"""Archives are refused, never repaired, and nothing is left behind when one is."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hostile_archives import HOSTILE, patched, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_dsver.content.archives import InvalidArchive, Limits, unpack
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive_is_refused_and_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(HOSTILE[kind]())
    with pytest.raises(InvalidArchive):
        unpack(archive, tmp_path / "in" / "target")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.zip", "in"]


def test_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """40 MiB of zeros packed a thousandfold: refused by the ratio, and by the sum where the ratio is allowed."""
    archive = tmp_path / "archive.zip"
    archive.write_bytes(zipped(("zeros", bytes(40 << 20))))
    with pytest.raises(InvalidArchive, match="times as many"):
        unpack(archive, tmp_path / "target")
    with pytest.raises(InvalidArchive, match="when unpacked"):
        unpack(archive, tmp_path / "target", limits=Limits(bytes=1 << 20, ratio=10_000))
    assert not (tmp_path / "target").exists()


def test_bomb_that_lies_about_its_size_is_stopped_at_what_it_said(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(patched(zipped(("zeros", bytes(40 << 20))), 24, "<L", 1 << 20))
    with pytest.raises(InvalidArchive):
        unpack(archive, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["archive.zip"]


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(zipped(*[(f"{number}.txt", b"") for number in range(20)]))
    with pytest.raises(InvalidArchive, match="20 entries"):
        unpack(archive, tmp_path / "target", limits=Limits(entries=19))
    unpack(archive, tmp_path / "target", limits=Limits(entries=20))
    assert len(list((tmp_path / "target").iterdir())) == 20


def test_large_directory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Few entries, each with a comment of 60,000 bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for number in range(10):
            info = zipfile.ZipInfo(f"{number}.txt")
            info.comment = bytes(60_000)
            opened.writestr(info, b"")
    archive = tmp_path / "archive.zip"
    archive.write_bytes(stream.getvalue())
    with pytest.raises(InvalidArchive, match="a directory of 600"):
        unpack(archive, tmp_path / "target", limits=Limits(entries=1000))


def test_directory_larger_than_its_count_says_is_refused(tmp_path: Path) -> None:
    """The count at the end of an archive is a claim; the directory is counted again when it was read."""
    data = zipped(*[(f"{number}.txt", b"") for number in range(20)])
    end = data.index(b"PK\5\6")
    lying = bytearray(data)
    struct.pack_into("<2H", lying, end + 8, 1, 1)
    archive = tmp_path / "archive.zip"
    archive.write_bytes(bytes(lying))
    with pytest.raises(InvalidArchive):
        unpack(archive, tmp_path / "target", limits=Limits(entries=10))


def test_large_archive_form_is_read(tmp_path: Path) -> None:
    """More than 65,535 entries need the 64-bit ending; it is read, and its count is bounded as well."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for number in range(65_600):
            opened.writestr(f"{number}/", b"")
        opened.writestr("last.txt", b"here")
    archive = tmp_path / "archive.zip"
    archive.write_bytes(stream.getvalue())
    with pytest.raises(InvalidArchive, match="65,601 entries"):
        unpack(archive, tmp_path / "target", limits=Limits(entries=65_600))
    unpack(archive, tmp_path / "target")
    assert (tmp_path / "target" / "last.txt").read_bytes() == b"here"
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["last.txt"]


def test_existing_folder_is_never_replaced(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(zipped(("a.txt", b"new")))
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "a.txt").write_bytes(b"old")
    with pytest.raises(OSError):
        unpack(archive, tmp_path / "target")
    assert (tmp_path / "target" / "a.txt").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip", "target"]


def test_deadline_ends_unpacking(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(zipped(("a.txt", b"x")))
    with pytest.raises(DeadlineExceeded):
        unpack(archive, tmp_path / "target", deadline=Deadline(0))
    assert not (tmp_path / "target").exists()


NAMES = st.lists(st.text("abcdé0_-. ", min_size=1, max_size=8), min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(NAMES, st.binary(max_size=300), max_size=6))
def test_what_is_taken_comes_out_as_it_went_in(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Either the archive is refused and nothing is there, or exactly its files are."""
    folder = tmp_path_factory.mktemp("archive")
    archive, target = folder / "archive.zip", folder / "target"
    archive.write_bytes(zipped(*files.items()))
    try:
        unpack(archive, target)
    except InvalidArchive:
        assert not target.exists()
        return
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == files


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_archive_never_raises_anything_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any single changed byte gives the same files or InvalidArchive, and nothing outside the target."""
    sound = bytearray(zipped(("a.txt", b"hello " * 40), ("b/c.txt", b"there")))
    sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "archive.zip").write_bytes(bytes(sound))
    try:
        unpack(folder / "archive.zip", folder / "target")
    except InvalidArchive:
        pass
    assert {path.name for path in folder.iterdir()} <= {"archive.zip", "target"}
