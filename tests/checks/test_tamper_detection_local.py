"""Tampering with data in the local store: each way gets the right verdict."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import InputReport, Proof, RunReport, Subject, Verdict
from mlflow_dsver.checks.sampling import Sampling
from mlflow_dsver.checks.verify import verify
from mlflow_dsver.providers.local import LocalProvider

M, V, R, C, G = (Verdict.MATCH, Verdict.UNVERIFIABLE, Verdict.UNREACHABLE, Verdict.CHANGED, Verdict.MISSING)
pytestmark = pytest.mark.usefixtures("tracking")


@dataclass
class World:
    """A run that used `local://digits@latest`, and where its data and record are."""

    run_id: str
    source: Path
    store: Path
    artifacts: Path
    version: dsver.DatasetVersion

    def objects(self) -> list[Path]:
        return sorted(path for path in (self.store / "objects").rglob("*") if path.is_file())

    def check(self, depth: str = "default") -> InputReport:
        [report] = verify(self.run_id, depth=depth).inputs
        return report


def made(folder: Path, tmp_path: Path, *, reference: bool) -> World:
    version = dsver.create_version("local://digits", folder, tags=["clean"], message="first", reference=reference)
    with dsver.start_run(inputs={"training": "local://digits@latest"}) as run:
        pass
    return World(
        run.info.run_id,
        folder,
        tmp_path / "dsver-home" / "store",
        tmp_path / "artifacts" / run.info.run_id / "artifacts" / "dsver",
        version,
    )


@pytest.fixture
def kept(digits_folder: Path, tmp_path: Path) -> World:
    """The files are in the store."""
    return made(digits_folder, tmp_path, reference=False)


@pytest.fixture
def referred(digits_folder: Path, tmp_path: Path) -> World:
    """Only the manifest is in the store; the files are in the folder."""
    return made(digits_folder, tmp_path, reference=True)


def edit_keeping_mtime(path: Path) -> None:
    """Write other bytes of the same length and restore the dates as far as possible."""
    before = path.stat()
    mode = before.st_mode
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    with path.open("r+b") as stream:
        stream.write(content)
    path.chmod(mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# Nothing happened


@pytest.mark.parametrize(
    ("depth", "proof"),
    [("metadata", Proof.PROVIDER), ("default", Proof.CACHED), ("full", Proof.HASHED)],
)
def test_untouched_kept_data_matches_at_every_depth(kept: World, depth: str, proof: Proof) -> None:
    report = kept.check(depth)
    assert (report.verdict, report.proof) == (M, proof)
    assert report.findings == ()


def test_a_folder_that_is_only_referred_to_matches_once_its_bytes_were_read(referred: World) -> None:
    """The store has no copy that it could verify."""
    assert referred.check("metadata").verdict is V
    assert referred.check().verdict is M
    assert referred.check("full").verdict is M
    assert referred.check("full").files_read == 5


def test_a_sample_says_what_it_proves(kept: World, referred: World) -> None:
    for world in (kept, referred):
        [report] = verify(world.run_id, sampling=Sampling(files=2, seed=1)).inputs
        assert (report.verdict, report.proof, report.files_read) == (M, Proof.SAMPLED, 2)
        assert "2 of 5 files drawn at random (seed 1)" in (report.statement or "")


# The bytes


def edited(world: World) -> None:
    edit_keeping_mtime(world.source / "0" / "0.txt")


def added(world: World) -> None:
    (world.source / "new.txt").write_text("new")


def removed(world: World) -> None:
    (world.source / "0" / "0.txt").unlink()


def renamed(world: World) -> None:
    (world.source / "0" / "0.txt").rename(world.source / "0" / "zero.txt")


@pytest.mark.parametrize(
    ("betrayal", "kind", "paths"),
    [
        (edited, "changed", ("0/0.txt",)),
        (added, "added", ("new.txt",)),
        (removed, "removed", ("0/0.txt",)),
        (renamed, "renamed", ("0/0.txt", "0/zero.txt")),
    ],
)
@pytest.mark.parametrize("depth", ["default", "full"])
def test_a_folder_that_was_referred_to_and_changed_is_found(
    referred: World, betrayal: Callable[[World], None], kind: str, paths: tuple[str, ...], depth: str
) -> None:
    betrayal(referred)
    report = referred.check(depth)
    assert report.verdict is C
    assert report.difference is not None
    assert len(getattr(report.difference, kind)) == 1
    [finding] = report.findings
    assert (finding.subject, finding.paths) == (Subject.BYTES, paths)
    assert finding.expected == referred.version.content_digest
    assert finding.found is not None
    assert finding.found != finding.expected


def test_an_edit_with_its_mtime_put_back_does_not_fool_a_warm_cache(
    referred: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_dsver.content import stat_cache
    from mlflow_dsver.content.hashing import hash_folder
    from mlflow_dsver.content.stat_cache import default_cache

    monkeypatch.setattr(stat_cache, "YOUNG", 0)  # files are at once old enough for the cache to trust them
    hash_folder(referred.source, cache=default_cache())
    assert referred.check().verdict is M
    edited(referred)
    assert referred.check().verdict is C


@pytest.mark.parametrize("depth", ["default", "full"])
def test_what_happens_to_the_source_of_kept_data_does_not_matter(kept: World, depth: str) -> None:
    shutil.rmtree(kept.source)
    assert kept.check(depth).verdict is M


def test_a_folder_that_was_referred_to_and_is_gone_is_missing(referred: World) -> None:
    shutil.rmtree(referred.source)
    assert referred.check().verdict is G
    assert referred.check("metadata").verdict is V
    referred.source.mkdir()
    assert referred.check().verdict is G


@pytest.mark.parametrize("depth", ["default", "full"])
def test_a_damaged_object_is_named(kept: World, depth: str) -> None:
    edit_keeping_mtime(kept.objects()[0])
    report = kept.check(depth)
    assert report.verdict is C
    [finding] = report.findings
    assert len(finding.paths) == 1
    assert finding.found == "1 file modified, of 5 checked"


def test_an_object_of_another_size_is_named(kept: World) -> None:
    kept.objects()[0].chmod(0o644)
    kept.objects()[0].write_bytes(b"")
    assert kept.check().verdict is C


def test_an_object_that_is_gone_is_missing(kept: World) -> None:
    kept.objects()[0].unlink()
    assert kept.check().verdict is G
    assert kept.check("full").verdict is G


def test_silent_damage_that_moved_no_date_is_found_by_full(kept: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disk corruption does not change ctime: the default depth reports that it used the cache, and full finds it."""
    from mlflow_dsver.checks import byte_checks

    damaged = kept.objects()[0]
    before = os.lstat(damaged)
    edit_keeping_mtime(damaged)
    plain = os.stat

    def as_before(path: object, **named: object) -> os.stat_result:
        return before if str(path).endswith(damaged.name) else plain(path, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(byte_checks.os, "stat", as_before)
    assert kept.check().proof is Proof.CACHED
    assert kept.check("full").verdict is C


def test_a_sample_that_meets_the_altered_file_says_changed(kept: World, referred: World) -> None:
    edit_keeping_mtime(kept.objects()[0])
    edited(referred)
    for world in (kept, referred):
        verdicts = {verify(world.run_id, sampling=Sampling(files=4, seed=seed)).verdict for seed in range(6)}
        assert verdicts <= {M, C}
        assert C in verdicts
        assert verify(world.run_id, sampling=Sampling(files=5)).verdict is C


def test_a_file_that_cannot_be_read_is_no_match(referred: World) -> None:
    (referred.source / "0" / "0.txt").unlink()
    os.mkfifo(referred.source / "0" / "0.txt")
    assert referred.check().verdict is V


def test_a_link_to_nowhere_is_no_match(referred: World) -> None:
    (referred.source / "0" / "0.txt").unlink()
    (referred.source / "0" / "0.txt").symlink_to("nowhere")
    assert referred.check().verdict is V


# The provider's record


def test_a_deleted_version_is_missing_even_if_bytes_are_still_there(kept: World) -> None:
    LocalProvider().delete(kept.version)
    for depth in ("metadata", "default", "full"):
        assert kept.check(depth).verdict is G


def test_a_tag_with_the_name_of_a_deleted_version_does_not_stand_in_for_it(kept: World, digits_folder: Path) -> None:
    LocalProvider().delete(kept.version)
    (digits_folder / "more.txt").write_text("more")
    other = dsver.create_version("local://digits", digits_folder)
    try:
        LocalProvider().update(other, add_tags=(kept.version.id,))
    except dsver.DsverError:
        pass
    assert kept.check().verdict is G


def test_moved_latest_and_moved_tag_are_told_beside_the_match(kept: World, digits_folder: Path) -> None:
    with dsver.start_run(inputs={"training": "local://digits@clean"}) as run:
        pass
    (digits_folder / "more.txt").write_text("more")
    newer = dsver.create_version("local://digits", digits_folder, tags=["clean"])
    for run_id, words in ((kept.run_id, "local://digits@latest"), (run.info.run_id, "local://digits@clean")):
        [report] = verify(run_id).inputs
        assert report.verdict is M
        [finding] = report.findings
        assert (finding.verdict, finding.found) == (Verdict.ALIAS_MOVED, str(newer.ref))
        assert finding.what == f"{words} now resolves to another version"
        assert verify(run_id)


def test_edited_labels_are_notes(kept: World) -> None:
    LocalProvider().update(kept.version, message="other words", add_tags=("new",), metadata={"a": 1})
    report = kept.check()
    assert report.verdict is M
    assert {note.what.split()[0] for note in report.notes} >= {"tags", "message", "metadata"}


def test_a_damaged_log_is_no_match(kept: World) -> None:
    [log] = kept.store.glob("datasets/*/log")
    log.write_bytes(log.read_bytes().replace(b'"bytes"', b'"bytez"'))
    assert kept.check().verdict is C


def test_a_missing_store_does_not_report_its_versions_missing(kept: World) -> None:
    """A removed store cannot be distinguished from one on another machine."""
    shutil.rmtree(kept.store)
    assert kept.check().verdict is R


def test_a_dataset_that_its_own_store_lost_is_missing(kept: World) -> None:
    shutil.rmtree(kept.store / "datasets")
    assert kept.check().verdict is G


def test_a_store_of_an_unknown_layout_could_not_be_checked(kept: World) -> None:
    (kept.store / "format").write_text("layout 9\n")
    assert kept.check().verdict is R


def test_a_damaged_manifest_in_the_store_is_found(kept: World) -> None:
    [manifest] = (kept.store / "manifests").glob("*.gz")
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert kept.check().verdict is C


def test_a_provider_that_lies_about_the_size_is_found(kept: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    def lying(method: Callable[..., dsver.DatasetVersion]) -> Callable[..., dsver.DatasetVersion]:
        return lambda self, *words: replace(method(self, *words), usage_bytes=10**15)

    monkeypatch.setattr(LocalProvider, "get", lying(LocalProvider.get))
    monkeypatch.setattr(LocalProvider, "resolve", lying(LocalProvider.resolve))
    report = verify(kept.run_id).inputs[0]
    assert report.verdict is C
    assert {(each.what, each.found) for each in report.findings if each.verdict is C} == {
        ("usage bytes", "1000000000000000")
    }


def test_a_provider_that_is_not_installed_is_no_match(kept: World) -> None:
    client = MlflowClient()
    run = client.create_run(mlflow.get_run(kept.run_id).info.experiment_id)
    client.log_param(run.info.run_id, "dsver.training.version", "elsewhere://digits@1")
    client.set_tag(run.info.run_id, "dsver.training.version", "elsewhere://digits@1")
    assert verify(run.info.run_id).verdict is V


# The record on the run


def test_a_deleted_manifest_is_noted_and_the_digest_still_proves_the_bytes(kept: World) -> None:
    (kept.artifacts / "training.manifest.jsonl.gz").unlink()
    report = kept.check()
    assert report.verdict is M
    assert any("no manifest on the run" in note.what for note in report.notes)


def tampered(path: Path, change: Callable[[bytes], bytes]) -> None:
    content = change(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(content))


def consistent_lie(text: bytes) -> bytes:
    """A consistent manifest with one file less."""
    from io import BytesIO

    from mlflow_dsver.model.manifests import Manifest, read

    manifest = read(BytesIO(gzip.compress(text)))
    return gzip.decompress(Manifest(manifest.entries[1:], made=manifest.made).to_bytes())


@pytest.mark.parametrize(
    "change", [lambda text: text.replace(b"labels", b"lables"), lambda text: text[:-5], consistent_lie]
)
def test_a_tampered_manifest_is_found_while_the_bytes_are_sound(
    kept: World, change: Callable[[bytes], bytes]
) -> None:
    tampered(kept.artifacts / "training.manifest.jsonl.gz", change)
    report = kept.check()
    assert report.verdict is C
    [finding] = report.findings
    assert finding.subject is Subject.RECORD
    assert finding.expected == kept.version.content_digest


def test_a_deleted_link_is_noted_and_leaves_the_bytes_to_speak(kept: World) -> None:
    (kept.artifacts / "training.json").unlink()
    assert kept.check().verdict is M
    assert kept.check("metadata").verdict is V or kept.check("metadata").verdict is M


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link["version"].update(content_digest="blake3:" + "0" * 64),
        lambda link: link["version"].update(usage_bytes=1),
        lambda link: link["version"].update(reference="local://digits@0000000000000000"),
        lambda link: link.update(role="test"),
        lambda link: link.update(schema=99),
        lambda link: link.clear(),
    ],
)
def test_a_tampered_link_is_found(kept: World, change: Callable[[dict[str, object]], None]) -> None:
    path = kept.artifacts / "training.json"
    link = json.loads(path.read_text())
    change(link)
    path.write_text(json.dumps(link))
    report = kept.check()
    assert report.verdict is C
    assert any(finding.subject is Subject.RECORD for finding in report.findings)


