"""Local versions whose bytes lie at another provider."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlflow_dsver import settings
from mlflow_dsver.errors import CorruptObject, NotFound
from mlflow_dsver.providers.local import LocalProvider, remote_sources


def test_a_version_of_another_provider_is_asked_for_and_its_files_are_read_there(
    digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a provider whose ids do not come from the content, the version is asked for, and must have these files."""
    provider = LocalProvider()
    source = provider.create("source", digits_folder)
    made = provider.create_from("copy", provider, source, reference=True)
    assert made.content_digest == source.content_digest
    provider.materialise(made, tmp_path / "out")
    assert (tmp_path / "out" / "labels.csv").read_bytes() == (digits_folder / "labels.csv").read_bytes()
    assert not provider.has_store_evidence(made)
    (digits_folder / "labels.csv").write_text("changed")
    other = provider.create("source", digits_folder)
    monkeypatch.setattr(remote_sources, "_last", None)
    monkeypatch.setattr(LocalProvider, "get", lambda *_: other)
    with pytest.raises(CorruptObject, match="not that of the version"):
        provider.path(made)


def test_a_version_that_is_gone_at_the_other_provider_is_not_found(
    digits_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = LocalProvider()
    source = provider.create("source", digits_folder)
    made = provider.create_from("copy", provider, source, reference=True)
    provider.delete(source)
    monkeypatch.setattr(remote_sources, "_last", None)
    with pytest.raises(NotFound, match="deleted"):
        provider.path(made)


def test_what_a_killed_copy_left_is_removed_after_a_week(digits_folder: Path) -> None:
    provider = LocalProvider()
    source = provider.create("source", digits_folder)
    scratch = settings.home() / "cache"
    for name in ("copy-old", "copy-new"):
        (scratch / name / "files").mkdir(parents=True)
    os.utime(scratch / "copy-old", (0, 0))
    provider.create_from("copy", provider, source)
    assert [path.name for path in scratch.glob("copy-*")] == ["copy-new"]
