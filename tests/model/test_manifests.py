"""Manifests: one text for each content, round trips, and hostile manifests are refused."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_dsver.model.differences import difference
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest, check_path, content_digest, read

HEX = "0123456789abcdef" * 4
segment = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda text: text not in (".", "..")
)
sizes = st.integers(0, 2**62)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def in_order(files: dict[str, tuple[int, str]]) -> tuple[FileEntry, ...]:
    """Entries sorted by path, without files below the path of another file."""
    kept = {path for path in files if not any(path.startswith(other + "/") for other in files)}
    return tuple(FileEntry(path, *files[path]) for path in sorted(kept))


contents = st.dictionaries(
    st.lists(segment, min_size=1, max_size=3).map("/".join), st.tuples(sizes, digests), max_size=8
).map(in_order)
made = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.lists(st.text(max_size=3)))


@given(contents, made)
def test_what_is_written_is_read_back(entries: tuple[FileEntry, ...], how: dict[str, Any]) -> None:
    manifest = Manifest(entries, made=how)
    again = read(io.BytesIO(manifest.to_bytes()))
    assert (again.entries, again.made, again.digest) == (entries, how, manifest.digest)


@given(contents, made)
def test_the_digest_is_that_of_the_lines_below_the_header(
    entries: tuple[FileEntry, ...], how: dict[str, Any]
) -> None:
    _, _, below = gzip.decompress(Manifest(entries, made=how).to_bytes()).partition(b"\n")
    assert Manifest(entries).digest == "blake3:" + blake3(below).hexdigest()


def test_the_same_manifest_is_the_same_bytes() -> None:
    manifest = Manifest((FileEntry("a", 1, HEX),), made={"tool": "x"})
    assert manifest.to_bytes() == manifest.to_bytes()
    assert manifest.to_bytes()[4:8] == b"\0\0\0\0"  # no date


def test_this_text_has_this_digest() -> None:
    """A literal, since every recorded content digest depends on the format of the lines."""
    entries = (FileEntry('a "b"\\\n\x7fé😀', 0, HEX), FileEntry("b/c", 12, HEX))
    assert "".join(entry.line() for entry in entries) == (
        f'{{"path":"a \\"b\\"\\\\\\n\x7fé😀","bytes":0,"digest":"{HEX}"}}\n'
        f'{{"path":"b/c","bytes":12,"digest":"{HEX}"}}\n'
    )
    assert content_digest(entries) == "blake3:1216e2e8323396bdced1b578a6a62641620958e424e9b0310d1cd76e098929b0"
    assert content_digest(()) == "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_tools_that_everybody_has_check_it(tmp_path: Any) -> None:
    """`zcat FILE | tail -n +2` gives the very lines that were hashed."""
    entries = tuple(FileEntry(f"{number:05}", number, HEX) for number in range(5000))
    manifest = Manifest(entries)
    (tmp_path / "m.gz").write_bytes(manifest.to_bytes())
    below = subprocess.run(
        f"gzip -dc {tmp_path / 'm.gz'} | tail -n +2", shell=True, capture_output=True, check=True
    ).stdout
    assert "blake3:" + blake3(below).hexdigest() == manifest.digest


def text_of(*lines: object, header: Callable[[dict[str, Any]], object] = lambda fields: fields) -> bytes:
    """A manifest of these lines as they are, with a header that is true unless it is changed."""
    written = [line if isinstance(line, str) else json.dumps(line, separators=(",", ":")) for line in lines]
    entries = [FileEntry(line["path"], line["bytes"], line["digest"]) for line in lines if _is_plain(line)]
    fields = {"schema": 1, "files": len(entries), "bytes": 0, "content_digest": content_digest(entries), "made": {}}
    return gzip.compress("".join(f"{each}\n" for each in [json.dumps(header(fields)), *written]).encode())


def _is_plain(line: object) -> bool:
    try:
        return isinstance(line, dict) and bool(FileEntry(line["path"], line["bytes"], line["digest"]).line().encode())
    except (KeyError, TypeError, ValueError):
        return False


def line(path: object, size: object = 1, digest: object = HEX) -> dict[str, object]:
    return {"path": path, "bytes": size, "digest": digest}


def test_the_maker_of_hostile_texts_can_make_a_good_one() -> None:
    assert len(read(io.BytesIO(text_of(line("a"), line("b/c"))))) == 2


@pytest.mark.parametrize(
    "lines",
    [
        [line("../a")], [line("/etc/passwd")], [line("a/../../b")], [line("a//b")], [line("a/")], [line("./a")],
        [line("")], [line("a\0b")], [line("\ud800")], [line(7)], [line(None)],
        [line("b"), line("a")], [line("a"), line("a")],
        [line("a"), line("a/b")], [line("a"), line("a-"), line("a.b"), line("a/b")],
        [line("a", -1)], [line("a", True)], [line("a", 1.0)], [line("a", "1")], [line("a", None)], [line("a", 2**63)],
        [line("a", 1, HEX[:-1])], [line("a", 1, HEX.upper())], [line("a", 1, HEX + "\n")], [line("a", 1, None)],
        [line("a", 1, "blake3:" + HEX)],
        ["[]"], ["null"], ["{"], [""], ['{"path":"a"}'], ["[" * 30_000], ['{"path":"a","bytes":' + "9" * 5000 + "}"],
        [line("x" * 70_000)],
    ],
    ids=lambda lines: ascii(lines)[:40],
)  # fmt: skip
def test_hostile_lines_are_refused(lines: list[object]) -> None:
    with pytest.raises(InvalidManifest) as caught:
        read(io.BytesIO(text_of(*lines)))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 3}, {"schema": None}, {"files": 2}, {"content_digest": "blake3:" + HEX}, {"made": None},
        {"made": ["a"]}, {"made": "text"}, {"files": None},
    ],
)  # fmt: skip
def test_headers_that_do_not_hold_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest):
        read(io.BytesIO(text_of(line("a"), header=lambda fields: {**fields, **change})))


@pytest.mark.parametrize("header", [[], 7, None, "text"])
def test_headers_that_are_no_object_are_refused(header: object) -> None:
    with pytest.raises(InvalidManifest):
        read(io.BytesIO(text_of(line("a"), header=lambda _: header)))


def test_what_is_no_gzip_cut_off_or_empty_is_refused() -> None:
    good = Manifest((FileEntry("a", 1, HEX),)).to_bytes()
    for text in (
        b"",
        b"plain",
        good[:-9],
        good[:20],
        good + b"garbage",
        gzip.compress(b""),
        gzip.compress(b"no newline"),
    ):
        with pytest.raises(InvalidManifest):
            read(io.BytesIO(text))


def test_a_bomb_is_refused_when_it_passes_the_bound() -> None:
    lines = b"".join(FileEntry(f"{number:06}", 1, HEX).line().encode() for number in range(2000))
    with pytest.raises(InvalidManifest, match="larger than 50000 bytes"):
        read(io.BytesIO(gzip.compress(text_of_header() + lines)), max_bytes=50_000)
    with pytest.raises(InvalidManifest, match="too long"):
        read(io.BytesIO(gzip.compress(b"x" * 10_000_000)))


def text_of_header() -> bytes:
    return gzip.decompress(Manifest(()).to_bytes())


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_is_found_or_changes_nothing(place: int, change: int) -> None:
    manifest = Manifest(tuple(FileEntry(f"{n}", n, HEX) for n in range(9)), made={"tool": "x"})
    damaged = bytearray(manifest.to_bytes())
    damaged[place % len(damaged)] ^= change
    try:
        again = read(io.BytesIO(bytes(damaged)))
    except InvalidManifest:
        return
    assert again == manifest


@given(st.text(max_size=12))
def test_a_path_that_is_accepted_stays_below_its_folder(path: str) -> None:
    from pathlib import PurePosixPath

    try:
        check_path(path)
    except InvalidManifest:
        return
    joined = PurePosixPath("/root") / path
    assert ".." not in joined.parts
    assert joined.parts[:2] == ("/", "root")
    assert joined.as_posix() == f"/root/{path}"
    path.encode()


few = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 9), st.sampled_from([HEX, HEX[::-1]]))).map(
    in_order
)


class TestDifference:
    @given(contents)
    def test_a_manifest_does_not_differ_from_itself(self, entries: tuple[FileEntry, ...]) -> None:
        found = difference(Manifest(entries), Manifest(entries))
        assert not found
        assert (found.unchanged, found.growth) == (len(entries), 0)

    @given(few, few)
    def test_it_takes_the_one_to_the_other(self, before: tuple[FileEntry, ...], after: tuple[FileEntry, ...]) -> None:
        found = difference(Manifest(before), Manifest(after))
        result = {entry.path: entry.digest for entry in before}
        for entry in found.removed:
            del result[entry.path]
        for was, now in found.renamed:
            assert was.digest == now.digest
            del result[was.path]
        for entry in (*found.added, *(now for _, now in found.renamed), *(now for _, now in found.changed)):
            result[entry.path] = entry.digest
        assert result == {entry.path: entry.digest for entry in after}

    @given(few, few)
    def test_every_file_is_in_one_class_and_sorted(
        self, before: tuple[FileEntry, ...], after: tuple[FileEntry, ...]
    ) -> None:
        found = difference(Manifest(before), Manifest(after))
        assert len(found.added) + len(found.renamed) + len(found.changed) + found.unchanged == len(after)
        assert len(found.removed) + len(found.renamed) + len(found.changed) + found.unchanged == len(before)
        assert list(found.added) == sorted(found.added)
        assert list(found.removed) == sorted(found.removed)

    @given(few, few)
    def test_the_other_way_round_it_is_turned_over(
        self, before: tuple[FileEntry, ...], after: tuple[FileEntry, ...]
    ) -> None:
        there = difference(Manifest(before), Manifest(after))
        back = difference(Manifest(after), Manifest(before))
        assert len(there.renamed) == len(back.renamed)
        assert {now.path: was.path for was, now in there.changed} == {was.path: now.path for was, now in back.changed}
        assert bool(there) == bool(back)

    def test_growth_is_that_of_the_whole(self) -> None:
        before = Manifest((FileEntry("a", 10, HEX), FileEntry("b", 5, HEX)))
        after = Manifest((FileEntry("a", 30, HEX[::-1]), FileEntry("c", 1, "0" * 64)))
        found = difference(before, after)
        assert found.growth == after.total_bytes - before.total_bytes == 16
        told = found.to_json()
        json.dumps(told)
        assert [entry["path"] for entry in told["removed"]] == ["b"]
