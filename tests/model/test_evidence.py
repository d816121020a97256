"""Evidence of files: round trips, what two files can be compared by, and texts that are none."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver.checks.manifest_stream import diff_streams, parse_line
from mlflow_dsver.model.differences import Difference, compare, content_keys, difference, find_overlaps
from mlflow_dsver.model.evidence import Checksum, FileEvidence, checked, ordered, parse_evidence
from mlflow_dsver.model.manifests import (
    EVIDENCE_SCHEMA,
    SCHEMA,
    FileEntry,
    InvalidManifest,
    Manifest,
    read,
    with_evidence,
)

DIGITS = {
    "blake3": 64, "sha512": 128, "sha256": 64, "gitblob": 40, "sha1": 40, "md5": 32,
    "crc64nvme": 16, "crc32c": 8, "crc32": 8,
}  # fmt: skip


def hexes(digits: int) -> st.SearchStrategy[str]:
    return st.sampled_from("0ab").map(lambda digit: digit * digits)


@st.composite
def checksums(draw: st.DrawFn) -> tuple[Checksum, ...]:
    found = {}
    for algorithm in draw(st.lists(st.sampled_from([*DIGITS][1:]), max_size=3)):
        extent: Any = draw(st.sampled_from(["full", "composite"]))
        value = draw(hexes(DIGITS[algorithm])) + ("-3" if extent == "composite" else "")
        by: Any = draw(st.sampled_from(["here", "store", "provider"]))
        found[algorithm, extent] = Checksum(algorithm, value, extent, by)
    return ordered(list(found.values()))


texts = st.none() | st.sampled_from(["v1", "v2", "ü", "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"])
dates = st.sampled_from(["2026-12-01T06:00:00Z", "2026-12-01T06:00:00.5Z"])
evidence = st.builds(FileEvidence, checksums(), texts, texts, dates)
entries = st.builds(
    lambda path, size, found, blake3: with_evidence(path, size, found, blake3),
    st.sampled_from("abcd"),
    st.integers(0, 2),
    evidence,
    st.none() | hexes(64),
)
plain = st.builds(
    lambda path, size, digest: FileEntry(path, size, digest), st.sampled_from("abcd"), st.integers(0, 2), hexes(64)
)
manifests = st.lists(entries | plain, unique_by=lambda entry: entry.path).map(
    lambda some: Manifest(tuple(sorted(some, key=lambda entry: entry.path)))
)


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    found = read(io.BytesIO(manifest.to_bytes()))
    assert (found.digest, found.schema, len(found)) == (manifest.digest, manifest.schema, len(manifest))
    for one, other in zip(found.entries, manifest.entries, strict=True):
        assert one == other
        assert parse_line(other.line().encode().rstrip(b"\n")).line() == one.line()


@given(st.lists(plain, unique_by=lambda entry: entry.path))
def test_a_manifest_without_evidence_is_of_schema_1_byte_for_byte(some: list[FileEntry]) -> None:
    manifest = Manifest(tuple(sorted(some)))
    assert manifest.schema == SCHEMA
    for entry in manifest.entries:
        assert entry.line() == f'{{"path":"{entry.path}","bytes":{entry.bytes},"digest":"{entry.digest}"}}\n'


@given(entries | plain, entries | plain)
def test_a_comparison_is_the_same_from_both_sides(one: FileEntry, other: FileEntry) -> None:
    other = other._replace(path=one.path)
    assert compare(one, other) == compare(other, one)


@given(entries | plain)
def test_a_file_with_any_evidence_is_the_same_as_itself(entry: FileEntry) -> None:
    found = entry.evidence or FileEvidence()
    has_any = bool(entry.blake3 or found.checksums or found.etag or found.version or entry.bytes == 0)
    assert compare(entry, entry).same is (True if has_any else None)


@given(manifests, manifests)
def test_streams_give_the_same_difference_as_manifests(before: Manifest, after: Manifest) -> None:
    found = diff_streams(io.BytesIO(before.to_bytes()), io.BytesIO(after.to_bytes()))
    expected = difference(before, after)
    counted = [len(getattr(found, name)) for name in ("added", "removed", "changed", "renamed", "unknown")]
    assert counted == [len(getattr(expected, name)) for name in ("added", "removed", "changed", "renamed", "unknown")]
    assert (found.unchanged, found.weakly) == (expected.unchanged, expected.weakly)


SHA, OTHER_SHA = Checksum("sha256", "a" * 64, "full", "store"), Checksum("sha256", "b" * 64, "full", "provider")
MD5, OTHER_MD5 = Checksum("md5", "a" * 32, "full", "store"), Checksum("md5", "b" * 32, "full", "store")
PARTS, OTHER_PARTS = (
    Checksum("sha256", "a" * 64 + "-2", "composite"),
    Checksum("sha256", "b" * 64 + "-3", "composite"),
)


@pytest.mark.parametrize(
    ("one", "other", "same", "by", "strong"),
    [
        (FileEvidence((SHA,)), FileEvidence((SHA._replace(by="here"),)), True, "sha256", True),
        (FileEvidence((SHA,)), FileEvidence((OTHER_SHA,)), False, "sha256", True),
        (FileEvidence((SHA, MD5)), FileEvidence((MD5,)), True, "md5", False),
        (FileEvidence((MD5,)), FileEvidence((OTHER_MD5,)), False, "md5", True),
        (FileEvidence((SHA,)), FileEvidence((MD5,)), None, "", False),
        (FileEvidence((PARTS,)), FileEvidence((PARTS,)), True, "sha256", True),
        (FileEvidence((PARTS,)), FileEvidence((OTHER_PARTS,)), None, "", False),
        (FileEvidence((PARTS,)), FileEvidence((SHA,)), None, "", False),
        (FileEvidence((), "v1", "e"), FileEvidence((), "v1", "e"), True, "version id", True),
        (FileEvidence((), "v1", "e"), FileEvidence((), "v2", "e"), True, "ETag", False),
        (FileEvidence((), "v1", "e"), FileEvidence((), "v2", "f"), None, "", False),
        (FileEvidence(), FileEvidence(), None, "", False),
    ],
)
def test_files_are_compared_by_the_strongest_evidence_that_both_have(
    one: FileEvidence, other: FileEvidence, same: bool | None, by: str, strong: bool
) -> None:
    found = compare(with_evidence("x", 5, one), with_evidence("x", 5, other))
    assert (found.same, found.by, found.strong) == (same, by, strong)


def test_another_size_is_another_file() -> None:
    assert compare(with_evidence("x", 5, FileEvidence()), with_evidence("x", 6, FileEvidence())).same is False


def test_what_cannot_be_compared_is_neither_changed_nor_unchanged() -> None:
    before = Manifest((with_evidence("x", 5, FileEvidence((SHA,))), with_evidence("y", 5, FileEvidence((MD5,)))))
    after = Manifest((with_evidence("x", 5, FileEvidence((MD5,))), with_evidence("y", 5, FileEvidence((MD5,)))))
    found = difference(before, after)
    assert not found
    assert (found.unchanged, found.weakly, [one.path for one, _ in found.unknown]) == (1, 1, ["x"])
    assert isinstance(found, Difference)
    assert found.to_json()["unknown"][0]["before"]["checksums"][0]["algorithm"] == "sha256"


def test_renamed_and_shared_files_are_found_by_any_checksum_in_common() -> None:
    before = Manifest((with_evidence("old", 5, FileEvidence((SHA, MD5))),))
    after = Manifest((with_evidence("new", 5, FileEvidence((MD5,))),))
    found = difference(before, after)
    assert [(one.path, other.path) for one, other in found.renamed] == [("old", "new")]
    (overlap,) = find_overlaps({"training": before, "test": after})
    assert len(overlap.pairs) == 1
    assert content_keys(before.entries[0]) == (SHA.key, MD5.key)


def evidence_line(**fields: Any) -> bytes:
    return json.dumps({"path": "a", "bytes": 1, **fields}).encode()


def one_checksum(**fields: Any) -> dict[str, Any]:
    return {"algorithm": "sha256", "value": "a" * 64, "by": "store", **fields}


@pytest.mark.parametrize(
    "line",
    [
        evidence_line(checksums="sha256"), evidence_line(checksums=[1]), evidence_line(checksums=[{}]),
        evidence_line(checksums=[one_checksum(value="a" * 63)]),
        evidence_line(checksums=[one_checksum(value="A" * 64)]),
        evidence_line(checksums=[one_checksum(value="a" * 64 + "-2")]),
        evidence_line(checksums=[one_checksum(extent="composite")]),
        evidence_line(checksums=[one_checksum(value="a" * 64 + "-0", extent="composite")]),
        evidence_line(checksums=[one_checksum(algorithm="rot13")]), evidence_line(checksums=[one_checksum(by="me")]),
        evidence_line(checksums=[one_checksum(), one_checksum(value="b" * 64)]),
        evidence_line(checksums=[one_checksum(algorithm="md5", value="a" * 32), one_checksum()]),
        evidence_line(version=""), evidence_line(version=7), evidence_line(version="x" * 1025),
        evidence_line(etag="a\x1b[2J"), evidence_line(version="a\nb"), evidence_line(modified="yesterday"),
        evidence_line(modified="2026-12-01"), evidence_line(modified=7), evidence_line(),
        evidence_line(version="v", digest="no digest"),
    ],
    ids=range(22),
)  # fmt: skip
def test_evidence_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_line(line)
    assert str(caught.value).isprintable()


def test_no_evidence_is_none() -> None:
    assert parse_evidence({"path": "a"}) is None
    with pytest.raises(ValueError, match="md5"):
        checked(Checksum("md5", "a" * 31))


def test_the_schema_is_that_of_what_is_in_it() -> None:
    assert Manifest((with_evidence("a", 1, FileEvidence((), "v")),)).schema == EVIDENCE_SCHEMA
    assert Manifest((FileEntry("a", 1, "0" * 64),)).schema == SCHEMA
