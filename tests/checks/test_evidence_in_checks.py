"""Checks, exports and commands use whatever evidence two manifests share, and say what they cannot compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from object_servers import Bucket, new_bucket, s3_server

import mlflow_dsver as dsver
from mlflow_dsver.checks import store_checks
from mlflow_dsver.checks.diff import DiffReport
from mlflow_dsver.checks.render import difference_lines, difference_summary
from mlflow_dsver.errors import Unsupported
from mlflow_dsver.model.differences import difference
from mlflow_dsver.model.evidence import Checksum, FileEvidence
from mlflow_dsver.model.manifests import FileEntry, Manifest, with_evidence
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.buckets import S3Provider
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.terminal.render import _identity
from mlflow_dsver.testing import paperspace_emulator  # noqa: F401  (a fixture)

CATS = {"a.txt": b"meow", "b.txt": b"purr" * 1000}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = new_bucket(server, versions=True)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made


def snapshot(bucket: Bucket, prefix: str, algorithm: str | None = "SHA256", **changed: bytes) -> DatasetVersion:
    for name, content in {**CATS, **{f"{key}.txt": value for key, value in changed.items()}}.items():
        bucket.put(f"{prefix}/{name}", content, **({"ChecksumAlgorithm": algorithm} if algorithm else {}))
    return S3Provider().create(f"{bucket.name}/{prefix}", checksums="yes" if algorithm else "no")


def test_the_same_files_in_two_places_are_the_same_by_sha256(bucket: Bucket, process: Callable[..., Any]) -> None:
    one, other = snapshot(bucket, "one"), snapshot(bucket, "other")
    assert one.content_digest != other.content_digest
    found = dsver.diff(one, other)
    assert (bool(found), found.difference.unchanged, found.difference.weakly) == (False, 2, 0)
    assert process("diff", str(one), str(other)).returncode == 0
    changed = snapshot(bucket, "changed", a=b"woof")
    assert [before.path for before, _ in dsver.diff(one, changed).difference.changed] == ["a.txt"]
    shared = dsver.overlap({"training": one, "test": changed})
    assert [after.path for _, after in shared.overlaps[0].pairs] == ["b.txt"]


def test_files_without_evidence_in_common_are_unknown_and_no_match(
    bucket: Bucket, process: Callable[..., Any]
) -> None:
    one, other = snapshot(bucket, "one", "SHA256"), snapshot(bucket, "other", "SHA1")
    found = dsver.diff(one, other).difference
    assert len(found.unknown) + found.weakly == 2, "ETags may be the same, which proves little"
    plain = Manifest((FileEntry("a.txt", 4, "0" * 64),))
    odd = Manifest((with_evidence("a.txt", 4, FileEvidence((Checksum("sha1", "0" * 40),))),))
    unknown = difference(plain, odd)
    assert not unknown
    assert DiffReport(one, other, unknown).exit_code == 3
    assert "1 file cannot be compared" in difference_summary(unknown)
    assert "no evidence in common" in "\n".join(difference_lines(unknown))


@pytest.mark.usefixtures("tracking")
def test_a_file_is_found_by_the_checksum_that_the_store_keeps(
    bucket: Bucket, process: Callable[..., Any], tmp_path: Path
) -> None:
    version = snapshot(bucket, "cats")
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        pass
    copy = tmp_path / "copy.txt"
    copy.write_bytes(CATS["b.txt"])
    digest = hashlib.sha256(CATS["b.txt"]).hexdigest()
    for arguments in ((str(copy),), ("--digest", f"sha256:{digest}"), ("--digest", digest)):
        found = process("contains", *arguments, "--json")
        assert found.returncode == 0, found.stderr
        (content,) = json.loads(found.stdout)["found"]
        assert [each["path"] for each in content["files"]] == ["b.txt"]
        assert [each["run_id"] for each in content["runs"]] == [run.info.run_id]
    assert json.loads(process("contains", "--digest", "sha256:" + "0" * 64, "--json").stdout)["found"] == []
    wrong = process("contains", "--digest", "sha256:00")
    assert (wrong.returncode, "SHA-256" in wrong.stderr) == (2, True)


@pytest.mark.usefixtures("tracking")
def test_runs_are_compared_by_evidence(bucket: Bucket) -> None:
    ids = []
    for version in (snapshot(bucket, "one"), snapshot(bucket, "two"), snapshot(bucket, "three", a=b"woof")):
        with dsver.start_run(inputs={"training": str(version.ref)}) as run:
            ids.append(run.info.run_id)
    assert dsver.compare(ids[0], ids[1]).exit_code == 0
    assert dsver.compare(ids[0], ids[2]).exit_code == 1


@pytest.mark.usefixtures("tracking")
def test_croissant_has_the_sha256_of_the_store(bucket: Bucket) -> None:
    version = snapshot(bucket, "cats")
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        pass
    document = dsver.export_run(run.info.run_id, "croissant")
    assert isinstance(document, dict)
    files = {each["name"]: each for each in document["distribution"]}
    assert files["a.txt"]["sha256"] == hashlib.sha256(CATS["a.txt"]).hexdigest()
    assert "dsver:blake3" not in files["a.txt"]


def test_the_files_of_a_snapshot_are_listed_with_their_evidence(bucket: Bucket, process: Callable[..., Any]) -> None:
    strong, weak = snapshot(bucket, "one"), snapshot(bucket, "two", None)
    assert "sha256:" + hashlib.sha256(b"meow").hexdigest()[:16] in process("versions", "files", str(strong)).stdout
    assert "version " in process("versions", "files", str(weak)).stdout
    listed = json.loads(process("versions", "files", str(strong), "--json").stdout)["files"]
    assert listed[0]["checksums"][0]["by"] == "store"


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (with_evidence("x", 1, FileEvidence((), None, "abc", "2026-12-01T00:00:00Z")), "etag abc"),
        (with_evidence("x", 1, FileEvidence((), None, None, "2026-12-01T00:00:00Z")), "size and date"),
        (with_evidence("x", 1, FileEvidence((Checksum("md5", "a" * 32),)), None), "md5:aaaaaaaaaaaaaaaa"),
        (with_evidence("x", 1, FileEvidence((), "v"), "0" * 64), "blake3:0000000000000000"),
    ],
)
def test_the_strongest_evidence_of_a_file_is_shown(entry: FileEntry, shown: str) -> None:
    assert shown in _identity(entry)


@pytest.fixture
def local() -> LocalProvider:
    found = get_provider("local")
    assert isinstance(found, LocalProvider)
    return found


def test_a_bucket_is_copied_into_the_local_store(
    bucket: Bucket, process: Callable[..., Any], local: LocalProvider
) -> None:
    for name, content in CATS.items():
        bucket.put(f"cats/{name}", content)
    made = process("versions", "create", "local://cats", f"s3://{bucket.name}/cats", "--tag", "copied", "--json")
    assert made.returncode == 0, made.stderr
    version = local.resolve(dsver.parse("local://cats@copied"))
    assert version.metadata["source"].startswith(f"s3://{bucket.name}/cats@")
    assert local.grade(version).letter == "A"
    bucket.remove()
    assert (local.path(version) / "a.txt").read_bytes() == b"meow"


@pytest.mark.usefixtures("tracking")
def test_a_local_version_by_reference_has_the_manifest_and_the_grade_of_the_bucket(
    bucket: Bucket, local: LocalProvider, tmp_path: Path
) -> None:
    for name, content in CATS.items():
        bucket.put(f"cats/{name}", content)
    version = dsver.create_version("local://cats", f"s3://{bucket.name}/cats", reference=True)
    assert str(local.grade(version)) == "B (immutable by S3 version id)"
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        assert run.datasets["training"].path().joinpath("a.txt").read_bytes() == b"meow"
        assert run.datasets["training"].open("a.txt").read() == b"meow"
    bucket.put("cats/a.txt", b"woof")
    assert dsver.verify(run.info.run_id)
    assert dsver.verify(run.info.run_id, depth="full")
    local.materialise(version, tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_bytes() == b"meow"
    bucket.remove()
    assert not dsver.verify(run.info.run_id)


def test_a_version_of_the_local_store_is_copied_to_another_dataset(
    local: LocalProvider, digits_folder: Path, process: Callable[..., Any]
) -> None:
    first = dsver.create_version("local://one", digits_folder)
    second = dsver.create_version("local://two", str(first.ref))
    assert second.content_digest == first.content_digest
    wrong = process("versions", "create", "local://three", "local://one", "--option", "x=y")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
    missing = process("versions", "create", "local://three", "local://none")
    assert missing.returncode == 2


@pytest.mark.usefixtures("paperspace_emulator")
def test_a_provider_that_cannot_refer_says_so(bucket: Bucket) -> None:
    bucket.put("cats/a", b"a")
    with pytest.raises(Unsupported, match="refer to files at s3"):
        dsver.create_version("paperspace://dst364npcw6ccok", f"s3://{bucket.name}/cats", reference=True)


@pytest.mark.usefixtures("tracking")
def test_verifying_a_version_with_its_own_bytes_parses_no_manifest(
    digits_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a million files that would take longer than looking at them."""
    version = dsver.create_version("local://kept", digits_folder)
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        pass
    monkeypatch.setattr(store_checks, "read_manifest", lambda stream: pytest.fail("a manifest was parsed"))
    monkeypatch.setattr(LocalProvider, "manifest", lambda self, version: pytest.fail("a manifest was parsed"))
    for depth in ("metadata", "default", "full"):
        assert dsver.verify(run.info.run_id, depth=depth)
