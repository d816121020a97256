"""Creating, updating, committing, deleting: what is sent, what is read back, what happens when answers are lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import (
    InvalidArgument,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    UnexpectedResponse,
    Unsupported,
)
from mlflow_dsver.model.refs import parse
from mlflow_dsver.providers.paperspace import PaperspaceProvider
from mlflow_dsver.providers.paperspace.client import PaperspaceClient
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator

CATS = "dst364npcw6ccok"


def writes(emulator: PaperspaceEmulator) -> list[str]:
    return [request.verb for request in emulator.requests if request.verb != "GET"]


def test_created_version_is_uncommitted_and_has_a_token(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    """The token is in our section of the metadata, which people's metadata does not show."""
    made = provider.create(CATS, message="round 3", tags=("new", "two words"), metadata={"by": "us"})
    assert (made.message, made.tags, made.metadata) == ("round 3", ("new", "two words"), {"by": "us"})
    assert made.immutable is False
    assert made.usage_bytes is None
    body = json.loads(next(each.body for each in emulator.requests if each.verb == "POST"))
    assert body["tags"] == "new,two words"
    assert len(body["metadata"]["mlflow_dsver"]["token"]) == 32


def test_folder_gives_a_claimed_digest(provider: PaperspaceProvider, tmp_path: Path) -> None:
    """The API takes no files, so a folder is refused unless only its digest is to be recorded."""
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.txt").write_text("meow")
    with pytest.raises(Unsupported, match="--reference"):
        provider.create(CATS, tmp_path / "cats")
    made = provider.create(CATS, tmp_path / "cats", reference=True)
    assert made.content_digest == hash_folder(tmp_path / "cats").digest
    read_back = provider.get(CATS, made.id)
    assert (read_back.content_digest, read_back.digest_is_claimed) == (made.content_digest, True)
    assert str(provider.grade(provider.commit(made))) == "B", "a claimed digest is no proof"


def test_version_is_committed_at_creation_only_when_asked(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, tmp_path: Path
) -> None:
    """Files can be put in until it is committed, so that is not the default. A folder hashed for it counts."""
    (tmp_path / "a.txt").write_text("meow")
    left = provider.create(CATS, tmp_path, reference=True, message="filled later")
    assert (left.immutable, str(provider.grade(left))) == (False, "D (uncommitted)")
    made = provider.create(
        CATS, tmp_path, reference=True, commit=True, message="m", tags=("t",), metadata={"round": 3}
    )
    assert (made.immutable, str(provider.grade(made))) == (True, "A")
    assert (made.message, made.tags, made.metadata) == ("m", ("t",), {"round": 3})
    assert PaperspaceProvider(key=emulator.good_key, base=emulator.base).path(made) == tmp_path
    (tmp_path / "a.txt").write_text("edited")
    with pytest.raises(Unsupported):
        provider.path(made)
    assert str(provider.grade(provider.create(CATS, commit=True))) == "B"


