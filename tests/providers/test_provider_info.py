"""What a provider brings is found through its `ProviderInfo`: no module outside its folder names a vendor."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import mlflow_dsver
from mlflow_dsver import plugins
from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.plugins import PROVIDER_INFO, PROVIDERS, ProviderInfo
from mlflow_dsver.providers.interface import LocalCopy

PACKAGE = Path(mlflow_dsver.__file__).parent
MAY_NAME_VENDORS = ("providers/paperspace/", "providers/clarifai/", "demo/", "_former_names.py")
"""Folders of the two vendors, the demo, and the table of import paths that earlier versions documented."""
IN_TESTING = re.compile(r"(paperspace|clarifai)_emulator")
GIT = ProviderInfo(title="Git", slashes_in_selectors=True)


def test_no_module_outside_its_folder_names_a_vendor() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if name == "testing.py" and IN_TESTING.search(line):
                continue  # fixtures that it exports
            if re.search("paperspace|clarifai", line, re.IGNORECASE) and not name.startswith(MAY_NAME_VENDORS):
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == []


BUILT_ON: dict[str, set[str]] = {
    "evaluation": {"local"},  # the local store's versions, of files that come from MLflow
    "dvc": {"git", "buckets"},  # commits of git; remotes in object storage
    "delta": {"buckets"},  # tables in object storage
    "iceberg": {"buckets"},
}
"""The folders of providers that build on others, and why."""


def test_no_providers_folder_imports_another_providers_but_those_it_is_built_on() -> None:
    for folder in (PACKAGE / "providers").iterdir():
        others = {each.name for each in (PACKAGE / "providers").iterdir() if each.is_dir()} - {folder.name, "http"}
        others -= BUILT_ON.get(folder.name, set())
        for path in folder.rglob("*.py") if folder.is_dir() else ():
            assert not re.search(rf"mlflow_dsver\.providers\.({'|'.join(others)})\b", path.read_text()), path


@pytest.mark.parametrize(
    "text", ["dst364npcw6ccok:fo5rp4m", "https://clarifai.com/me/app/datasets/cats", "local://a"]
)
def test_parsing_imports_no_provider(text: str) -> None:
    """Spellings are read by modules of the standard library alone; an ordinary reference asks for none of them."""
    code = f"import sys, mlflow_dsver; mlflow_dsver.parse({text!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert not {"mlflow", "requests", "pydantic", "click"} & loaded
    ours = {name for name in loaded if name.startswith("mlflow_dsver.providers")}
    assert not [
        name for name in ours if not re.fullmatch(r"mlflow_dsver\.providers(\.[a-z]+(\.info|\.places)?)?", name)
    ]
    assert bool(ours) == (text != "local://a")


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A provider `git` is installed, whose selectors may have slashes; its info stands in this module."""
    real = plugins._installed(())
    points = {
        PROVIDERS: {**real[PROVIDERS], "git": EntryPoint("git", f"{__name__}:nothing", PROVIDERS)},
        PROVIDER_INFO: {**real[PROVIDER_INFO], "git": EntryPoint("git", f"{__name__}:GIT", PROVIDER_INFO)},
    }
    monkeypatch.setattr(plugins, "_installed", lambda path: points)
    plugins._loaded.cache_clear()
    yield
    plugins._loaded.cache_clear()


@pytest.mark.usefixtures("git")
@pytest.mark.parametrize("text", ["git://data@feature/x", "git://data@feature%2Fx"])
def test_selectors_with_slashes_where_the_provider_has_them(text: str) -> None:
    ref = parse(text)
    assert ref == DatasetRef("git", "data", "feature/x")
    assert str(ref) == "git://data@feature/x"
    assert parse(str(ref)) == ref


@pytest.mark.usefixtures("git")
@pytest.mark.parametrize(
    "text", ["git://data@/x", "git://data@x/", "git://data@a//b", "git://data@a/../b", "git://data@a/.b"]
)
def test_segments_of_such_selectors_are_names(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse(text)


def test_other_selectors_have_no_slash() -> None:
    for name in ("local", "paperspace", "clarifai"):
        with pytest.raises(InvalidReference):
            DatasetRef(name, "data", "a/b")


def test_records_of_a_provider_that_is_not_installed_are_read() -> None:
    assert parse("gone://data@a/b") == DatasetRef("gone", "data", "a/b")


def test_former_names_of_the_interface_warn_and_work() -> None:
    from mlflow_dsver.providers import interface

    with pytest.warns(DeprecationWarning, match="LocalCopy"):
        assert interface.Place is interface.LocalCopy
    with pytest.warns(DeprecationWarning, match="local_copy"):

        class Older(interface.Provider):
            name = "older"

            def get(self, dataset: str, version: str) -> DatasetVersion:
                raise NotImplementedError

            def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
                return iter(())

            def at_hand(self, version: DatasetVersion) -> LocalCopy | None:
                super().at_hand(version)
                return LocalCopy(Path(version.id))

    version = DatasetVersion(DatasetRef("older", "data", "1"))
    with pytest.warns(DeprecationWarning, match="at_hand is now local_copy"):
        assert Older().local_copy(version) == LocalCopy(Path("1"))
