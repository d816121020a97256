"""Loading: formats, the cache, other bytes later, hostile archives, damaged files, and where the key may go."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hostile_archives import HOSTILE

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import (
    CorruptObject,
    DsverError,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    StoreError,
    UnexpectedResponse,
    Unsupported,
)
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.clarifai import ClarifaiProvider, account, exports, inputs
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator
from mlflow_dsver.providers.clarifai.info import DatasetPlace
from mlflow_dsver.providers.clarifai.models import Format

CATS = "demo-user/demo-app/cats"
PAT = "pat-0123456789abcdef"


@pytest.fixture
def version(provider: ClarifaiProvider) -> DatasetVersion:
    return provider.get(CATS, "v1")


def formatted(emulator: ClarifaiEmulator, format_: str) -> ClarifaiProvider:
    signed = account(pat=PAT, user=emulator.user, app=emulator.app, base=emulator.address)
    return ClarifaiProvider(signed, export_format=format_, wait_seconds=20)


def kept(version: DatasetVersion) -> list[Path]:
    """Everything that was kept of a version's exports, temporary things included."""
    return sorted(exports.folder_of(version.ref).rglob("*"))


def test_json_and_protobuf_give_the_same_inputs(emulator: ClarifaiEmulator, version: DatasetVersion) -> None:
    read = {name: list(inputs(formatted(emulator, name).path(version))) for name in ("json", "protobuf")}
    assert [each["id"] for each in read["json"]] == ["cats-tabby", "cats-siamese"]
    assert read["protobuf"] == [dict(each) for each in read["json"]]


def test_coco_is_unpacked_and_read_as_json(emulator: ClarifaiEmulator, version: DatasetVersion) -> None:
    folder = formatted(emulator, "coco").path(version)
    read = json.loads((folder / "all" / "annotations.json").read_bytes())
    assert [each["file_name"] for each in read["images"]] == ["cats-tabby", "cats-siamese"]
    with pytest.raises(Unsupported, match="MLFLOW_DSVER_CLARIFAI_FORMAT=json"):
        list(inputs(folder))


