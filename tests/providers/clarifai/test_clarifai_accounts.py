"""Key, user, app and address: argument before environment before the vendor's file; which key fits which address."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dsver.errors import AuthenticationFailed, InvalidReference, SettingsError
from mlflow_dsver.providers.clarifai import account
from mlflow_dsver.providers.clarifai.info import BASE, DatasetPlace

FILE = """
current_context: work
contexts:
  work:
    CLARIFAI_PAT: pat-of-work
    CLARIFAI_USER_ID: worker
    CLARIFAI_APP_ID: ENVVAR
    CLARIFAI_API_BASE: https://api.work.example
  home:
    CLARIFAI_PAT: pat-of-home
    CLARIFAI_USER_ID: me-at-home
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "person" / ".config" / "clarifai" / "config"
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    return path


def test_nothing_set_is_the_public_address_without_a_key() -> None:
    signed = account()
    assert (signed.base, signed.user, signed.app) == (BASE, None, None)
    with pytest.raises(AuthenticationFailed, match="CLARIFAI_PAT"):
        signed.key  # noqa: B018


def test_current_context_is_read(file: Path) -> None:
    signed = account()
    assert signed.key.reveal() == "pat-of-work"
    assert (signed.user, signed.base, signed.app) == ("worker", "https://api.work.example", None)
    assert signed.sources["CLARIFAI_PAT"] == "~/.config/clarifai/config"
    assert signed.sources["CLARIFAI_APP_ID"] == "not set"


def test_named_context_is_read(file: Path) -> None:
    assert account(context="home").key.reveal() == "pat-of-home"
    with pytest.raises(SettingsError, match="school"):
        account(context="school")


def test_environment_wins_over_the_file_and_an_argument_over_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLARIFAI_USER_ID", "from-environment")
    monkeypatch.setenv("CLARIFAI_APP_ID", "app-from-environment")
    assert (account().user, account().app) == ("from-environment", "app-from-environment")
    assert account(user="given").user == "given"


def test_token_wins_over_an_apps_key_of_the_same_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARIFAI_PAT", "the-token")
    monkeypatch.setenv("CLARIFAI_API_KEY", "the-key")
    assert account().key.reveal() == "the-token"


def test_key_of_a_nearer_source_puts_a_token_of_a_farther_one_aside(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account(api_key="given").key.reveal() == "given"
    monkeypatch.setenv("CLARIFAI_API_KEY", "from-environment")
    assert account().key.reveal() == "from-environment"


def test_each_kind_of_key_has_its_form_of_address() -> None:
    """A token names user and app; an app's key knows them itself."""
    assert account(pat="p").prefix("u", "a") == ("v2", "users", "u", "apps", "a")
    assert account(api_key="k").prefix("u", "a") == ("v2",)
    with pytest.raises(SettingsError, match="CLARIFAI_USER_ID"):
        account(pat="p").prefix(None, "a")


def test_dataset_alone_takes_user_and_app_from_the_settings() -> None:
    assert account(pat="p", user="u", app="a").place("cats") == DatasetPlace("u", "a", "cats")
    assert account(pat="p", user="u", app="a").place("x/y/cats") == DatasetPlace("x", "y", "cats")
    assert account(api_key="k").place("cats") == DatasetPlace(None, None, "cats")
    with pytest.raises(SettingsError, match="CLARIFAI_APP_ID"):
        account(pat="p", user="u").place("cats")
    with pytest.raises(InvalidReference, match="user/app/dataset"):
        account(pat="p", user="u", app="a").place("y/cats")


@pytest.mark.parametrize(
    "content", ["contexts: [1]", "- a", "{", "contexts:\n  work: text\ncurrent_context: work", ""]
)
def test_file_that_is_none_of_the_vendors_is_named(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(SettingsError, match="clarifai/config"):
        account()


def test_file_that_runs_code_is_not_run(file: Path, tmp_path: Path) -> None:
    file.write_text(f"contexts: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    with pytest.raises(SettingsError):
        account()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("bad", ["two words", "line\nbreak", "nul\0", "schlüssel"])
def test_key_that_can_be_none_names_the_variable_and_not_the_value(bad: str) -> None:
    with pytest.raises(SettingsError, match="CLARIFAI_PAT") as caught:
        account(pat=bad)
    assert bad not in str(caught.value)


@pytest.mark.parametrize("bad", ["a/b", "..", "a\nb"])
def test_user_that_would_climb_out_of_the_address_is_refused(bad: str) -> None:
    with pytest.raises(SettingsError, match="CLARIFAI_USER_ID"):
        account(pat="p", user=bad)


def test_account_shows_no_key() -> None:
    assert "sesame-sesame" not in repr(account(pat="sesame-sesame", api_key="sesame-sesame"))
