"""Settings: environment over file, lazy reading, refusal by name, secrets never shown."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_dsver import config_files, settings
from mlflow_dsver.cli.main import run
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.resolution.lock_file import find_lock


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


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of a container: no HOME, and a user id that no list of users has."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "MLFLOW_DSVER_HOME", "MLFLOW_DSVER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_is_told_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line, on the command line as well; and with that variable everything works, without a settings file."""
    with pytest.raises(SettingsError, match="MLFLOW_DSVER_HOME, or HOME"):
        settings.home()
    assert run(["versions", "list", "local://digits"]) == 2
    told = capsys.readouterr().err
    assert "MLFLOW_DSVER_HOME" in told
    assert "unexpected" not in told
    assert settings.config_path() is None
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path))
    assert settings.home() == tmp_path
    assert settings.setting("ON_ERROR") is None


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize(
    ("name", "read"),
    [("HOME", settings.home), ("CONFIG", settings.config_path), ("LOCK", find_lock)],
)
def test_a_folder_below_a_home_that_is_unknown_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[], object]
) -> None:
    monkeypatch.setenv(f"MLFLOW_DSVER_{name}", "~/there")
    with pytest.raises(SettingsError, match=f"MLFLOW_DSVER_{name} begins with a home folder"):
        read()


@pytest.mark.usefixtures("homeless")
def test_a_vendors_file_below_a_home_that_is_unknown_is_not_there() -> None:
    assert config_files.user_file(Path("~/.paperspace/config.json")) is None
    assert config_files.toml_file(Path("~/.paperspace/config.toml")) is None


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


@pytest.mark.parametrize(("new", "former"), settings.FORMER.items())
def test_the_former_name_of_a_setting_is_read_with_a_warning(
    new: str, former: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f'{former.lower()} = "from the file"\n')
    with pytest.warns(DeprecationWarning, match=f"MLFLOW_DSVER_{new}"):
        assert settings.setting(new) == "from the file"
    monkeypatch.setenv(f"MLFLOW_DSVER_{former}", "by its former name")
    with pytest.warns(DeprecationWarning, match=f"MLFLOW_DSVER_{new}"):
        assert settings.setting(new) == "by its former name"
    assert settings.origin(new) == f"MLFLOW_DSVER_{former}"
    monkeypatch.setenv(f"MLFLOW_DSVER_{new}", "by its name")
    assert settings.setting(new) == "by its name"
