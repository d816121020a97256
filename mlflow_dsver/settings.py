"""The only reader of the environment, and of this package's settings file.

Settings of this package are environment variables `MLFLOW_DSVER_<NAME>`, or `<name>` in a TOML file (by platform
convention `~/.config/mlflow-dsver/config.toml`; `MLFLOW_DSVER_CONFIG` names another). The environment wins over
the file, an explicit argument over both. Nothing is read at import: each call sees the world as it is.
A provider declares its settings as `Setting` values in its `ProviderInfo` (see `plugins`), and reads the variables
of its service's own tools, such as an API key, through `text` and `secret`.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, get_args

from mlflow_dsver.config_files import toml_file
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.secrets import Secret, add_source
from mlflow_dsver.text import os_text, text_of

PREFIX = "MLFLOW_DSVER_"
KNOWN = {
    "HOME": "folder of the local store and the caches",
    "CONFIG": "settings file in TOML",
    "ON_ERROR": "what a provider's failure does to a run: raise, warn or offline",
    "BACKGROUND": "no: the link is on the run before training starts, instead of behind its back",
    "SHOW_CHANGES": "no: do not say, when a run starts, what changed since the last one",
    "FROZEN": "1: a run starts only with the versions in dsver.lock",
    "LOCK": "the lock file, instead of dsver.lock in the working folder or the nearest parent that has one",
    "OVERLAP": "files that two roles share, told when a run starts: warn, raise or off",
    "SEAL": "at a run's end, look whether its data changed: given (files given out), stat (all inputs), hash or off",
    "WATCH": "yes, or folders with : between them: at a run's end, say which files read are of no linked version",
    "TRACKING_TIMEOUT": "seconds that linking waits for the tracking server at most",
    "PROVIDER_TIMEOUT": "seconds that one operation of a provider may take at most",
    "AUTH_APP": "server plug-in that comes with the lineage pages, such as basic-auth",
    "AUTOLINK": "runs that INPUTS and autolink link: all, fluent (mlflow.start_run's alone) or none",
    "PARAMS": "params of a link on a run: full, short (the version alone) or none; what is no param is a tag",
    "INPUTS": "dataset versions that every run of a process is linked to: role=reference;role=reference",
    "OVERRIDE": "dataset versions in place of those that a script asks for: role=reference;role=reference",
    "RESOLVED": "answers that mlflow-dsver run hands to the processes below it; not for people",
    "CACHE_TTL": "seconds for which an answer kept on this host is taken for INPUTS; 0: never",
    "TRUST_DATES": "folders on network, FUSE and memory file systems whose files' dates are believed, : between them",
    "PROGRESS": "no: never draw a progress bar",
    "DEBUG": "set to anything: the command line shows where an error came from, and all warnings",
}
"""This package's settings by name without the prefix, and their meaning; `mlflow-dsver doctor` lists them."""
FORMER = {"SHOW_CHANGES": "SINCE", "CACHE_TTL": "KEEP", "AUTH_APP": "APP_WITH"}
"""Former names of settings. They are still read, with a DeprecationWarning, where the new one is not set."""

ON, OFF = ("1", "yes", "true", "on"), ("0", "no", "false", "off")
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PAT", "CREDENTIAL", "CREDENTIALS")
_SECRET_ENDINGS = tuple(f"_{word}" for word in (*_SECRET_WORDS, "KEY_ID"))
_LEAST_SECRET = 8
"""Minimum length of the value of such a variable to be treated as a secret, and not as a word like `none`."""
OnError = Literal["raise", "warn", "offline"]
LoggedParams = Literal["full", "short", "none"]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Setting(Generic[Value]):
    """A setting of a provider: `MLFLOW_DSVER_<name>`, or `<name>` in lower case in the settings file.

    name: without the prefix, in capitals, beginning with the provider's name where it concerns one provider. meaning:
    one line for `doctor`. default: its value when it is not set. convert: from text to value; raises ValueError for
    text that is none. expected: what `convert` takes, in words, for the error.
    """

    name: str
    meaning: str
    default: Value
    convert: Callable[[str], Value]
    expected: str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name

    def get(self) -> Value:
        """The value now. Raises SettingsError for one that `convert` refuses."""
        value = setting(self.name)
        if value is None:
            return self.default
        try:
            return self.convert(value)
        except (ValueError, KeyError) as error:
            raise SettingsError(self.variable, expected=self.expected, got=ascii(value)[:40]) from error


