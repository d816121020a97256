"""Where the bytes are: mounts by settings file and by name, folders that are named, and what is known of them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import CorruptObject, InvalidArgument, SettingsError, StoreError, Unsupported
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace import PaperspaceProvider, local_files
from mlflow_dsver.providers.paperspace import provider as provider_module
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.providers.paperspace.local_files import Roots

CATS = "dst364npcw6ccok"


class World:
    """A notebook's machine below a temporary folder, with a dataset of one committed version of 4 bytes."""

    def __init__(self, folder: Path, emulator: PaperspaceEmulator) -> None:
        self.folder, self.emulator = folder, emulator
        self.roots = Roots((folder / "datasets", folder / "inputs"), (folder / "notebooks",))

    def mount(self, name: str, content: str = "meow", root: str = "datasets") -> Path:
        mount = self.folder / root / name
        mount.mkdir(parents=True)
        (mount / "a.txt").write_text(content)
        return mount

    def settings(self, text: str) -> None:
        (self.folder / "notebooks" / ".gradient").mkdir(parents=True)
        (self.folder / "notebooks" / ".gradient" / "settings.yaml").write_text(text)

    def provider(self, **arguments: Any) -> PaperspaceProvider:
        return PaperspaceProvider(
            key=self.emulator.good_key, base=self.emulator.base, timeout=20, roots=self.roots, **arguments
        )


