"""The part of the providers' contract about files, the evidence of them, and holds; `mlflow_dsver.testing` has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import DsverError, NotFound, VersionHeld
from mlflow_dsver.model.differences import difference
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.providers.interface import Capability, Provider

if TYPE_CHECKING:
    from mlflow_dsver.testing import Known

HOLDS = (Hold("note:audit"), Hold("run:" + "0" * 32, "http://127.0.0.1:5000"))
"""Reasons that the tests hold a version for."""


class FilesContract:
    """Tests of what a provider knows of files; `ProviderContract` has the fixtures."""

    def test_held_version_is_kept_until_the_last_reason_is_gone(self, provider: Provider, known: Known) -> None:
        """Holding and releasing are idempotent and seen by all; a held version is not deleted."""
        version = provider.get(known.dataset, known.versions[0])
        assert provider.holds(version) == ()
        if Capability.HOLD not in provider.capabilities:
            return
        for _ in range(2):
            provider.hold(version, HOLDS)
            assert provider.holds(version) == HOLDS
        assert all(each.since is not None and each.by for each in provider.holds(version))
        if Capability.DATASETS in provider.capabilities:
            assert [(found.ref, reasons) for found, reasons in provider.held()] == [(version.ref, HOLDS)]
        for _ in range(2):
            provider.release(version, HOLDS[:1])
            assert provider.holds(version) == HOLDS[1:]
        if Capability.DELETE in provider.capabilities:
            with pytest.raises(VersionHeld) as caught:
                provider.delete(version)
            assert "run " + "0" * 32 in str(caught.value)
        same = provider.get(known.dataset, version.id)
        assert (same.tags, same.message, same.modified) == (version.tags, version.message, version.modified)
        provider.release(version, HOLDS)
        assert provider.holds(version) == ()
        if Capability.DELETE in provider.capabilities:
            provider.delete(version)

    def test_files_are_those_of_the_manifest(self, provider: Provider, known: Known, tmp_path: Path) -> None:
        """`path` and `materialise` give exactly the files that the manifest lists, with these bytes."""
        if Capability.BYTES not in provider.capabilities:
            return
        version = provider.get(known.dataset, known.versions[0])
        manifest = provider.manifest(version)
        assert isinstance(manifest, Manifest)
        assert version.content_digest in (None, manifest.digest)
        assert is_same(manifest, provider.path(version))
        provider.materialise(version, tmp_path / "new" / "folder")
        assert is_same(manifest, tmp_path / "new" / "folder")

    def test_one_file_is_read_without_the_others(self, provider: Provider, known: Known) -> None:
        """`open` gives a seekable stream of one file's bytes; a file that is not there is NotFound."""
        if Capability.BYTES not in provider.capabilities:
            return
        version = provider.get(known.dataset, known.versions[0])
        folder = provider.path(version)
        for entry in hash_folder(folder).entries[:3]:
            content = (folder / entry.path).read_bytes()
            with provider.open(version, entry.path) as stream:
                assert stream.read() == content
                stream.seek(len(content) // 2)
                assert stream.read() == content[len(content) // 2 :]
        with pytest.raises(NotFound):
            provider.open(version, "no/such/file")

    def test_files_that_did_not_change_are_found_unchanged_at_the_store(
        self, provider: Provider, known: Known
    ) -> None:
        """What `check_files` says of a version whose files are all there, with and without reading them."""
        version = provider.get(known.dataset, known.versions[0])
        manifest = provider.manifest(version)
        if manifest is None:
            return
        for read in (False, True):
            found = provider.check_files(version, manifest.entries, manifest, read=read)
            assert (found is not None) == provider.has_store_evidence(version)
            if Capability.EVIDENCE not in provider.capabilities:
                assert found is None
            if found is not None:
                assert (found.files, found.missing, found.changed) == (len(manifest), (), ())
                if found.unknown:
                    assert read, "what the store says of an unchanged file is enough without reading it"
                    assert "no checksum" in str(found.reason)
                else:
                    assert found.by, "it says what the comparison rests on"
                assert found.read == (manifest.total_bytes if read else None)

    def test_evidence_of_files_is_what_the_store_says(self, provider: Provider, known: Known) -> None:
        """Checksums that come from elsewhere say so, and only a provider that hashed the bytes itself grades A."""
        version = provider.get(known.dataset, known.versions[0])
        manifest = provider.manifest(version)
        for entry in manifest.entries if manifest is not None else ():
            checksums = entry.evidence.checksums if entry.evidence is not None else ()
            assert all(each.by in ("store", "provider", "here") for each in checksums)
            if provider.grade(version).letter == "A":
                assert entry.blake3 is not None

    def test_materialise_refuses_a_folder_with_files(self, provider: Provider, known: Known, tmp_path: Path) -> None:
        """A folder that has something in it already is refused and left as it was."""
        if Capability.BYTES not in provider.capabilities:
            return
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(DsverError):
            provider.materialise(provider.get(known.dataset, known.versions[0]), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def is_same(manifest: Manifest, folder: Path) -> bool:
    """Whether a folder has exactly the files of a manifest, by the checksums that both have, else by their sizes."""
    found = hash_folder(folder)
    if [each[:2] for each in found.entries] != [each[:2] for each in manifest.entries]:
        return False
    return not difference(manifest, found)
