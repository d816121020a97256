"""`path` of a version by reference shows the files of the version and no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.patterns import EVERYTHING
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.providers.local.maintenance import check, collect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("a.csv", "deep/er/b.csv", "labels.cache", "deep/labels.cache"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".dsverignore").write_text("*.cache\n")
    return folder


def listed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def referred(folder: Path) -> tuple[LocalProvider, DatasetVersion]:
    provider = LocalProvider()
    return provider, provider.create("x", folder, reference=True)


def test_files_that_patterns_leave_out_are_not_given_out(folder: Path) -> None:
    provider, version = referred(folder)
    given = provider.path(version)
    assert listed(given) == ["a.csv", "deep/er/b.csv"]
    assert hash_folder(given, rules=EVERYTHING).digest == version.content_digest
    assert (given / "a.csv").samefile(folder / "a.csv")
    assert provider.path(version) == given
    provider.materialise(version, folder.parent / "out")
    assert listed(folder.parent / "out") == listed(given)


def test_an_ignore_file_of_later_is_not_given_out(folder: Path) -> None:
    for path in (".dsverignore", "labels.cache", "deep/labels.cache"):
        (folder / path).unlink()
    provider, version = referred(folder)
    assert provider.path(version) == folder
    (folder / ".dsverignore").write_text("nothing\n")
    assert listed(provider.path(version)) == ["a.csv", "deep/er/b.csv"]


@pytest.mark.parametrize("edit", ["add", "remove", "replace"])
def test_one_that_was_written_to_is_not_given_out_again(folder: Path, edit: str) -> None:
    provider, version = referred(folder)
    first = provider.path(version)
    for parent, _, _ in os.walk(first):
        Path(parent).chmod(0o755)
    if edit == "add":
        (first / "deep" / "new").write_text("new")
    else:
        (first / "a.csv").unlink()
    if edit == "replace":
        (first / "a.csv").write_text("other")
    second = provider.path(version)
    assert second != first
    assert listed(second) == ["a.csv", "deep/er/b.csv"]
    assert first.is_dir()  # whoever was given it may still use it


def test_modes_keep_others_from_writing_to_it(folder: Path) -> None:
    provider, version = referred(folder)
    given = provider.path(version)
    assert {Path(parent).stat().st_mode & 0o777 for parent, _, _ in os.walk(given)} == {0o555}


def test_the_stores_check_and_collection_leave_it_alone(folder: Path) -> None:
    provider, version = referred(folder)
    given = provider.path(version)
    assert check(provider.store)
    collect(provider.store, dry_run=False, min_age=0)
    assert listed(given) == ["a.csv", "deep/er/b.csv"]
