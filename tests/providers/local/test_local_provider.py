"""What the local provider does beyond the contract: ids, words, deduplication, suggestions, and bad input refused."""

import getpass
import os
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.content import stat_cache as stat_cache
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import (
    ContentError,
    CorruptObject,
    DsverError,
    InvalidArgument,
    InvalidReference,
    NotFound,
    StoreError,
)
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.providers.local import LocalProvider, log, objects, provider
from mlflow_dsver.providers.local.maintenance import check


@pytest.fixture
def local(tmp_path: Path) -> LocalProvider:
    return LocalProvider(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "labels.csv").write_text("a,1\n")
    (folder / "images" / "a.bin").write_bytes(b"a" * 1000)
    (folder / "images" / "same.bin").write_bytes(b"a" * 1000)
    return folder


def object_files(local: LocalProvider) -> list[Path]:
    return sorted(path for path in (local.store.root / "objects").rglob("*") if path.is_file())


def state_of(root: Path) -> list[tuple[str, int, int]]:
    """Every path below root, with size and date of files."""
    return sorted(
        (str(path.relative_to(root)), *((path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)))
        for path in root.rglob("*")
    )


def test_the_id_is_the_beginning_of_the_content_digest(local: LocalProvider, folder: Path) -> None:
    """The same bytes have the same canonical reference in every store."""
    version = local.create("digits", folder)
    assert version.content_digest == hash_folder(folder).digest
    assert version.id == version.content_digest.removeprefix("blake3:")[:16]
    assert str(LocalProvider(local.store.root.parent / "other").create("digits", folder)) == str(version)


def test_facts_are_exact(local: LocalProvider, folder: Path) -> None:
    """Size, number of files, creator and dates are those of the folder and of this moment."""
    version = local.create("digits", folder, message="first")
    assert version.usage_bytes == 2004
    assert version.counts == {"files": 3}
    assert version.immutable is True
    assert version.creator
    assert "@" in version.creator
    assert version.created == version.modified
    assert version.raw["kept"] is True
    assert local.grade(version).letter == "A"


def test_each_content_is_kept_once(local: LocalProvider, folder: Path) -> None:
    """Equal files, versions and datasets share objects; objects are read-only and named by their digest."""
    local.create("digits", folder)
    assert len(object_files(local)) == 2
    (folder / "new.bin").write_bytes(b"new")
    local.create("digits", folder)
    local.create("other", folder)
    assert len(object_files(local)) == 3
    for path in object_files(local):
        assert path.stat().st_mode & 0o777 == 0o444
        assert path.parent.name == path.name[:2]


