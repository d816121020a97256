"""The emulator and the provider, checked against the Hub's own client: `huggingface_hub`, and `datasets` if there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hub_files import DIGITS, FILES, content

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.providers.hf import HfProvider, folders
from mlflow_dsver.providers.hf.emulator import HfEmulator


def files_asked_for(hub: HfEmulator) -> list[str]:
    return [str(request) for request in hub.requests if "resolve" in request.path]


def test_what_the_client_downloads_is_what_the_provider_has(
    hub: HfEmulator, commit: str, provider: HfProvider, client: Any, tmp_path: Path
) -> None:
    version = provider.resolve(DatasetRef("hf", DIGITS))
    folder = client.snapshot_download("someone/digits", repo_type="dataset", revision=provider.revision(version))
    assert Path(folder).name == version.id == commit
    assert content(Path(folder)) == FILES == content(provider.path(version))
    one = client.hf_hub_download("someone/digits", "data/train.csv", repo_type="dataset", revision="main")
    assert Path(one).read_bytes() == FILES["data/train.csv"]
    assert not [
        request for request in hub.requests if request.path[0] == "emulated-storage" and request.authorization
    ]


def test_the_client_and_the_provider_say_the_same_of_commits_refs_and_files(
    hub: HfEmulator, commit: str, provider: HfProvider, client: Any
) -> None:
    hub.commit(DIGITS, {"data/train.csv": b"a,b\n1,3\n"}, "relabelled")
    hub.tag(DIGITS, "v1.0", commit)
    api, repository = client.HfApi(), {"repo_id": "someone/digits", "repo_type": "dataset"}
    listed = list(provider.versions(DIGITS))
    theirs = api.list_repo_commits(**repository)
    assert [(each.id, each.created, each.message) for each in listed] == [
        (each.commit_id, each.created_at, each.title) for each in theirs
    ]
    assert [(each.name, each.target_commit) for each in api.list_repo_refs(**repository).tags] == [("v1.0", commit)]
    assert api.dataset_info("someone/digits", revision="v1.0").sha == commit
    manifest = provider.manifest(provider.get(DIGITS, commit))
    tree = api.list_repo_tree(**repository, revision=commit, recursive=True)
    expected = [(each.path, each.size, each.lfs.sha256 if each.lfs else each.blob_id) for each in tree
                if hasattr(each, "size")]  # fmt: skip
    assert [(each.path, each.bytes, each.digest.partition(":")[2]) for each in manifest.entries] == expected
    assert api.whoami()["name"] == "someone"
    assert api.repo_exists("someone/digits", repo_type="dataset")
    assert not api.repo_exists("someone/other", repo_type="dataset")


def test_files_come_from_the_cache_that_the_client_wrote(
    hub: HfEmulator, commit: str, provider: HfProvider, client: Any, tmp_path: Path
) -> None:
    client.snapshot_download("someone/digits", repo_type="dataset", revision=commit)
    version = provider.get(DIGITS, commit)
    hub.requests.clear()
    provider.materialise(version, tmp_path / "out")
    assert content(tmp_path / "out") == FILES
    with provider.open(version, "data/images.bin") as stream:
        stream.seek(300)
        assert stream.read(10) == FILES["data/images.bin"][300:310]
    assert files_asked_for(hub) == []


@pytest.mark.parametrize("damage", ["changed", "cut", "removed", "elsewhere"])
def test_what_is_wrong_in_the_cache_is_fetched_from_the_hub(
    hub: HfEmulator, commit: str, provider: HfProvider, client: Any, tmp_path: Path, damage: str
) -> None:
    snapshot = Path(client.snapshot_download("someone/digits", repo_type="dataset", revision=commit))
    for name in ("data/train.csv", "data/images.bin"):
        file = snapshot / name
        blob = file.resolve()
        if damage == "elsewhere":
            outside = tmp_path / name.replace("/", "-")
            outside.write_bytes(FILES[name])
            file.unlink()
            file.symlink_to(outside)
        elif damage == "removed":
            blob.unlink()
        else:
            blob.chmod(0o644)
            blob.write_bytes(FILES[name][:-1] + (b"" if damage == "cut" else b"!"))
    version = provider.get(DIGITS, commit)
    hub.requests.clear()
    provider.materialise(version, tmp_path / "out")
    assert content(tmp_path / "out") == FILES
    assert len(files_asked_for(hub)) == 2


def test_a_folder_of_the_cache_is_named_by_its_commit_and_what_differs(
    hub: HfEmulator, commit: str, client: Any, tmp_path: Path
) -> None:
    snapshot = Path(client.snapshot_download("someone/digits", repo_type="dataset", revision=commit))
    hub.requests.clear()
    found = folders.reference_of(snapshot)
    assert found == (f"hf://{DIGITS}@{commit}", None)
    assert folders.reference_of(snapshot / "data") == (f"hf://{DIGITS}/data@{commit}", None)
    assert folders.reference_of(snapshot / "data" / "train.csv") == (f"hf://{DIGITS}/data/train.csv@{commit}", None)
    for other in (tmp_path, snapshot.parent, snapshot.parents[1] / "refs"):
        assert folders.reference_of(other) is None
    blob = (snapshot / "data/train.csv").resolve()
    blob.chmod(0o644)
    blob.write_bytes(b"a,b\n1,9\n")
    (snapshot / "README.md").unlink()
    (snapshot / "new.txt").write_text("new")
    found = folders.reference_of(snapshot)
    assert found is not None
    assert found.differs is not None
    for word in (
        "1 file changed, such as data/train.csv",
        "1 file missing, such as README.md",
        "added, such as new.txt",
    ):
        assert word in found.differs
    assert not hub.requests


def test_bytes_come_from_the_cache_while_the_hub_is_away(
    hub: HfEmulator, commit: str, provider: HfProvider, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the listing that the client kept, where its digest is the recorded one."""
    from mlflow_dsver.providers.hf import provider as module

    client.snapshot_download("someone/digits", repo_type="dataset", revision=commit)
    version = provider.get(DIGITS, commit)
    module._manifests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    provider.materialise(version, tmp_path / "out")
    assert content(tmp_path / "out") == FILES


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")  # the client's own
def test_what_the_client_commits_is_a_version(hub: HfEmulator, provider: HfProvider, client: Any) -> None:
    """Small and large files, a deletion, a tag, and a squash that removes what was there."""
    api, repository = client.HfApi(), {"repo_id": "someone/made", "repo_type": "dataset"}
    api.create_repo(**repository)
    adds = [client.CommitOperationAdd(path, data) for path, data in FILES.items()]
    made = api.create_commit(**repository, operations=adds, commit_message="data").oid
    api.create_tag(**repository, tag="v1", revision=made)
    version = provider.resolve(parse("hf://datasets/someone/made@v1"))
    assert (version.id, version.tags, version.message) == (made, ("v1",), "data")
    found = {entry.path: entry.bytes for entry in hash_folder(provider.path(version)).entries}
    assert found == {path: len(data) for path, data in FILES.items()} | {".gitattributes": 42}
    api.delete_file("README.md", **repository)
    newest = provider.resolve(parse("hf://datasets/someone/made"))
    assert "README.md" not in {entry.path for entry in provider.manifest(newest).entries}
    api.super_squash_history(**repository)
    assert provider.get("datasets/someone/made", made).id == made, "a tag keeps it"
    with pytest.raises(NotFound, match="history may have been rewritten"):
        provider.get("datasets/someone/made", newest.id)


def test_load_dataset_takes_the_revision(hub: HfEmulator, commit: str, provider: HfProvider, client: Any) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    version = provider.resolve(DatasetRef("hf", DIGITS))
    hub.commit(DIGITS, {"data/train.csv": b"a,b\n5,6\n7,8\n"})
    loaded = datasets.load_dataset("someone/digits", data_files="data/train.csv", revision=provider.revision(version))
    assert loaded["train"].to_dict() == {"a": [1], "b": [2]}