def text_setting(name: str, meaning: str) -> Setting[str | None]:
    """A setting that is any text; None when it is not set."""
    return Setting(name, meaning, None, str, "text")


def choice_setting(name: str, meaning: str, choices: Mapping[str, Value], default: Value) -> Setting[Value]:
    """A setting that is one of some words. choices: word to value."""
    words = [*choices]
    expected = " or ".join(words) if len(words) < 3 else ", ".join(words)
    return Setting(name, meaning, default, choices.__getitem__, expected)


def seconds_setting(name: str, meaning: str, default: float) -> Setting[float]:
    """A setting that is a number of seconds, above 0 and at most a day."""
    return Setting(name, meaning, default, _seconds, "seconds, above 0 and at most 86400")


def text(variable: str) -> str | None:
    """A variable of the environment; None when unset or blank."""
    return text_of(os.environ.get(variable, "")).strip() or None


def secret(variable: str) -> Secret | None:
    """A variable of the environment that must not be shown; None when unset or blank."""
    value = text(variable)
    if value is not None and not (value.isascii() and value.isprintable()):
        raise SettingsError(f"{variable} has characters that no key has (a line break, perhaps)")
    return Secret(value) if value is not None else None


def setting(name: str) -> str | None:
    """A setting of this package, `HOME` for `MLFLOW_DSVER_HOME`; None when neither environment nor file has it."""
    value, _, called = _found(name)
    if value is not None and called != name:
        new = PREFIX + name
        warnings.warn(f"the setting {PREFIX}{called} is now called {new}", DeprecationWarning, stacklevel=2)
    return value


def origin(name: str) -> str:
    """Where a setting comes from: its variable, the settings file's path, or `not set`."""
    return _found(name)[1]


def _found(name: str) -> tuple[str | None, str, str]:
    """The value of a setting, where it comes from, and the name that it has there. Raises SettingsError."""
    names = (name, FORMER[name]) if name in FORMER else (name,)
    for called in names:
        value = text(PREFIX + called)
        if value is not None:
            return value, PREFIX + called, called
    for called in names if name != "CONFIG" else ():
        in_file = _file().get(called.lower())
        if in_file is not None:
            if not isinstance(in_file, str | int | float) or isinstance(in_file, bool):
                raise SettingsError(f"{called.lower()} in {config_path()} is not text or a number")
            return str(in_file), str(config_path()), called
    return None, "not set", name


def home() -> Path:
    """The folder of the local store and the caches; by platform convention unless `MLFLOW_DSVER_HOME` is set.

    Raises SettingsError when there is no home folder: no HOME, and a user id without an account, as in containers.
    """
    chosen = setting("HOME")
    if chosen is not None:
        return expanded(chosen, PREFIX + "HOME").absolute()
    import platformdirs

    found = _conventional(lambda: platformdirs.user_data_path("mlflow-dsver", appauthor=False))
    if found is None:
        raise SettingsError(
            "nothing says where the local store and the caches are: this user has no home folder",
            expected=f"{PREFIX}HOME, or HOME, to name a folder",
            tip=f"{PREFIX}HOME=/a/folder/that/stays",
        )
    return found


def expanded(path: str | Path, variable: str) -> Path:
    """The path with `~` replaced. Raises SettingsError, naming the variable, where no such home folder is known."""
    try:
        return Path(os_text(path) if isinstance(path, str) else path).expanduser()
    except RuntimeError as error:
        raise SettingsError(
            f"{variable} begins with a home folder that is not known", expected="an absolute path", got=str(path)[:80]
        ) from error


def config_path() -> Path | None:
    """The settings file, whether it exists or not; None when no variable names it and the user has no home folder."""
    chosen = text(PREFIX + "CONFIG")
    if chosen is not None:
        return expanded(chosen, PREFIX + "CONFIG")
    import platformdirs

    folder = _conventional(lambda: platformdirs.user_config_path("mlflow-dsver", appauthor=False))
    return None if folder is None else folder / "config.toml"


def _conventional(find: Callable[[], Path]) -> Path | None:
    """A folder by platform convention; None where that begins with a home folder and there is none."""
    try:
        found = find()
    except RuntimeError:
        return None
    return found if found.is_absolute() else None  # older platformdirs leave the `~` in place


def child_environment(**variables: str) -> dict[str, str]:
    """The environment for an isolated process: without any setting MLFLOW_…, plus the given variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
    return kept | {name: os_text(value) for name, value in variables.items()}


def whole_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process plus the given variables."""
    return dict(os.environ) | {name: os_text(value) for name, value in variables.items()}


