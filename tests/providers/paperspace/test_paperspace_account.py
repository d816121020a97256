"""Which key and which address are used: the argument, then the environment, then the vendor's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dsver.errors import AuthenticationFailed, SettingsError
from mlflow_dsver.model.refs import parse
from mlflow_dsver.providers.paperspace import PaperspaceProvider
from mlflow_dsver.providers.paperspace.info import Account
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.secrets import Secret

KEY = "ps-secret-0123456789"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".paperspace").mkdir()
    return tmp_path / ".paperspace"


def key_and_origin() -> tuple[str | None, str]:
    account = Account.from_settings()
    return account.key.reveal() if account.key else None, account.origins["PAPERSPACE_API_KEY"]


def test_without_anything(home: Path) -> None:
    """The vendor's address, and an error that names the variable with the first request, before any is sent."""
    assert Account.from_settings().base == "https://api.paperspace.com/v1"
    assert key_and_origin() == (None, "not set")
    with pytest.raises(AuthenticationFailed, match="set PAPERSPACE_API_KEY"):
        get_provider("paperspace").resolve(parse("dst364npcw6ccok:latest"))
    health = PaperspaceProvider().health()
    assert not health.ok
    assert "PAPERSPACE_API_KEY" in health.summary


def test_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.json").write_text('{"apiKey": "from-gradient"}')
    assert key_and_origin() == ("from-gradient", "~/.paperspace/config.json")
    (home / "credentials.toml").write_text('version = 1\n[keys]\nours = "from-pspace"\n')
    assert key_and_origin() == ("from-pspace", "~/.paperspace/credentials.toml")
    monkeypatch.setenv("PAPERSPACE_API_KEY", " from-environment ")
    assert key_and_origin() == ("from-environment", "environment")
    account = Account.from_settings(key="given", base="http://127.0.0.1:1/v1/")
    assert (account.key, account.base) == (Secret("given"), "http://127.0.0.1:1/v1")
    assert account.origins == {"PAPERSPACE_API_KEY": "argument", "PAPERSPACE_API_URL": "argument"}


def test_key_of_the_current_team(home: Path) -> None:
    """With several teams, the one that the vendor's tool has as current; without one, that is said."""
    (home / "credentials.toml").write_text('[keys]\na = "key-a"\nb = "key-b"\n')
    with pytest.raises(SettingsError, match=r"several teams.*PAPERSPACE_API_KEY") as caught:
        key_and_origin()
    assert "key-a" not in str(caught.value)
    (home / "config.toml").write_text('team = "b"\n')
    assert key_and_origin()[0] == "key-b"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("credentials.toml", "not [toml"),
        ("credentials.toml", '[keys]\na = "ps-secret-0123\\n456"'),
        ("config.json", "{not json ps-secret-0123456789"),
        ("config.json", '{"apiKey": "ps-secret with blank"}'),
    ],
)
def test_broken_files_are_named_and_not_quoted(home: Path, name: str, text: str) -> None:
    (home / name).write_text(text)
    with pytest.raises(SettingsError, match=name) as caught:
        Account.from_settings()
    assert "ps-secret" not in str(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("credentials.toml", ""),
        ("credentials.toml", "keys = 7"),
        ("credentials.toml", "[keys]\na = 7"),
        ("config.json", "[]"),
        ("config.json", '{"apiKey": null}'),
        ("config.json", "{}"),
    ],
)
def test_files_without_a_key_are_passed_over(home: Path, name: str, text: str) -> None:
    (home / name).write_text(text)
    assert key_and_origin() == (None, "not set")


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "ä", "\x00"])
def test_impossible_keys_are_refused_without_being_shown(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        PaperspaceProvider(key=f"ps-secret{key}" if key else key)
    assert "ps-secret" not in str(caught.value)


def test_address_must_be_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERSPACE_API_URL", "http://api.paperspace.com/v1")
    with pytest.raises(SettingsError, match=r"PAPERSPACE_API_URL.*in the clear"):
        PaperspaceProvider(key=KEY)


def test_time_out_comes_from_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Account.from_settings().timeout == 60
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "7")
    assert Account.from_settings().timeout == 7
    assert Account.from_settings(timeout=3).timeout == 3


def test_nothing_shows_the_key(home: Path) -> None:
    provider = PaperspaceProvider(key=KEY)
    assert KEY not in f"{provider} {provider!r} {vars(provider)} {provider.account} {provider.account.key}"