def test_protobuf_without_the_library_stays_on_the_disk(
    emulator: ClarifaiEmulator, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = formatted(emulator, "protobuf").path(version)
    monkeypatch.setitem(__import__("sys").modules, "clarifai_grpc.grpc.api.resources_pb2", None)
    with pytest.raises(Unsupported, match=r"mlflow-dsver\[clarifai\]"):
        list(inputs(folder))
    assert (folder / "all" / "inputbatch_0_n2").is_file()


def test_large_datasets_come_in_batches(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    emulator.add_dataset("many")
    emulator.add_inputs("many", [{"id": f"n{number}", "data": {}} for number in range(250)])
    emulator.add_version("many", id="v")
    folder = provider.path(provider.get("demo-user/demo-app/many", "v"))
    assert [each["id"] for each in inputs(folder)] == [f"n{number}" for number in range(250)]
    assert len(list((folder / "all").iterdir())) == 3


def test_export_is_fetched_once_and_served_from_the_cache(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, version: DatasetVersion
) -> None:
    assert provider.manifest(version) is None
    assert provider.local_copy(version) is None
    folder = provider.path(version)
    emulator.stop()
    assert provider.path(version) == folder
    manifest, place = provider.manifest(version), provider.local_copy(version)
    assert manifest is not None
    assert place is not None
    assert (place.folder, hash_folder(folder).digest) == (folder, manifest.digest)
    made = manifest.made
    assert (made["format"], made["archive_digest"][:7]) == ("clarifai_data_json", "blake3:")
    assert made["archive_bytes"] > 0


def test_materialised_copy_is_the_callers(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, version: DatasetVersion, tmp_path: Path
) -> None:
    provider.materialise(version, tmp_path / "copy")
    assert hash_folder(tmp_path / "copy").digest == hash_folder(provider.path(version)).digest
    (tmp_path / "copy" / "mimetype").write_text("mine")
    provider.path(version)


def damage_bytes(folder: Path) -> None:
    (folder / "mimetype").write_bytes(b"other")


def damage_by_adding(folder: Path) -> None:
    (folder / "more").write_bytes(b"x")


def damage_by_hiding(folder: Path) -> None:
    (folder / "more").write_bytes(b"x")
    (folder / ".dsverignore").write_text("more\n")


def damage_by_emptying(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize("damage", [damage_bytes, damage_by_adding, damage_by_hiding, damage_by_emptying])
def test_damaged_files_are_never_served(provider: ClarifaiProvider, version: DatasetVersion, damage: Any) -> None:
    """Told with what to do; after that the export is fetched again and is the same."""
    folder = provider.path(version)
    damage(folder)
    with pytest.raises(CorruptObject, match="remove the folder"):
        provider.path(version)
    damage_by_emptying(folder)
    folder.rmdir()
    assert provider.path(version) == folder


def test_later_export_with_other_bytes_is_told_and_kept_apart(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, version: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.switch("export-again", "differs")
    first = provider.path(version)
    known = provider.manifest(version)
    assert known is not None
    damage_by_emptying(first)
    first.rmdir()
    second = provider.path(version)
    now = provider.manifest(version)
    assert now is not None
    assert (second != first, now.digest != known.digest) == (True, True)
    warning = next(record for record in caplog.records if record.levelno == logging.WARNING).getMessage()
    assert "not the same data" in warning
    assert known.digest in warning
    assert now.digest in warning
    caplog.clear()
    assert provider.path(version) == second
    assert "2 contents" in caplog.text, "said each time, not only once"


def test_later_export_with_the_same_content_is_the_same_data(
    provider: ClarifaiProvider, version: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    folder = provider.path(version)
    manifest = provider.manifest(version)
    damage_by_emptying(folder)
    folder.rmdir()
    assert provider.path(version) == folder
    assert provider.manifest(version) == manifest
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", [*HOSTILE, "hides files", "empty"])
def test_hostile_archive_is_refused_and_nothing_is_kept(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, version: DatasetVersion, kind: str, tmp_path: Path
) -> None:
    emulator.archive = _archive(kind)
    before = {path for path in tmp_path.rglob("*") if "dsver-home" not in str(path)}
    with pytest.raises(UnexpectedResponse, match="refused") as caught:
        provider.path(version)
    assert caught.value.reference == "clarifai://demo-user/demo-app/cats@v1"
    assert kept(version) == []
    assert {path for path in tmp_path.rglob("*") if "dsver-home" not in str(path)} == before
    assert provider.manifest(version) is None


def _archive(kind: str) -> bytes:
    if kind in HOSTILE:
        return HOSTILE[kind]()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        if kind == "hides files":
            opened.writestr(".dsverignore", "*.json")
            opened.writestr("a.json", "{}")
    return stream.getvalue()


def test_archive_larger_than_the_bound_is_refused(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_ARCHIVE", 100)
    with pytest.raises(UnexpectedResponse, match="no data"):
        provider.path(version)
    assert kept(version) == []


@pytest.mark.parametrize("fault", ["cut", "cut-unsaid", "503", "reset", "drip:seconds=0.5", "nonsense"])
def test_download_that_fails_leaves_nothing(emulator: ClarifaiEmulator, version: DatasetVersion, fault: str) -> None:
    """A body that is cut without a length is noticed as no archive."""
    emulator.inject(f"{fault}:on=/data/")
    signed = account(pat=PAT, user=emulator.user, app=emulator.app, base=emulator.address)
    with pytest.raises(ProviderError):
        ClarifaiProvider(signed, wait_seconds=2).path(version)
    assert kept(version) == []


def test_full_disk_is_a_store_error(
    provider: ClarifaiProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "unpack", full)
    with pytest.raises(StoreError, match="No space left"):
        provider.path(version)
    assert kept(version) == []


@pytest.mark.parametrize(
    ("outcome", "error", "word"),
    [
        ("failed", ProviderError, "64202"),
        ("unexpected-error", ProviderError, "64204"),
        ("unknown", UnexpectedResponse, "64999"),
        ("no-address", UnexpectedResponse, "without an address"),
        ("never", ProviderUnavailable, "not ready"),
    ],
)
def test_export_that_fails_is_an_error_with_its_code(
    emulator: ClarifaiEmulator, version: DatasetVersion, outcome: str, error: type[ProviderError], word: str
) -> None:
    emulator.switch("export-outcome", outcome)
    signed = account(pat=PAT, user=emulator.user, app=emulator.app, base=emulator.address)
    with pytest.raises(error, match=word) as caught:
        ClarifaiProvider(signed, wait_seconds=0.3).path(version)
    assert type(caught.value) is error
    assert kept(version) == []


def test_damaged_memory_of_an_export_is_an_error_and_not_a_new_beginning(
    provider: ClarifaiProvider, version: DatasetVersion
) -> None:
    """Otherwise other bytes would pass for the first ones."""
    folder = provider.path(version)
    exports.manifest_file(folder).write_bytes(b"damaged")
    with pytest.raises(StoreError, match="remembered"):
        provider.path(version)


def test_leftovers_of_a_killed_download_go_after_a_day(provider: ClarifaiProvider, version: DatasetVersion) -> None:
    import os
    import time

    home = exports.folder_of(version.ref)
    for name, age in ((".taking-old", 100_000), (".taking-young", 10)):
        (home / name / "files").mkdir(parents=True)
        os.utime(home / name, (time.time() - age,) * 2)
    provider.path(version)
    assert [path.name for path in home.iterdir() if path.name.startswith(".taking")] == [".taking-young"]


# Where the key goes


@pytest.mark.parametrize(
    ("base", "host", "signed"),
    [
        ("https://api.clarifai.com", "data.clarifai.com", True),
        ("https://api.clarifai.com", "DATA.clarifai.com", True),
        ("https://api.clarifai.com", "api.clarifai.com", True),
        ("https://api.clarifai.com", "data.clarifai.com:8443", False),
        ("https://api.clarifai.com", "data.clarifai.com.evil.example", False),
        ("https://api.clarifai.com", "evil-data.clarifai.com", False),
        ("https://api.clarifai.com", "s3.amazonaws.com", False),
        ("https://api.clarifai.com", "", False),
        ("https://api.own.example", "data.own.example", True),
        ("https://api.own.example", "data.clarifai.com", False),
        ("https://clarifai.own.example", "data.clarifai.own.example", True),
        ("https://api.example", "data.example", False),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:9000", False),
    ],
)
def test_key_goes_to_the_api_and_its_data_host_alone(base: str, host: str, signed: bool) -> None:
    sign = exports.signing(account(pat=PAT, base=base))
    assert (sign(host) is not None) is signed


def test_key_goes_along_with_no_redirect() -> None:
    sign = exports.signing(account(pat=PAT))
    assert sign("data.clarifai.com") is not None
    assert sign("data.clarifai.com") is None


def test_redirect_from_the_data_host_is_followed_without_the_key(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, version: DatasetVersion
) -> None:
    """The storage behind refuses requests that carry a key, as such storage does."""
    emulator.switch("export-host", "redirect")
    provider.path(version)
    asked = [request for request in emulator.requests if request.path[0] in ("data", "signed")]
    assert [(request.path[0], request.authorization is not None) for request in asked] == [
        ("data", True),
        ("signed", False),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1/x",
        "http://data.clarifai.com/x",
        "file:///etc/passwd",
        "https://user:word@data.clarifai.com/x",
        "https://169.254.169.254/latest/meta-data",
        "ftp://data.clarifai.com/x",
        "not an address",
    ],
)
def test_address_of_an_export_is_not_followed_to_where_it_must_not(
    version: DatasetVersion, url: str, tmp_path: Path
) -> None:
    """With the public API: https to public hosts alone."""
    from mlflow_dsver.deadlines import Deadline
    from mlflow_dsver.providers.clarifai.models import Export

    wanted = exports.ExportRequest(account(pat=PAT), DatasetPlace("u", "a", "d"), version.ref, Format.JSON)
    with pytest.raises(UnexpectedResponse, match="address of the data"):
        exports._download(wanted, Export.read({"url": url}), tmp_path / "a", Deadline(5))
    assert not (tmp_path / "a").exists()


def test_key_is_written_nowhere(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, version: DatasetVersion, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    provider.path(version)
    emulator.inject("401:on=/data/")
    with pytest.raises(DsverError) as caught:
        formatted(emulator, "coco").path(version)
    texts = f"{caplog.text} {caught.value} {caught.value!r} {vars(caught.value)} {provider!r} {version!r}"
    assert PAT not in texts
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PAT.encode() not in path.read_bytes()


def test_version_that_is_gone_cannot_be_loaded(provider: ClarifaiProvider, version: DatasetVersion) -> None:
    provider.delete(version)
    with pytest.raises(NotFound):
        provider.path(version)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"inputs": [1]}', b'{"inputs": {}}', b"\xff"])
def test_batch_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mimetype").write_text("application/x.clarifai-data+json\n")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "inputbatch_0_n1").write_bytes(content)
    with pytest.raises(UnexpectedResponse, match="inputbatch_0_n1"):
        list(inputs(tmp_path))


def test_protobuf_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "mimetype").write_text("application/x.clarifai-data+protobuf")
    (tmp_path / "batch").write_bytes(b"\xff\xff")
    with pytest.raises(UnexpectedResponse, match="batch"):
        list(inputs(tmp_path))


def test_formats_are_three(
    provider: ClarifaiProvider, monkeypatch: pytest.MonkeyPatch, version: DatasetVersion
) -> None:
    assert {format_.number for format_ in Format} == {1, 2, 3}
    monkeypatch.setenv("MLFLOW_DSVER_CLARIFAI_FORMAT", "csv")
    with pytest.raises(DsverError, match="CLARIFAI_FORMAT"):
        provider.path(version)