def test_unchanged_content_gives_the_same_version_and_costs_its_walk(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read and nothing is written when nothing changed: objects are stat-ed, no more."""
    monkeypatch.setattr(stat_cache, "YOUNG", 0)
    first = local.create("digits", folder, tags=("clean",))
    before = state_of(local.store.root)
    monkeypatch.setattr(objects.Ingest, "take", lambda *_: pytest.fail("a file is read for nothing"))
    monkeypatch.setattr(objects, "read_if_right", lambda *_: pytest.fail("an object is read for nothing"))
    assert local.create("digits", folder) == first
    assert local.create("digits", folder, tags=("clean",)) == first
    assert state_of(local.store.root) == before


def test_creating_again_adds_tags_and_replaces_what_is_given(local: LocalProvider, folder: Path) -> None:
    """Message and metadata stay where none is given; the date of creation stays, that of change does not."""
    first = local.create("digits", folder, message="first", tags=("a",), metadata={"by": "me"})
    again = local.create("digits", folder, tags=("b",))
    assert (again.tags, again.message, again.metadata) == (("a", "b"), "first", {"by": "me"})
    assert again.created == first.created
    assert again.modified is not None
    assert first.modified is not None
    assert again.modified > first.modified
    assert local.create("digits", folder, message="second", metadata={}).metadata == {}


def test_latest_is_what_was_created_last(local: LocalProvider, folder: Path) -> None:
    """Going back to an earlier content makes that version the latest again."""
    first = local.create("digits", folder)
    (folder / "new.bin").write_bytes(b"new")
    second = local.create("digits", folder)
    assert local.resolve(parse("local://digits")).id == second.id
    (folder / "new.bin").unlink()
    assert local.create("digits", folder).id == first.id
    assert local.resolve(parse("local://digits@latest")).id == first.id
    assert [version.id for version in local.versions("digits")] == [first.id, second.id]


def test_an_id_may_be_shortened(local: LocalProvider, folder: Path) -> None:
    """Six digits are enough where they are unique; five are not a reference."""
    version = local.create("digits", folder)
    assert local.resolve(DatasetRef("local", "digits", version.id[:6])) == version
    with pytest.raises(NotFound, match="no version of that id"):
        local.resolve(DatasetRef("local", "digits", version.id[:5]))


def test_contents_that_share_the_beginning_get_longer_ids(local: LocalProvider, folder: Path) -> None:
    """An id that another content has, or had, is not given again; the beginning that two ids share is refused."""
    digest = hash_folder(folder).digest.removeprefix("blake3:")
    taken = digest[:20] + ("0" if digest[20] != "0" else "1") + digest[21:]
    operation = {"op": "create", "version": digest[:16], "digest": f"blake3:{taken}", "files": 1, "bytes": 1}
    operation |= {"kept": False, "source": "/gone", "at": "2026-01-01T00:00:00Z", "by": "me", "manifest": "0" * 32}
    with local.store.writing():
        log.append(local.store, "digits", lambda _: operation)
    version = local.create("digits", folder)
    assert version.id == digest[:24]
    with pytest.raises(NotFound, match="2 versions begin so") as caught:
        local.resolve(DatasetRef("local", "digits", digest[:10]))
    assert version.id in str(caught.value)
    local.delete(local.get("digits", digest[:16]))
    assert local.create("digits", folder).id == digest[:24]
    with pytest.raises(NotFound, match="this version was deleted"):
        local.get("digits", digest[:16])


def test_what_is_near_is_suggested(local: LocalProvider, folder: Path) -> None:
    """A mistyped dataset, tag or id gets the nearest that exists, as a reference to copy."""
    local.create("digits", folder, tags=("clean",))
    for text, suggestion in (
        ("local://digit", "local://digits"),
        ("local://digits@claen", "local://digits@clean"),
        ("local://digits@zzzzzz", "local://digits@latest"),
    ):
        with pytest.raises(NotFound) as caught:
            local.resolve(parse(text))
        assert caught.value.tip == suggestion


def test_reference_records_and_keeps_no_bytes(local: LocalProvider, folder: Path) -> None:
    """A version by reference is graded C, hands out its own folder while it is the same, and names what changed."""
    version = local.create("digits", folder, reference=True)
    assert object_files(local) == []
    assert local.grade(version).letter == "C"
    assert local.path(version) == folder
    (folder / "labels.csv").write_text("a,2\n")
    with pytest.raises(CorruptObject, match=r"labels\.csv has other bytes") as caught:
        local.path(version)
    assert str(version) in str(caught.value)
    with pytest.raises(CorruptObject, match=r"labels\.csv"):
        local.materialise(version, folder.parent / "out")
    assert not (folder.parent / "out").exists()


def test_reference_to_a_folder_that_is_gone(local: LocalProvider, folder: Path) -> None:
    """The error names the folder."""
    version = local.create("digits", folder, reference=True)
    folder.rename(folder.with_name("moved"))
    for refused in (lambda: local.path(version), lambda: local.materialise(version, folder.parent / "out")):
        with pytest.raises(StoreError, match=str(folder)):
            refused()


def test_reference_created_again_with_bytes_is_kept(local: LocalProvider, folder: Path) -> None:
    """From then on the version does not need the folder; creating it by reference again takes nothing away."""
    local.create("digits", folder, reference=True)
    kept = local.create("digits", folder)
    assert local.grade(kept).letter == "A"
    assert local.grade(local.create("digits", folder, reference=True)).letter == "A"
    (folder / "labels.csv").unlink()
    assert hash_folder(local.path(kept)).digest == kept.content_digest


def test_source_that_changes_meanwhile_is_refused(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written to while it is read is named, and the store is as before."""
    local.create("digits", folder)
    before = state_of(local.store.root)
    (folder / "labels.csv").write_text("a,2\n")
    take = objects.Ingest.take

    def write_meanwhile(self: objects.Ingest, descriptor: int, status: os.stat_result, path: str) -> str:
        digest = take(self, descriptor, status, path)
        if path == "labels.csv":
            (folder / path).write_text("a,3\n")
        return digest

    monkeypatch.setattr(objects.Ingest, "take", write_meanwhile)
    with pytest.raises(ContentError, match=r"labels\.csv"):
        local.create("digits", folder)
    assert state_of(local.store.root) == before


def test_file_that_changes_after_it_was_hashed_is_refused(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose digest was known, and which is copied later, must still have that digest."""
    monkeypatch.setattr(stat_cache, "YOUNG", 0)
    local.create("digits", folder, reference=True)  # fills the cache of digests
    hash_all = hash_folder

    def hash_and_change(*arguments: Any, **options: Any) -> Any:
        manifest = hash_all(*arguments, **options)
        (folder / "labels.csv").write_text("b,9\n")
        return manifest

    monkeypatch.setattr(provider, "hash_folder", hash_and_change)
    with pytest.raises(ContentError, match=r"labels\.csv changed"):
        local.create("digits", folder)
    assert local.grade(next(local.versions("digits"))).letter == "C"
    assert object_files(local) == []


@pytest.mark.parametrize(
    ("name", "match"),
    [("empty", "no files"), ("missing", "missing"), ("a-file", "a-file")],
)
def test_folder_that_is_none_is_refused(local: LocalProvider, tmp_path: Path, name: str, match: str) -> None:
    """An empty folder, none, or a file: one clear line, no dataset."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("x")
    with pytest.raises(ContentError, match=match):
        local.create("digits", tmp_path / name)
    assert list(local.datasets()) == []
    assert list((local.store.root / "tmp").iterdir()) == []


def test_folder_that_holds_the_store_or_lies_in_it_is_refused(tmp_path: Path) -> None:
    """A store would otherwise be copied into itself; links to it do not help."""
    local = LocalProvider(tmp_path / "data" / "store")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for folder in (tmp_path / "data", tmp_path, tmp_path / "link", local.store.root, local.store.root / "views"):
        with pytest.raises(ContentError, match="the store"):
            local.create("digits", folder)
    assert not local.store.root.exists()


@pytest.mark.parametrize(
    "metadata",
    [
        {"set": {1}},
        {"nan": float("nan")},
        {"infinite": [float("inf")]},
        {1: "a key that is no text"},
        {"deeper": [{2: "x"}]},
        {"large": "x" * 70_000},
        {"surrogate": "\ud800"},
        ["a", "list"],
        "text",
    ],
)
def test_metadata_that_is_not_json_is_refused(local: LocalProvider, folder: Path, metadata: Any) -> None:
    """One clear line, before anything is read or written."""
    with pytest.raises(InvalidArgument, match=r"metadata|UTF-8") as caught:
        local.create("digits", folder, metadata=metadata)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not local.store.root.exists()


@pytest.mark.parametrize("tag", ["a,b", "", " padded ", "latest", "x" * 129, "a\nb", ".hidden", "a/b"])
def test_tags_that_could_not_be_read_back_are_refused(local: LocalProvider, folder: Path, tag: str) -> None:
    """Creating and updating refuse the same tags, and change nothing."""
    with pytest.raises(InvalidReference):
        local.create("digits", folder, tags=(tag,))
    assert not local.store.root.exists()
    version = local.create("digits", folder)
    with pytest.raises(InvalidReference):
        local.update(version, add_tags=("good", tag), message="no")
    assert local.get("digits", version.id) == version


def test_tags_as_one_text_are_separated_by_commas(local: LocalProvider, folder: Path) -> None:
    """And never split into letters, whichever provider it is."""
    made = local.create("digits", folder, tags="clean, round 3")  # type: ignore[arg-type]
    assert made.tags == ("clean", "round 3")
    assert local.update(made, add_tags="raw", remove_tags="clean").tags == ("raw", "round 3")  # type: ignore[arg-type]


def test_a_tag_is_not_the_id_of_a_version(local: LocalProvider, folder: Path) -> None:
    """An id means its version and nothing else, so no tag may look the same."""
    first = local.create("digits", folder)
    (folder / "new.bin").write_bytes(b"new")
    with pytest.raises(InvalidReference, match="the id of a version"):
        local.create("digits", folder, tags=(first.id,))
    own = hash_folder(folder).digest.removeprefix("blake3:")[:16]
    with pytest.raises(InvalidReference, match="the id of a version"):
        local.create("digits", folder, tags=(own,))
    with pytest.raises(InvalidReference, match="the id of a version"):
        local.update(first, add_tags=(first.id,))
    assert list(local.versions("digits")) == [first]


@pytest.mark.parametrize("dataset", ["", "..", "a/../b", "a//b", "/a", ".a", "a\x00b", "a\\b", "x" * 500])
def test_names_that_lead_elsewhere_are_refused(local: LocalProvider, folder: Path, dataset: str) -> None:
    """A dataset's name is refused the same way wherever it comes in."""
    for refused in (
        lambda: local.create(dataset, folder),
        lambda: local.get(dataset, "x"),
        lambda: list(local.versions(dataset)),
    ):
        with pytest.raises(InvalidReference):
            refused()
    assert not local.store.root.exists()


def test_hostile_names_are_kept_apart(local: LocalProvider, folder: Path) -> None:
    """Names with slashes, percent signs, blanks and other scripts are datasets of their own."""
    names = ["digits", "digits/val", "digits%2Fval", "Digits", "ünï ¢ode", "a@b", "数字"]
    for name in names:
        version = local.create(name, folder)
        assert local.resolve(parse(str(version))) == version
    assert list(local.datasets()) == sorted(names)


@pytest.mark.parametrize("message", [5, "x" * 70_000, "\ud800"])
def test_messages_that_cannot_be_kept_are_refused(local: LocalProvider, folder: Path, message: Any) -> None:
    """A message is text of a bounded size."""
    with pytest.raises(InvalidArgument):
        local.create("digits", folder, message=message)


def test_a_version_needs_a_folder(local: LocalProvider) -> None:
    """The interface lets other providers do without one."""
    with pytest.raises(InvalidArgument, match="made of a folder"):
        local.create("digits")


def test_versions_of_other_providers_are_refused(local: LocalProvider, folder: Path) -> None:
    """A version of another provider under the same id is not taken for ours."""
    from dataclasses import replace

    version = local.create("digits", folder)
    with pytest.raises(InvalidArgument):
        local.path(replace(version, ref=DatasetRef("paperspace", "digits", version.id)))


def test_the_creator_is_found_out_or_unknown(
    local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without a name (in a container, say) can create versions too."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    version = local.create("digits", folder)
    assert version.creator is not None
    assert version.creator.startswith("unknown@")


def test_damaged_log_of_one_dataset_leaves_the_others(local: LocalProvider, folder: Path) -> None:
    """The damaged one is named with its line and never written to; others go on; the listing says which file."""
    local.create("digits", folder)
    local.create("other", folder)
    path = local.store.log("digits")
    path.write_bytes(path.read_bytes().replace(b'"files":3', b'"files":4'))
    before = path.read_bytes()
    for refused in (lambda: list(local.versions("digits")), lambda: local.create("digits", folder, message="x")):
        with pytest.raises(CorruptObject, match="'digits' is damaged in line 1"):
            refused()
    assert path.read_bytes() == before
    assert len(list(local.versions("other"))) == 1
    with pytest.raises(CorruptObject, match=str(path)):
        list(local.datasets())
    with pytest.raises(NotFound, match="Try: mlflow-dsver versions create local://zzz FOLDER"):
        local.resolve(parse("local://zzz"))
    with pytest.raises(NotFound, match="Try: local://other"):
        local.resolve(parse("local://othr"))


def test_missing_object_is_put_back_by_creating_after_deletion(local: LocalProvider, folder: Path) -> None:
    """The tip of the error works: delete the version, create it again, and it is whole."""
    version = local.create("digits", folder)
    object_files(local)[0].unlink()
    with pytest.raises(CorruptObject):
        local.path(version)
    local.delete(version)
    assert local.create("digits", folder).id == version.id
    assert check(local.store)
    assert hash_folder(local.path(version)).digest == version.content_digest


def test_missing_manifest_is_named(local: LocalProvider, folder: Path) -> None:
    """Version and file are named; nothing is served."""
    version = local.create("digits", folder)
    path = local.store.manifest(hash_folder(folder).digest)
    path.unlink()
    for refused in (lambda: local.manifest(version), lambda: local.path(version)):
        with pytest.raises(CorruptObject, match=str(path)) as caught:
            refused()
        assert str(version) in str(caught.value)


def test_health_is_a_value_whatever_the_store(local: LocalProvider, folder: Path) -> None:
    """No store yet, a store, and a layout of another time."""
    assert "no version yet" in local.health().summary
    assert not local.store.root.exists()
    local.create("digits", folder)
    assert local.health().ok
    (local.store.root / "format").write_text("mlflow-dsver local store, layout 2\n")
    assert not local.health().ok
    assert "layout 2" in local.health().summary


def test_reading_makes_no_store(local: LocalProvider, tmp_path: Path) -> None:
    """Asking a store that does not exist leaves it so."""
    assert list(local.datasets()) == []
    with pytest.raises(NotFound):
        local.resolve(parse("local://digits"))
    assert check(local.store)
    assert not local.store.root.exists()


def test_progress_hears_of_all_bytes(local: LocalProvider, folder: Path) -> None:
    """Creation and handing out tell how much there is, and advance by exactly that."""

    class Heard:
        def __init__(self) -> None:
            self.expected: list[tuple[int | None, int | None]] = []
            self.done = [0, 0]

        def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
            self.expected.append((files, bytes))

        def advance(self, files: int, bytes: int) -> None:  # noqa: A002
            self.done[0] += files
            self.done[1] += bytes

    heard = Heard()
    local.progress = heard
    version = local.create("digits", folder)
    assert heard.expected == [(3, 2004)]
    assert heard.done == [3, 2004]
    heard.expected.clear()
    heard.done = [0, 0]
    local.materialise(version, folder.parent / "out")
    assert heard.expected == [(3, 2004)]
    assert heard.done == [3, 2004]


def test_every_error_is_of_the_tree(local: LocalProvider, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system that nobody thought of is a StoreError as well."""

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(objects, "flush", refuse)
    with pytest.raises(StoreError, match="Input/output error") as caught:
        local.create("digits", folder)
    assert isinstance(caught.value, DsverError)
    assert isinstance(caught.value.__cause__, OSError)
    assert list(local.datasets()) == []
