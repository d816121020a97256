"""The checksum that git calls a file by."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mlflow_dsver.content.checksums import Checksums, compared, file_checksums
from mlflow_dsver.model.evidence import Checksum, FileEvidence
from mlflow_dsver.model.manifests import with_evidence


def test_it_is_the_one_that_git_computes_and_proves_against_accident_only(tmp_path: Path) -> None:
    for content in (b"", b"one\ntwo\n", bytes(range(256)) * 9):
        path = tmp_path / "file"
        path.write_bytes(content)
        command = ["git", "hash-object", "--no-filters", "--", str(path)]
        blob = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert file_checksums(path, ["gitblob"]) == (Checksum("gitblob", blob),)
        entry = with_evidence("file", len(content), FileEvidence((Checksum("gitblob", blob, by="store"),)))
        found = Checksums.of(entry)
        found.update(content)
        same = compared(entry, found.values())
        assert same.same
        assert content == b"" or not same.strong


def test_without_a_size_it_is_left_out() -> None:
    assert Checksums(["gitblob"]).values() == ()