def of_provider(provider: str, prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """Variables that concern a provider: `<NAME>_…`, `MLFLOW_DSVER_<NAME>_…` from the environment or the settings
    file, and those that begin with one of `prefixes`.

    Values are unchanged and include secrets: compare them, never show them.
    """
    name = re.sub(r"[^A-Z0-9]", "_", provider.upper())
    own = (f"{name}_", f"{PREFIX}{name}_", *prefixes)
    in_file = {PREFIX + key.upper(): str(value) for key, value in _file().items()}
    return {
        variable: value
        for variable, value in (in_file | dict(os.environ)).items()
        if variable == name or variable.startswith(own)
    }


def export_to_children(name: str, value: str) -> None:
    """Set a setting for this process and its child processes."""
    os.environ[PREFIX + name] = os_text(value)


def choice(name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
    """A setting that is one of a few words; unset, the default or the first word. Raises SettingsError."""
    value = setting(name) or default or allowed[0]
    if value not in allowed:
        raise SettingsError(PREFIX + name, expected=", ".join(allowed), got=ascii(value)[:40])
    return value


def on_error() -> OnError:
    """The policy for a provider or tracking server that fails; `raise` unless set."""
    value = setting("ON_ERROR") or "raise"
    if value not in get_args(OnError):
        raise SettingsError(f"{PREFIX}ON_ERROR", expected="raise, warn or offline", got=ascii(value)[:40])
    return cast(OnError, value)


def switch(name: str, *, default: bool) -> bool:
    """A setting that is on (1, yes, true, on) or off (0, no, false, off)."""
    value = (setting(name) or "").lower()
    if value not in ("", *ON, *OFF):
        raise SettingsError(PREFIX + name, expected="yes or no", got=ascii(value)[:40])
    return default if not value else value in ON


def watched_folders() -> tuple[Path, ...] | None:
    """The folders whose files are watched; () for all but the system's, None when files are not watched (WATCH)."""
    value = setting("WATCH") or ""
    if value.lower() in ("", *OFF):
        return None
    if value.lower() in ON:
        return ()
    folders = [each for each in value.split(os.pathsep) if each]
    if any("/" not in each and not each.startswith((".", "~")) for each in folders):
        expected = f"yes, no, or folders with {os.pathsep} between them, such as ./data{os.pathsep}/mnt/data"
        raise SettingsError(PREFIX + "WATCH", expected=expected, got=ascii(value)[:40])
    return tuple(expanded(each, PREFIX + "WATCH").absolute() for each in folders)


def seconds(name: str, default: float, *, least: float | None = None) -> float:
    """A setting in seconds: a number above 0, or from `least` on, and at most a day."""
    value = setting(name)
    if value is None:
        return default
    try:
        return _seconds(value, least)
    except ValueError as error:
        low = "above 0" if least is None else f"from {least:g} on"
        expected = f"seconds, {low} and at most 86400"
        raise SettingsError(PREFIX + name, expected=expected, got=ascii(value)[:40]) from error


def _seconds(value: str, least: float | None = None) -> float:
    number = float(value)
    if not ((number > 0 if least is None else number >= least) and number <= 86_400):
        raise ValueError("out of range")
    return number


def provider_timeout() -> float:
    """Seconds that one operation of a provider may take with its retries; 60 unless set."""
    return seconds("PROVIDER_TIMEOUT", 60.0)


def _secret_values() -> list[str]:
    """Values of all environment variables whose names mark them as secret, of any program."""
    global _secrets
    environment = getattr(os.environ, "_data", None)  # the raw mapping: decoding it would slow every error
    if environment is None or environment != _secrets[0]:
        found = [value for name, value in os.environ.items() if _is_secret(name.upper(), value)]
        _secrets = (dict(environment or {}), found)
    return _secrets[1]


def _is_secret(name: str, value: str) -> bool:
    named = name.endswith(_SECRET_ENDINGS) or name in _SECRET_WORDS
    return named and len(value) >= _LEAST_SECRET and not value.isdigit()


_secrets: tuple[dict[Any, Any], list[str]] = ({}, [])
"""The environment at the last call, and the secrets in it."""
add_source(_secret_values)


def _file() -> Mapping[str, Any]:
    path = config_path()
    return {} if path is None else toml_file(path) or {}
