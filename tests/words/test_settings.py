"""Settings: environment over file, read when asked for, refused by name, secrets never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dsver import settings
from mlflow_dsver.errors import SettingsError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("MLFLOW_DSVER_CONFIG", str(path))
    monkeypatch.delenv("MLFLOW_DSVER_HOME", raising=False)
    return path


def test_environment_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.setting("ON_ERROR") is None
    file.write_text('on_error = "warn"\ntracking_timeout = 7\n')
    assert settings.on_error() == "warn"
    assert settings.seconds("TRACKING_TIMEOUT", 1.0) == 7.0
    monkeypatch.setenv("MLFLOW_DSVER_ON_ERROR", "raise")
    assert settings.on_error() == "raise"
    monkeypatch.setenv("MLFLOW_DSVER_ON_ERROR", "  ")
    assert settings.on_error() == "warn"


def test_home_by_environment_file_and_convention(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(file.parent / "share"))
    assert settings.home().name == "mlflow-dsver"
    file.write_text(f'home = "{file.parent}/from-file"')
    assert settings.home() == file.parent / "from-file"
    monkeypatch.setenv("MLFLOW_DSVER_HOME", "~/dsver")
    assert settings.home() == Path.home() / "dsver"
    monkeypatch.setenv("MLFLOW_DSVER_HOME", "relative")
    assert settings.home().is_absolute()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "abc", "86401", "1e9"])
def test_seconds_that_are_none_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", value)
    with pytest.raises(SettingsError, match="MLFLOW_DSVER_TRACKING_TIMEOUT"):
        settings.seconds("TRACKING_TIMEOUT", 1.0)


def test_a_policy_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_ON_ERROR", "ignore")
    with pytest.raises(SettingsError, match="MLFLOW_DSVER_ON_ERROR; expected raise"):
        settings.on_error()


@pytest.mark.parametrize(
    "text", ['home = ["a"]', "home = true", "home = {a = 1}", "home = ", "\ud800", "a" * (2 << 20)]
)
def test_a_file_that_cannot_be_used_is_refused_by_name(file: Path, text: str) -> None:
    file.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(SettingsError, match=r"config\.toml"):
        settings.setting("HOME")


def test_a_folder_in_place_of_the_file_is_refused(file: Path) -> None:
    file.mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.setting("HOME")


@pytest.mark.parametrize("value", ["geheim\nX-Evil: 1", "schlüssel", "a\x00b"[:1] + "\x7f"])
def test_a_key_that_none_can_be_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOME_API_KEY", value)
    with pytest.raises(SettingsError, match="SOME_API_KEY") as caught:
        settings.secret("SOME_API_KEY")
    assert value not in str(caught.value)
    assert "geheim" not in repr(caught.value)


def test_a_key_is_read_as_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", " key-123 ")
    found = settings.secret("SOME_API_KEY")
    assert found is not None
    assert found.reveal() == "key-123"
    monkeypatch.setenv("SOME_API_KEY", "")
    assert settings.secret("SOME_API_KEY") is None


def test_every_setting_says_what_it_is_for() -> None:
    assert all(name.isupper() and text for name, text in settings.KNOWN.items())