@pytest.fixture
def world(tmp_path: Path, emulator: PaperspaceEmulator, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return World(tmp_path, emulator)


@pytest.fixture
def version(world: World) -> DatasetVersion:
    """A version whose size is that of the mounts of this test, and which claims no digest."""
    made = world.emulator.add_version(CATS, version="vvvvvv1", tags="small", size=4)
    return world.provider().get(CATS, made)


def test_without_bytes_it_says_what_to_do(world: World, version: DatasetVersion) -> None:
    for ask in (world.provider().path, world.provider().identify):
        with pytest.raises(Unsupported, match=r"/datasets or /inputs.*PAPERSPACE_PATHS=dst.*AWS_ACCESS_KEY_ID"):
            ask(version)
    assert world.provider().local_copy(version) is None
    assert world.provider().manifest(version) is None


@pytest.mark.parametrize("name", [CATS, "cats"])
@pytest.mark.parametrize("root", ["datasets", "inputs"])
def test_mount_is_found_by_the_name_of_its_folder(
    world: World, version: DatasetVersion, name: str, root: str
) -> None:
    mount = world.mount(name, root=root)
    assert world.provider().path(version) == mount
    place = world.provider().local_copy(version)
    assert place is not None
    assert place.folder == mount


@pytest.mark.parametrize(
    "text",
    [
        "integrations:\n  my-data:\n    type: dataset\n    ref: paperspace/dst364npcw6ccok:latest\n",
        "integrations:\n  my-data:\n    type: dataset\n    ref: dst364npcw6ccok\n",
        "integrations:\n  my-data:\n    type: dataset\n    ref: gradient/cats:vvvvvv1\n",
        "integrations:\n  my-data:\n    type: dataset\n    id: dst364npcw6ccok\n    version: vvvvvv1\n",
        "integrations:\n  other: {type: volume}\n  my-data: {type: dataset, ref: 'ns/dst364npcw6ccok:small'}\n",
    ],
)
def test_mount_is_found_by_the_settings_file(world: World, version: DatasetVersion, text: str) -> None:
    """Whatever the mount is called; by its dataset's id or name, pinned or not."""
    mount = world.mount("my-data")
    world.settings(text)
    assert world.provider().path(version) == mount


@pytest.mark.parametrize(
    "text", ["", "[]", "integrations: 7", "integrations: {a: 1, b: {type: dataset}, 3: {ref: x}}", "other: {}"]
)
def test_settings_file_without_mounts_is_passed_over(world: World, version: DatasetVersion, text: str) -> None:
    world.settings(text)
    assert local_files.find(CATS, None, world.roots) is None


@pytest.mark.parametrize("text", ["a: [", "\x00", "!!python/object/apply:os.system ['true']"])
def test_settings_file_that_is_no_yaml_is_named(world: World, text: str) -> None:
    """And nothing in it is run."""
    world.settings(text)
    with pytest.raises(SettingsError, match=r"settings\.yaml"):
        local_files.find(CATS, None, world.roots)


def test_mount_names_do_not_climb(world: World) -> None:
    world.mount("secret", root="elsewhere2")
    world.settings(f"integrations:\n  ../elsewhere2/secret: {{type: dataset, ref: {CATS}}}\n  ..: {{ref: {CATS}}}\n")
    world.mount("other")
    assert local_files.find(CATS, None, world.roots) is None


def test_hashed_mount_of_the_very_version_lifts_the_grade_to_a(world: World, version: DatasetVersion) -> None:
    """The settings file pins the mount to the version's id, and its size agrees; a copy can be made."""
    mount = world.mount("my-data")
    world.settings(f"integrations: {{my-data: {{type: dataset, ref: 'paperspace/{CATS}:vvvvvv1'}}}}")
    provider = world.provider()
    assert str(provider.grade(version)) == "B"
    identified = provider.identify(version)
    assert str(provider.grade(identified)) == "A"
    assert identified.content_digest == hash_folder(mount).digest
    manifest = world.provider().manifest(identified)
    assert manifest is not None
    assert manifest.digest == identified.content_digest
    provider.materialise(identified, world.folder / "copy")
    assert hash_folder(world.folder / "copy").digest == identified.content_digest


def test_setting_hashes_mounts_when_resolving(world: World, monkeypatch: pytest.MonkeyPatch, version: Any) -> None:
    mount = world.mount("cats")
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_HASH", "yes")
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_PATHS", f"{CATS}:vvvvvv1={mount}")
    found = world.provider().resolve(parse(f"{CATS}:small"))
    assert str(world.provider().grade(found)) == "A"
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_HASH", "perhaps")
    with pytest.raises(SettingsError, match="PAPERSPACE_HASH"):
        world.provider()


def test_mount_of_another_version_is_caught_by_its_claimed_digest(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mount is what was newest when the machine started; since then there is a newer one with its digest."""
    old = world.mount("cats", "old bytes")
    new = tmp_path / "new"
    shutil.copytree(old, new)
    (new / "a.txt").write_text("new bytes")
    provider = world.provider()
    made = provider.commit(provider.create(CATS, new, reference=True))
    assert provider.path(made) == new, "in this process the folder that it was made from is known"
    provider_module._created_from.clear()
    for ask in (provider.path, provider.identify, lambda each: provider.materialise(each, tmp_path / "out")):
        with pytest.raises(CorruptObject, match="not those of this version"):
            ask(made)
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out*")) == []
    resolved = world.provider(hash_files=True).resolve(parse(f"{CATS}:latest"))
    assert str(provider.grade(resolved)) == "B (files here have another digest)"
    assert "no grade rests on these files" in caplog.text
    (old / "a.txt").write_text("new bytes")
    assert str(provider.grade(provider.identify(made))) == "A"
    assert provider.path(made) == old


def test_mount_of_another_size_is_said_loudly(
    world: World, version: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """What the service counts is not documented, so a size alone is a warning; and no proof of anything."""
    caplog.set_level(logging.WARNING)
    mount = world.mount("cats", "eight bytes and more")
    assert world.provider().path(version) == mount
    assert "ANOTHER VERSION" in caplog.text
    with pytest.raises(CorruptObject, match=r"the service says 4 B.*No grade rests on them"):
        world.provider().identify(version)
    caplog.clear()
    provider = world.provider(hash_files=True)
    assert str(provider.grade(provider.resolve(version.ref))) == "B (files here have another size)"
    assert "the service says 4 B" in caplog.text
    assert "Nothing was served" not in caplog.text, "path serves it"


def test_folder_of_a_dataset_and_a_size_prove_nothing_about_a_version(
    world: World, version: DatasetVersion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder that is named for a dataset fits every version of it that has its size: none is graded A by it."""
    folder = world.mount("somewhere", root="own")
    other = world.emulator.add_version(CATS, version="vvvvvv2", size=4)
    world.mount(CATS)
    for arguments in ({"paths": {CATS: folder}}, {"paths": {}}):
        provider = world.provider(hash_files=True, **arguments)
        for name in (version.id, other):
            found = provider.resolve(parse(f"{CATS}:{name}"))
            assert (found.content_digest, str(provider.grade(found))) == (None, "B")
    assert "nothing says which one it holds" in caplog.text
    provider = world.provider(hash_files=True, paths={f"{CATS}@{other}": folder})
    assert str(provider.grade(provider.resolve(parse(f"{CATS}:{other}")))) == "A"
    assert str(provider.grade(provider.resolve(parse(f"{CATS}:{version.id}")))) == "B"


def test_mount_pinned_to_a_tag_proves_nothing(world: World, version: DatasetVersion) -> None:
    """The tag may have moved since the machine started."""
    world.mount("my-data")
    world.settings(f"integrations: {{my-data: {{type: dataset, ref: 'paperspace/{CATS}:small'}}}}")
    assert str(world.provider().grade(world.provider().identify(version))) == "B"


def test_mount_that_is_pinned_to_another_version_is_refused(world: World, version: DatasetVersion) -> None:
    world.mount("my-data")
    world.settings(f"integrations: {{my-data: {{type: dataset, ref: 'paperspace/{CATS}:klfoyy9'}}}}")
    with pytest.raises(CorruptObject, match="mounted from klfoyy9"):
        world.provider().path(version)
    provider = world.provider(hash_files=True)
    assert str(provider.grade(provider.resolve(version.ref))) == "B (another version is mounted)"


def test_mount_that_nothing_vouches_for_proves_nothing(
    world: World, version: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a digest and a size, a mount of `latest` may be an older version: it can be used, with a warning."""
    world.emulator.switch("usage-bytes", "never")
    world.mount("cats")
    version = world.provider().get(CATS, version.id)
    assert str(world.provider().grade(world.provider().identify(version))) == "B"
    assert "may be another version" in caplog.text
    assert world.provider().path(version)


def test_folder_that_is_named_is_used(
    world: World, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an argument, by a setting, or once by `identify(path=…)` for the whole process."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.txt").write_text("meow")
    assert world.provider(paths={CATS: folder}).path(version) == folder
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_PATHS", f"dsr5zdx0thjhfe2=/x; {CATS}={folder}")
    assert world.provider().path(version) == folder
    monkeypatch.delenv("MLFLOW_DSVER_PAPERSPACE_PATHS")
    identified = world.provider().identify(version, path=folder)
    assert str(world.provider().grade(identified)) == "A"
    assert world.provider().path(identified) == folder
    (folder / "a.txt").write_text("mEow")
    with pytest.raises(CorruptObject):
        world.provider().path(identified)
    assert world.provider().manifest(identified) is None


@pytest.mark.parametrize("text", ["x", "=x", "x=", ";;x=/a;y"])
def test_setting_of_folders_is_checked(text: str) -> None:
    with pytest.raises(SettingsError, match="PAPERSPACE_PATHS"):
        local_files.configured(text)


def test_copy_goes_to_a_new_or_empty_folder_whole_or_not_at_all(world: World, version: DatasetVersion) -> None:
    world.mount("cats")
    full = world.folder / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(InvalidArgument, match="not an empty folder"):
        world.provider().materialise(version, full)
    assert [each.name for each in full.iterdir()] == ["mine.txt"]
    world.provider().materialise(version, world.folder / "a" / "b")
    assert (world.folder / "a" / "b" / "a.txt").read_text() == "meow"
    (world.folder / "file").write_text("")
    with pytest.raises(StoreError):
        world.provider().materialise(version, world.folder / "file" / "below")
