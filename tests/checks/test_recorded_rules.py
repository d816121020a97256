"""The ignore patterns are compared with the recorded ones: a present pattern cannot hide a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.checks.byte_checks import ReadOptions, read_bytes, read_folder
from mlflow_dsver.checks.reports import ByteEvidence, Depth, Evidence, Proof, ReadStatus, Record, Verdict
from mlflow_dsver.checks.seal import _read
from mlflow_dsver.checks.verdicts import judge
from mlflow_dsver.content.hashing import Rules, hash_folder
from mlflow_dsver.content.patterns import EVERYTHING
from mlflow_dsver.errors import CorruptObject
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.local import log
from mlflow_dsver.providers.local.provider import LocalProvider

DEPTHS = [Depth.DEFAULT, Depth.FULL]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text(name)
    return folder


def referred(folder: Path, dataset: str = "x") -> tuple[LocalProvider, DatasetVersion]:
    provider = LocalProvider()
    return provider, provider.create(dataset, folder, reference=True)


def looked(
    provider: LocalProvider, version: DatasetVersion, depth: Depth, manifest: bytes | None = None
) -> ByteEvidence:
    return read_bytes(provider, version, ReadOptions(depth), manifest=manifest)


def with_patterns(manifest: Manifest, **made: Any) -> bytes:
    """The manifest's file with other patterns in its header; the content digest is the same."""
    header, _, lines = gzip.decompress(manifest.to_bytes()).partition(b"\n")
    fields = json.loads(header)
    fields["made"].update(made)
    return gzip.compress(json.dumps(fields).encode() + b"\n" + lines)


def added(seen: ByteEvidence) -> list[str]:
    assert seen.difference is not None
    return [entry.path for entry in seen.difference.added]


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_file_that_a_new_ignore_file_hides_is_an_added_file(folder: Path, depth: Depth) -> None:
    provider, version = referred(folder)
    manifest = provider.manifest(version).to_bytes()
    (folder / "poison.csv").write_text("new")
    (folder / ".dsverignore").write_text("poison.csv\n")
    seen = looked(provider, version, depth, manifest)
    assert seen.digest != version.content_digest
    assert added(seen) == ["poison.csv"]
    assert looked(provider, version, depth, None).digest != version.content_digest
    assert _read(version, depth).digest != version.content_digest


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_file_that_an_edited_header_hides_is_an_added_file(folder: Path, depth: Depth) -> None:
    provider, version = referred(folder)
    (folder / "poison.csv").write_text("new")
    for made in ({"exclude": ["poison.csv"]}, {"ignore_file": ["poison.csv"]}, {"include": ["[ab].csv"]}):
        seen = looked(provider, version, depth, with_patterns(provider.manifest(version), **made))
        assert added(seen) == ["poison.csv"], made


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_was_left_out_from_the_beginning_stays_left_out(folder: Path, depth: Depth) -> None:
    (folder / ".dsverignore").write_text("*.cache\n")
    provider, version = referred(folder)
    (folder / "labels.cache").write_text("made while training")
    (folder / ".dsverignore").unlink()  # what counted is what was recorded
    seen = looked(provider, version, depth, provider.manifest(version).to_bytes())
    assert (seen.digest, seen.proof is not Proof.NONE) == (version.content_digest, True)


def test_patterns_are_those_of_the_version_and_not_of_another_with_the_same_content(
    folder: Path, tmp_path: Path
) -> None:
    """Both share one manifest in the store, and its header has the patterns of the first."""
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / ".dsverignore").write_text("*.tmp\n")
    referred(other, "with-patterns")
    provider, version = referred(folder, "without")
    (folder / "new.tmp").write_text("new")
    seen = looked(provider, version, Depth.FULL)
    assert seen.digest != version.content_digest
    with pytest.raises(CorruptObject, match=r"new\.tmp is new"):
        provider.path(version)