def test_create_whose_commit_fails_names_the_version_that_was_made(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    emulator.inject("500:verb=PUT")
    with pytest.raises(ProviderUnavailable, match=rf"{CATS}@\w+ was made.*paperspace commit paperspace://{CATS}@"):
        provider.create(CATS, message="made", commit=True)
    newest = next(provider.versions(CATS))
    assert (newest.message, newest.immutable) == ("made", False)


def test_tags_as_one_text_are_separated_by_commas(provider: PaperspaceProvider) -> None:
    """As the service has them; never split into letters."""
    made = provider.create(CATS, tags="ab, two words")  # type: ignore[arg-type]
    assert made.tags == ("ab", "two words")
    changed = provider.update(made, add_tags="new,ab", remove_tags="two words")  # type: ignore[arg-type]
    assert changed.tags == ("ab", "new")


def test_tags_that_cannot_be_read_are_not_replaced(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    shown = emulator._version_json
    emulator._version_json = lambda dataset, version: {**shown(dataset, version), "tags": {"odd": 1}}  # type: ignore[method-assign]
    with pytest.raises(UnexpectedResponse, match="tags cannot be read"):
        provider.update(provider.get(CATS, "klfoyy9"), add_tags=("x",))
    assert writes(emulator) == []


@pytest.mark.parametrize("fault", ["lost", "cut", "cut-unsaid"])
def test_lost_answer_of_a_create_is_recognised(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, fault: str
) -> None:
    """One POST, and the version that it made is found by its token."""
    emulator.inject(f"{fault}:times=1:verb=POST")
    made = provider.create(CATS, message="once")
    assert writes(emulator) == ["POST"]
    assert [each.message for each in provider.versions(CATS)].count("once") == 1
    assert provider.get(CATS, made.id).message == "once"


@pytest.mark.parametrize("fault", ["reset", "503", "nonsense", "hang"])
def test_create_that_did_not_happen_is_not_repeated(emulator: PaperspaceEmulator, fault: str) -> None:
    """The error says that it was probably not made and was not sent again."""
    provider = PaperspaceProvider(key=emulator.good_key, base=emulator.base, timeout=3)
    emulator.inject(f"{fault}:verb=POST")
    with pytest.raises(
        (ProviderUnavailable, UnexpectedResponse), match=r"not sent again.*probably not made.*versions list"
    ):
        provider.create(CATS, message="never")
    assert writes(emulator) == ["POST"]


def test_create_whose_fate_is_unknown_says_so(emulator: PaperspaceEmulator) -> None:
    provider = PaperspaceProvider(key=emulator.good_key, base=emulator.base, timeout=2)
    emulator.inject("lost:times=1:verb=POST")
    emulator.inject("503:verb=GET")
    with pytest.raises(ProviderUnavailable, match="could not be found out"):
        provider.create(CATS)


def test_lost_create_that_the_service_does_not_list_says_so(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    """Where uncommitted versions are not listed, the version cannot be recognised; still nothing is sent twice."""
    emulator.switch("list-uncommitted", "no")
    emulator.inject("lost:times=1:verb=POST")
    with pytest.raises(ProviderUnavailable, match="not sent again"):
        provider.create(CATS)
    assert writes(emulator) == ["POST"]


def test_misspelt_or_dropped_field_is_noticed(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service drops what it does not know; what came back is compared with what was wanted."""
    from mlflow_dsver.providers.paperspace import emulator as service

    monkeypatch.setattr(service, "_VERSION_BODY", {"tags": str, "metadata": dict})
    with pytest.raises(UnexpectedResponse, match="message is not what was asked for"):
        provider.create(CATS, message="lost on the way")
    monkeypatch.setattr(service, "_VERSION_BODY", {"message": str, "metadata": dict})
    with pytest.raises(UnexpectedResponse, match="tags is not what was asked for"):
        provider.update(provider.get(CATS, "fo5rp4m"), add_tags=("x",))
    monkeypatch.setattr(service, "_VERSION_BODY", {"message": str, "tags": str})
    with pytest.raises(UnexpectedResponse, match="metadata is not what was asked for"):
        provider.update(provider.get(CATS, "fo5rp4m"), metadata={"x": 1})


def test_create_in_an_unknown_dataset(provider: PaperspaceProvider) -> None:
    for dataset in ("dst364npcw6cco0", "cat"):
        with pytest.raises(NotFound, match=CATS):
            provider.create(dataset)


def test_update_keeps_our_section(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    """Metadata is read, changed and written as a whole: token and digest survive people's updates."""
    made = provider.create(CATS, metadata={"a": 1, "b": None})
    token = made.raw["metadata"]["mlflow_dsver"]["token"]
    changed = provider.update(made, metadata={"c": [1, {"d": None}]})
    assert changed.metadata == {"c": [1, {"d": None}]}
    assert changed.raw["metadata"]["mlflow_dsver"]["token"] == token
    assert provider.update(changed, metadata={}).metadata == {}
    with pytest.raises(InvalidArgument, match="mlflow_dsver"):
        provider.update(made, metadata={"mlflow_dsver": 1})


@pytest.mark.parametrize("setting", ["replaces", "merges"])
def test_metadata_is_replaced_whatever_the_service_does(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, setting: str
) -> None:
    emulator.switch("metadata", setting)
    made = provider.create(CATS, metadata={"a": 1, "b": 2})
    assert provider.update(made, metadata={"b": 3}).metadata == {"b": 3}
    assert provider.get(CATS, made.id).metadata == {"b": 3}
    assert provider.update(made, metadata={"a": None}).metadata == {"a": None}, "a null that is meant stays"
    assert provider.get(CATS, made.id).metadata == {"a": None}


def test_nothing_to_change_sends_nothing(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    provider.update(provider.get(CATS, "fo5rp4m"), add_tags=("clean",), remove_tags=("none",))
    assert writes(emulator) == []


def test_tag_that_stays_on_another_version_is_taken_away(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    emulator.switch("tag-moves", "stays")
    provider.update(provider.get(CATS, "klfoyy9"), add_tags=("clean",))
    assert provider.get(CATS, "fo5rp4m").tags == ()
    assert provider.resolve(parse(f"{CATS}:clean")).id == "klfoyy9"


def test_tag_that_cannot_be_taken_away_is_said(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    emulator.switch("tag-moves", "stays")
    emulator.switch("edit-committed", "409")
    with pytest.raises(ProviderError, match="fo5rp4m has it still"):
        provider.create(CATS, tags=("clean",))


@pytest.mark.parametrize("status", ["409", "412"])
def test_edit_of_a_committed_version_may_be_refused(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, status: str
) -> None:
    """A clear error, and nothing is changed."""
    emulator.switch("edit-committed", status)
    version = provider.get(CATS, "fo5rp4m")
    changes: list[dict[str, Any]] = [{"message": "x"}, {"metadata": {}}, {"add_tags": ("x",)}]
    for change in changes:
        with pytest.raises(ProviderError, match="committed") as caught:
            provider.update(version, **change)
        assert caught.value.status == int(status)
    assert provider.get(CATS, "fo5rp4m") == version


def test_commit_and_its_reverse(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    """What the service did is looked at: one that says yes and ignores it is not believed."""
    version = provider.get(CATS, "8ngwr2a")
    assert provider.commit(version).immutable is True
    assert provider.commit(version).immutable is True, "committing twice is no error"
    with pytest.raises(ProviderError, match="committed") as caught:
        provider.commit(version, committed=False)
    assert caught.value.status == 409
    emulator.switch("uncommit", "ignored")
    with pytest.raises(UnexpectedResponse, match="isCommitted"):
        provider.commit(version, committed=False)
    emulator.switch("uncommit", "allowed")
    assert provider.commit(version, committed=False).immutable is False


def test_delete(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    version = provider.get(CATS, "fo5rp4m")
    provider.delete(version)
    with pytest.raises(NotFound):
        provider.delete(version)
    emulator.inject("lost:verb=DELETE:times=1")
    with pytest.raises(ProviderUnavailable):
        provider.delete(provider.get(CATS, "1rn19s2"))
    assert writes(emulator) == ["DELETE", "DELETE", "DELETE"]


def test_datasets_by_the_client(emulator: PaperspaceEmulator, client: PaperspaceClient) -> None:
    """Create, show, update and delete; both answers to a name that is taken and to versions in the way."""
    made = client.create_dataset("dogs", description="barking")
    assert client.dataset(made.id).description == "barking"
    assert client.update_dataset(made.id, name="hounds", description=None).name == "hounds"
    with pytest.raises(ProviderError, match="exists"):
        client.create_dataset("hounds")
    emulator.switch("duplicate-name", "allowed")
    emulator.switch("missing-is-public", "400")
    emulator.switch("unknown-key", "400")
    assert client.create_dataset("hounds", is_public=True).isPublic
    emulator.switch("delete-dataset", "409")
    with pytest.raises(ProviderError, match="has versions"):
        client.delete_dataset(CATS)
    client.delete_dataset(made.id)
    with pytest.raises(NotFound):
        client.dataset(made.id)


@pytest.mark.parametrize("secrets", ["masked", "shown"])
def test_storage_providers(emulator: PaperspaceEmulator, client: PaperspaceClient, secrets: str) -> None:
    emulator.switch("secrets", secrets)
    found = next(client.storage_providers())
    assert client.storage_provider(found.id).s3Config.bucket == found.s3Config.bucket
    assert "secret-access-key" not in repr(found) + str(found.raw)
    assert client.utilization().datasetUsage == sum(emulator.sizes.values())
    assert client.session().team.namespace == "t40f5ou8vp"