def test_a_changed_version_tag_is_found(kept: World) -> None:
    MlflowClient().set_tag(kept.run_id, "dsver.training.version", "local://digits@0000000000000000")
    assert kept.check().verdict is C
    assert kept.check("metadata").verdict is C


def test_a_raised_grade_tag_does_not_raise_the_grade(referred: World) -> None:
    MlflowClient().set_tag(referred.run_id, "dsver.training.grade", "A")
    report = verify(referred.run_id, require="A").inputs[0]
    assert str(report.grade) == "C"
    assert not report


def test_artifacts_that_cannot_be_read_are_no_match(kept: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_dsver.tracking import queries

    def down(*_: object) -> None:
        raise OSError("the artifact store is down")

    monkeypatch.setattr(queries, "artifact_repository", down)
    report = kept.check()
    assert report.verdict is R
    assert "the artifact store is down" in (report.findings[0].found or "")


# The run as a whole


def test_the_worst_input_counts_for_the_run(kept: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("a")
    dsver.create_version("local://other", other, reference=True)
    inputs = {"training": "local://digits@latest", "test": "local://other@latest"}
    with dsver.start_run(inputs=inputs) as run:
        pass
    assert verify(run.info.run_id).exit_code == 0
    (other / "a.txt").write_text("b")
    report = verify(run.info.run_id)
    assert {each.role: each.verdict for each in report.inputs} == {"training": M, "test": C}
    assert (report.verdict, report.exit_code, bool(report)) == (C, 1, False)
    shutil.rmtree(other)
    assert verify(run.info.run_id).verdict is G


def test_a_run_without_links_is_no_match(tracking: object) -> None:
    with mlflow.start_run() as run:
        pass
    report = verify(run.info.run_id)
    assert (report.verdict, report.exit_code, bool(report)) == (V, 3, False)


def test_a_run_that_does_not_exist_is_an_error(tracking: object) -> None:
    with pytest.raises(dsver.DsverError, match="no run") as caught:
        verify("0" * 32)
    assert caught.value.exit_code == 2


def test_checking_writes_nothing(kept: World, referred: World, tmp_path: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        found = {}
        for path in tmp_path.rglob("*"):
            if "mlflow.db" not in path.name:
                found[str(path)] = (path.stat().st_mtime_ns, path.stat().st_size)
        return found

    before = state()
    tags = dict(mlflow.get_run(kept.run_id).data.tags)
    for depth in ("metadata", "default", "full"):
        report: RunReport = verify(kept.run_id, depth=depth)
        verify(referred.run_id, depth=depth)
        assert report
    assert state() == before
    assert dict(mlflow.get_run(kept.run_id).data.tags) == tags


def test_artifacts_that_are_larger_than_is_read_could_not_be_checked(
    kept: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not fetched, and the report states the limit."""
    from mlflow_dsver.tracking import queries

    for name, limit, says in (("MAX_FILE", 10, "more than 10 bytes"), ("MAX_RECORD_FILES", 1, "more than 1 files")):
        with monkeypatch.context() as patched:
            patched.setattr(queries, name, limit)
            report = kept.check()
        assert report.verdict is R
        assert any(says in (finding.found or "") for finding in report.findings)
