"""The difference of two manifests by raw lines is the difference of the parsed ones."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver.checks import manifest_stream
from mlflow_dsver.checks.manifest_stream import ManifestStream, diff_streams, parse_line
from mlflow_dsver.model.differences import difference
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest

names = st.lists(
    st.text(st.sampled_from('ab!" \\\n~é𝄞/'), min_size=1, max_size=4).filter(
        lambda name: all(part not in ("", ".", "..") for part in name.split("/"))
    ),
    max_size=12,
    unique=True,
)
sides = st.tuples(names, st.lists(st.integers(0, 4), min_size=12, max_size=12))


def made(side: tuple[list[str], list[int]]) -> Manifest:
    paths, contents = side
    digests = dict(zip(paths, contents, strict=False))
    return Manifest(tuple(FileEntry(path, digests[path], f"{digests[path]:064x}") for path in sorted(paths)))


@given(sides, sides)
def test_raw_lines_give_the_same_difference_as_parsed_manifests(
    one: tuple[list[str], list[int]], two: tuple[list[str], list[int]]
) -> None:
    before, after = made(one), made(two)
    by_lines = diff_streams(io.BytesIO(before.to_bytes()), io.BytesIO(after.to_bytes()))
    assert by_lines == difference(before, after)


many = st.sets(st.integers(0, 400), max_size=120)


@given(many, many, many, st.sampled_from([40, 1000, 1 << 20]), st.sampled_from([16, 1024]))
def test_blocks_and_steps_of_any_size_give_the_same_difference(
    one: set[int], two: set[int], changed: set[int], block: int, step: int
) -> None:
    """Files in both, in one alone, and changed in place, at any place of a block."""
    before = Manifest(tuple(FileEntry(f"{number:03}", 1, "a" * 64) for number in sorted(one)))
    after = Manifest(
        tuple(FileEntry(f"{number:03}", 1, ("b" if number in changed else "a") * 64) for number in sorted(two))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_stream, "_BLOCK", block)
        patch.setattr(manifest_stream, "_STEP", step)
        by_lines = diff_streams(io.BytesIO(before.to_bytes()), io.BytesIO(after.to_bytes()))
    assert by_lines == difference(before, after)


@given(sides)
def test_lines_are_those_of_the_manifest(side: tuple[list[str], list[int]]) -> None:
    manifest = made(side)
    lines = ManifestStream(io.BytesIO(manifest.to_bytes()))
    assert tuple(map(parse_line, lines)) == manifest.entries
    assert lines.content_digest == manifest.digest


def test_only_lines_that_differ_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    plain = parse_line
    monkeypatch.setattr(manifest_stream, "parse_line", lambda line: parsed.append(line) or plain(line))
    entries = [FileEntry(f"{i:05}", i, f"{i:064x}") for i in range(1000)]
    before = Manifest(tuple(entries))
    after = Manifest((*entries[:10], FileEntry("00010", 7, "f" * 64), *entries[11:]))
    found = diff_streams(io.BytesIO(before.to_bytes()), io.BytesIO(after.to_bytes()))
    assert len(found.changed) == 1
    assert found.unchanged == 999
    assert len(parsed) == 2


GOOD = Manifest((FileEntry("a", 1, "a" * 64), FileEntry("b", 2, "b" * 64)))
TEXT = gzip.decompress(GOOD.to_bytes())


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no gzip",
        GOOD.to_bytes()[:-12],
        gzip.compress(b""),
        gzip.compress(b"{}\n"),
        gzip.compress(b"[]\n"),
        gzip.compress(b"[" * 100_000),
        gzip.compress(TEXT[:-1]),
        gzip.compress(TEXT.replace(b'"bytes":2', b'"bytes":3')),
        gzip.compress(TEXT.replace(b'"schema":1', b'"schema":3')),
        gzip.compress(TEXT + b"x" * 100_000),
    ],
    ids=range(11),  # the bytes hold the time at which they were packed
)
def test_a_damaged_manifest_is_refused(damaged: bytes) -> None:
    with pytest.raises(InvalidManifest):
        diff_streams(io.BytesIO(damaged), io.BytesIO(GOOD.to_bytes()))
    with pytest.raises(InvalidManifest):
        diff_streams(io.BytesIO(GOOD.to_bytes()), io.BytesIO(damaged))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"path":"../a","bytes":1,"digest":"' + b"a" * 64 + b'"}',
        b'{"path":"a","bytes":-1,"digest":"' + b"a" * 64 + b'"}',
        b'{"path":"a","bytes":true,"digest":"' + b"a" * 64 + b'"}',
        b'{"path":"a","bytes":1,"digest":"A"}',
        b'{"path":1,"bytes":1,"digest":"' + b"a" * 64 + b'"}',
    ],
)
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidManifest):
        parse_line(line)
