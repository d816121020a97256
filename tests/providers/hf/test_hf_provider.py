"""The provider of the Hub: errors that say what to do, tokens that go nowhere else, answers that are not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_files import DIGITS, FILES, content
from processes import Run

from mlflow_dsver.emulators.serving import Reply, Request
from mlflow_dsver.errors import (
    AuthenticationFailed,
    DsverError,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    SettingsError,
    UnexpectedResponse,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.hf import HfProvider
from mlflow_dsver.providers.hf import provider as module
from mlflow_dsver.providers.hf.account import Account
from mlflow_dsver.providers.hf.emulator import SWITCHES, HfEmulator
from mlflow_dsver.providers.hf.hub import Asked, Hub
from mlflow_dsver.providers.hf.info import place_of
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.downloads import PublicOnly
from mlflow_dsver.testing import EMULATED_KEY

REF = DatasetRef("hf", DIGITS)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    module._manifests.clear()


@pytest.fixture
def answers(hub: HfEmulator, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Request], Reply | None]], None]:
    """Lets a function answer in the place of the emulator, where it does not return None."""
    own = hub.answer

    def set_answer(answer: Callable[[Request], Reply | None]) -> None:
        monkeypatch.setattr(hub, "answer", lambda request: answer(request) or own(request))

    return set_answer


# Who may read


@pytest.mark.parametrize("hub", [{"missing": "401"}, {"missing": "404"}], indirect=True)
def test_private_and_missing_repositories_are_not_told_apart(
    hub: HfEmulator, commit: str, provider: HfProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="no such repository, or this token may not see it"):
        provider.resolve(DatasetRef("hf", "datasets/someone/nothing"))
    hub.repository(DIGITS).private = True
    assert provider.resolve(REF).id == commit
    monkeypatch.delenv("HF_TOKEN")
    expected = AuthenticationFailed if hub.switches["missing"] == "401" else NotFound
    with pytest.raises(expected, match=r"no such repository.*HF_TOKEN|may not see it"):
        provider.resolve(REF)


@pytest.mark.parametrize("hub", [{}, {"gated-listing": "refused"}], indirect=True)
def test_a_gated_repository_says_where_to_ask_for_access(
    hub: HfEmulator, commit: str, provider: HfProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository(DIGITS).gated = True
    with pytest.raises(PermissionDenied, match=r"gated.*ask at .*/datasets/someone/digits"):
        provider.materialise(provider.resolve(REF), tmp_path / "out")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AuthenticationFailed, match=r"gated.*set HF_TOKEN"):
        provider.materialise(provider.resolve(REF), tmp_path / "out")
    monkeypatch.setenv("HF_TOKEN", EMULATED_KEY)
    hub.repository(DIGITS).granted = True
    provider.materialise(provider.resolve(REF), tmp_path / "out")
    assert content(tmp_path / "out") == FILES


def test_a_wrong_token_is_told_and_not_shown(hub: HfEmulator, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = HfProvider(token="hf_wrong-token-0123456789")
    with pytest.raises(AuthenticationFailed, match=r"not accepted.*check HF_TOKEN") as caught:
        wrong.resolve(REF)
    health = wrong.health()
    assert not health.ok
    for text in (str(caught.value), repr(caught.value), repr(vars(wrong)), str(health)):
        assert "wrong-token" not in text
    assert wrong.cache_key() != HfProvider().cache_key()


def test_the_token_is_found_where_the_hubs_tools_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "hf"
    home.mkdir()
    monkeypatch.setenv("HF_HOME", str(home))
    (home / "token").write_text("from-the-home\n")
    (tmp_path / "other").write_text("from-the-path\r\n")

    def found() -> str | None:
        token = Account.from_settings().token
        return None if token is None else token.reveal()

    assert (found(), Account.from_settings().cache) == ("from-the-home", home / "hub")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "other"))
    assert found() == "from-the-path"
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "from-the-old-name")
    assert found() == "from-the-old-name"
    monkeypatch.setenv("HF_TOKEN", "from-the-name")
    assert found() == "from-the-name"
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert found() is None
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    with pytest.raises(SettingsError, match="HF_ENDPOINT would send the key in the clear"):
        Account.from_settings()


# What other servers say, and where they send us


def test_no_token_arrives_at_the_storage_of_large_files(hub: HfEmulator, commit: str, provider: HfProvider) -> None:
    provider.path(provider.resolve(REF))
    seen = [request for request in hub.requests if request.path[0] == "emulated-storage"]
    assert seen
    assert {request.headers["host"].partition(":")[0] for request in seen} == {"localhost"}
    assert not [request for request in seen if request.authorization]


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://elsewhere.example/x",
        "file:///etc/passwd",
        "https://user:word@elsewhere.example/x",
        "gopher://localhost/x",
        "//[",
    ],
)
def test_a_redirect_elsewhere_is_not_followed(
    hub: HfEmulator, commit: str, provider: HfProvider, answers: Any, target: str
) -> None:
    version = provider.resolve(REF)
    signed = f"{target}?Signature=signed-secret-0123"
    answers(lambda request: Reply(302, b"", headers={"Location": signed}) if "resolve" in request.path else None)
    with pytest.raises(UnexpectedResponse, match="redirect to an address") as caught:
        provider.path(version)
    assert "signed-secret" not in str(caught.value)


def test_a_redirect_leads_to_public_addresses_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    hub = Hub(Account.from_settings())
    assert isinstance(hub._other.get_adapter("https://storage.example/x"), PublicOnly)
    asked = Asked("fetch", REF, place_of(DIGITS))
    hub._check("https://storage.example/x", asked)
    for address in ("http://storage.example/x", "https://localhost/x", "http://127.0.0.1/x", "http://hub.example/x"):
        with pytest.raises(UnexpectedResponse, match="not followed"):
            hub._check(address, asked)


def test_a_next_page_is_asked_of_the_endpoint_whatever_host_its_link_names(
    hub: HfEmulator, commit: str, provider: HfProvider, answers: Any
) -> None:
    hub.switch("page", "1")
    own = hub.answer

    def elsewhere(request: Request) -> Reply:
        reply = own(request)
        link = reply.headers.get("Link", "").replace(hub.address, "https://huggingface.co")
        return Reply(reply.status, reply.body, headers={**reply.headers, "Link": link})

    answers(elsewhere)
    assert [entry.path for entry in provider.manifest(provider.resolve(REF)).entries] == sorted(FILES)


FILE = {"type": "file", "path": "a", "size": 1, "oid": "0" * 40}


@pytest.mark.parametrize(
    "items",
    [
        [FILE | {"path": "../a"}],
        [FILE | {"path": "/a"}],
        [FILE | {"path": "a/./b"}],
        [FILE | {"size": -1}],
        [FILE | {"size": "1"}],
        [FILE | {"oid": "x"}],
        [FILE | {"lfs": {"oid": "0" * 64, "size": 2}}],
        [FILE | {"lfs": {"oid": "0" * 63, "size": 1}}],
        [FILE, FILE],
        [FILE, FILE | {"path": "a/b"}],
        [FILE | {"type": "submodule"}],
        [{"type": "directory", "path": "data"}, FILE],
        ["a"],
        {"error": None},
    ],
)
def test_a_listing_that_is_none_is_refused(
    hub: HfEmulator, commit: str, provider: HfProvider, answers: Any, items: Any
) -> None:
    answers(lambda request: Reply(200, items) if "tree" in request.path else None)
    with pytest.raises(UnexpectedResponse):
        provider.get(DIGITS, commit)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("503", ProviderUnavailable),
        ("429", RateLimited),
        ("html", UnexpectedResponse),
        ("nonsense", UnexpectedResponse),
        ("redirect", UnexpectedResponse),
        ("reset", ProviderUnavailable),
    ],
)
def test_failures_are_errors_of_this_package(
    hub: HfEmulator, commit: str, provider: HfProvider, monkeypatch: pytest.MonkeyPatch, fault: str, error: type
) -> None:
    monkeypatch.setattr(wire, "TRIES", 1)
    hub.inject(fault)
    with pytest.raises(DsverError) as caught:
        provider.resolve(REF)
    if fault not in ("redirect", "html"):
        assert isinstance(caught.value, error)
    assert EMULATED_KEY not in str(caught.value)


@pytest.mark.parametrize("fault", ["hang", "drip:seconds=0.2", "drip-headers:seconds=0.2"])
def test_a_hub_that_does_not_end_is_given_up_in_time(
    hub: HfEmulator, commit: str, provider: HfProvider, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "0.3")
    hub.inject(fault)
    with pytest.raises(ProviderUnavailable, match=r"no answer from 127\.0\.0\.1"):
        provider.resolve(REF)


def test_offline_asks_nothing(hub: HfEmulator, provider: HfProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ProviderUnavailable, match="HF_HUB_OFFLINE"):
        provider.resolve(REF)
    assert not hub.requests


@pytest.mark.parametrize("hub", [{"mirror": "yes"}], indirect=True)
def test_a_mirror_without_commits_and_refs_still_has_versions(
    hub: HfEmulator, commit: str, provider: HfProvider
) -> None:
    version = provider.resolve(REF)
    assert (version.id, version.message, version.tags) == (commit, None, ())
    assert content(provider.path(version)) == FILES
    with pytest.raises(NotFound, match="no such branch"):
        provider.resolve(REF.at("v9"))


def test_a_commit_that_the_hub_names_and_does_not_have_is_not_the_end(
    hub: HfEmulator, commit: str, provider: HfProvider, answers: Any
) -> None:
    """Seen after force pushes: the list of commits begins with the right one."""
    newer = hub.commit(DIGITS, {"a": b"1"}, force=True)
    answers(lambda request: Reply(200, {"id": "x", "sha": commit}) if "revision" in request.path else None)
    assert provider.resolve(REF).id == newer
    hub.requests.clear()
    with pytest.raises(NotFound, match="history may have been rewritten"):
        provider.resolve(REF.at(commit))


def test_large_files_are_read_in_parts(hub: HfEmulator, provider: HfProvider, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4 * 17 * 1024
    hub.commit("o/model", {"model.bin": data}, large=["model.bin"])
    version = provider.resolve(DatasetRef("hf", "o/model"))
    provider.materialise(version, tmp_path / "out")
    assert (tmp_path / "out" / "model.bin").read_bytes() == data
    ranges = [request.headers["range"] for request in hub.requests if request.path[0] == "emulated-storage"]
    assert sorted(ranges) == ["bytes=0-16777215", "bytes=16777216-17825791"]


def test_what_was_recorded_has_the_commit_and_not_what_was_asked(
    hub: HfEmulator, commit: str, provider: HfProvider
) -> None:
    hub.tag(DIGITS, "v1", commit)
    version = provider.resolve(REF.at("v1"))
    assert str(version) == f"hf://{DIGITS}@{commit}"
    assert version.web_url == f"{hub.address}/{DIGITS}/tree/{commit}"
    assert (version.message, version.creator, version.tags) == ("first upload", "someone", ("v1",))
    assert str(provider.grade(version)) == (
        "B (immutable by commit, SHA-256 by Hugging Face of 1 file and git SHA-1 of 2)"
    )
    assert version.usage_bytes == sum(map(len, FILES.values()))


# The command line


def test_the_command_line_names_a_commit_and_a_folder_of_the_cache(
    hub: HfEmulator, commit: str, run: Run, tmp_path: Path
) -> None:
    shown = run("versions", "resolve", f"hf://{DIGITS}@main")
    assert shown.stdout.strip() == f"hf://{DIGITS}@{commit}"
    snapshot = tmp_path / "hub" / "datasets--someone--digits" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "a.txt").write_text("a")
    shown = run("versions", "resolve", str(snapshot), "--json")
    assert json.loads(shown.stdout)["references"] == [
        {"provider": "hf", "reference": f"hf://{DIGITS}@{commit}", "differs": None}
    ]
    listed = run("versions", "list", f"hf://{DIGITS}")
    assert commit in listed.stdout


def test_the_state_of_the_emulator_outlives_it(tmp_path: Path, hub: HfEmulator, commit: str) -> None:
    again = HfEmulator()
    again.restore(json.loads(json.dumps(hub.snapshot())))
    assert again.repository(DIGITS).commits[commit].files == hub.repository(DIGITS).commits[commit].files
    assert len({switch.name for switch in SWITCHES}) == len(SWITCHES)