def test_created_again_with_other_patterns_the_version_has_these(folder: Path) -> None:
    provider, version = referred(folder)
    (folder / "labels.cache").write_text("x")
    (folder / ".dsverignore").write_text("*.cache\n")
    provider, again = referred(folder)
    assert again.ref == version.ref
    assert again.raw["rules"] == {"include": [], "exclude": [], "ignore_file": ["*.cache"]}
    assert looked(provider, again, Depth.FULL).digest == version.content_digest


def test_a_version_older_than_recorded_patterns_has_those_of_its_manifest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".dsverignore").write_text("*.cache\n")
    (folder / "labels.cache").write_text("x")
    line_of = log.line_of
    monkeypatch.setattr(log, "line_of", lambda operation, before: line_of({**operation, "rules": None}, before))
    provider, version = referred(folder)
    assert provider.get("x", version.id).raw["rules"] is None
    assert looked(provider, version, Depth.FULL).proof is Proof.HASHED
    (folder / "poison.csv").write_text("new")
    (folder / ".dsverignore").write_text("*.cache\npoison.csv\n")
    assert looked(provider, version, Depth.FULL).digest != version.content_digest


class TestUnprovenPatterns:
    """If only an artifact's header or the present ignore file has the patterns, excluded files prevent a match."""

    @staticmethod
    def verdict(version: DatasetVersion, seen: ByteEvidence) -> Verdict:
        from mlflow_dsver.checks.reports import Lookup

        record = Record("training", None, version, Grade("C"))
        return judge(Evidence(record, Lookup(version), seen, depth=Depth.FULL)).verdict

    def test_patterns_that_hide_files_prove_nothing(self, folder: Path) -> None:
        _, version = referred(folder)
        (folder / "poison.csv").write_text("new")
        header = with_patterns(hash_folder(folder, rules=Rules(exclude=("poison.csv",))))
        seen = read_folder(folder, version, Depth.FULL, header)
        assert (seen.status, seen.proof, seen.digest) == (ReadStatus.READ, Proof.NONE, version.content_digest)
        assert seen.reason == (
            "ignore patterns that the record does not prove exclude poison.csv; all other files match"
        )
        assert self.verdict(version, seen) is Verdict.UNVERIFIABLE
        (folder / ".dsverignore").write_text("poison.csv\n")
        assert read_folder(folder, version, Depth.FULL, None).proof is Proof.NONE

    def test_patterns_that_hide_nothing_do_not_matter(self, folder: Path) -> None:
        provider, version = referred(folder)
        (folder / ".dsverignore").write_text("poison.csv\n")
        for manifest in (None, with_patterns(provider.manifest(version), exclude=["poison.csv"])):
            seen = read_folder(folder, version, Depth.FULL, manifest)
            assert seen.proof is Proof.HASHED
            assert self.verdict(version, seen) is Verdict.MATCH

    @pytest.mark.parametrize("made", [{"include": "*"}, {"exclude": [1]}, {"ignore_file": {}}, {"include": None}])
    def test_a_header_with_patterns_of_a_wrong_kind_counts_as_none(self, folder: Path, made: dict[str, Any]) -> None:
        provider, version = referred(folder)
        seen = read_folder(folder, version, Depth.FULL, with_patterns(provider.manifest(version), **made))
        assert seen.proof is Proof.HASHED


def test_in_a_folder_that_was_given_out_every_added_file_counts(folder: Path) -> None:
    (folder / ".dsverignore").write_text("*.cache\n")
    provider = LocalProvider()
    version = provider.create("x", folder)
    given = provider.path(version)
    given.chmod(0o755)
    (given / "labels.cache").write_text("new")
    assert _read(version, Depth.DEFAULT).digest != version.content_digest


def test_recorded_patterns_come_back_as_they_were() -> None:
    made = {"include": ["a"], "exclude": ["b"], "ignore_file": ["c"], "tool": "x"}
    rules = Rules.from_made(made)
    assert rules == Rules(("a",), ("b",), ("c",), recorded=True)
    assert rules is not None
    assert rules.made().items() <= made.items()
    assert Rules.from_made({"include": [], "exclude": []}) == EVERYTHING
    assert Rules.from_made(None) is None
