"""Settings, reference spellings, key and address of Paperspace, available without importing its provider.

`PAPERSPACE_API_KEY` and `PAPERSPACE_API_URL` are the names that the vendor's tools use. Of its files, pspace's
`~/.paperspace/credentials.toml` has one key for each team (the current team is in `config.toml` beside it), and the
older `~/.paperspace/config.json` has one key. An explicit argument wins over the environment, which wins over files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_dsver import config_files, settings
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.secrets import Secret
from mlflow_dsver.settings import choice_setting, text_setting

ALLOW_UNCOMMITTED = choice_setting(
    "PAPERSPACE_UNCOMMITTED",
    "link: versions at Paperspace that are not committed may be inputs, with grade D",
    {"link": True, "no": False},
    default=False,
)
HASH_FILES = choice_setting(
    "PAPERSPACE_HASH",
    "yes: the mount of a version at Paperspace is hashed when it is resolved (grade A)",
    {"yes": True, "no": False},
    default=False,
)
PATHS = text_setting(
    "PAPERSPACE_PATHS", "folders with versions of Paperspace's datasets: dataset=folder;dataset=folder"
)
PAGE = text_setting(
    "PAPERSPACE_PAGE", "address of a version's page at Paperspace, with {dataset} and {version} in it"
)

_ID = re.compile(r"ds[a-z0-9]{13}\Z")
_REFERENCE = re.compile(r"(?:([a-z0-9-]{1,39})/)?(ds[a-z0-9]{13})(?::([^:/@]+))?\Z")
_OWN_NAMESPACES = ("paperspace", "gradient")
"""What notebooks and workflows write in a namespace's place for the team's own datasets."""


def spelling(text: str) -> tuple[str, str | None] | None:
    """The service's own `[namespace/]dataset:version`, also behind `paperspace://`.

    Without a version only behind one of the service's own namespaces, since any word may look like an id.
    """
    scheme, separator, body = text.partition("://")
    if separator:
        if scheme.lower() != "paperspace" or "@" in body or body.count(":") != 1:
            return None
        dataset, _, selector = body.partition(":")
        return dataset, selector
    found = _REFERENCE.match(text)
    if not found or (found[3] is None and found[1] not in _OWN_NAMESPACES):
        return None
    namespace = "" if found[1] in (None, *_OWN_NAMESPACES) else f"{found[1]}/"
    return namespace + found[2], found[3]


def recorded_spelling(text: str) -> tuple[str, str | None] | None:
    """A dataset's id without scheme or version."""
    return (text, None) if _ID.match(text) else None


INFO = ProviderInfo(
    title="Paperspace",
    settings=(ALLOW_UNCOMMITTED, HASH_FILES, PATHS, PAGE),
    spelling=spelling,
    recorded_spelling=recorded_spelling,
    commands={"paperspace": "mlflow_dsver.providers.paperspace.cli:paperspace"},
    emulator="mlflow_dsver.providers.paperspace.emulator:PaperspaceEmulator",
)


# Account


BASE = "https://api.paperspace.com/v1"
BASE_NAME = "PAPERSPACE_API_URL"
KEY_NAME = "PAPERSPACE_API_KEY"
FOLDER = Path("~/.paperspace")
KEY_FILES = tuple(FOLDER / name for name in ("credentials.toml", "config.toml", "config.json"))


@dataclass(frozen=True, slots=True)
class Account:
    """An address, a key (None when unset; the first request raises then), a time-out in seconds.

    origins: where base and key come from; never a value.
    """

    base: str
    key: Secret | None
    timeout: float
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_settings(
        cls, *, key: str | Secret | None = None, base: str | None = None, timeout: float | None = None
    ) -> Account:
        """Arguments first, then the environment, then the vendor's files. Raises SettingsError."""
        from mlflow_dsver.providers.http.wire import check_base  # not needed to parse references

        found_key, key_from = _key(key)
        address, base_from = base, "argument"
        if address is None:
            address, base_from = settings.text(BASE_NAME), "environment"
        if address is None:
            address, base_from = BASE, "not set"
        return cls(
            base=check_base(address, BASE_NAME),
            key=found_key,
            timeout=timeout if timeout is not None else settings.provider_timeout(),
            origins={KEY_NAME: key_from, BASE_NAME: base_from},
        )


def _key(given: str | Secret | None) -> tuple[Secret | None, str]:
    if given is not None:
        return _checked(given.reveal() if isinstance(given, Secret) else given, "the key that was given"), "argument"
    from_environment = settings.secret(KEY_NAME)
    if from_environment is not None:
        return _checked(from_environment.reveal(), KEY_NAME), "environment"
    for path, read in ((FOLDER / "credentials.toml", _pspace), (FOLDER / "config.json", _gradient)):
        value = read(path)
        if value is not None:
            return _checked(value, str(path)), str(path)
    return None, "not set"


def _checked(value: str, name: str) -> Secret:
    value = value.strip()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise SettingsError(f"{name} has characters that no key has, or none at all")
    return Secret(value)


def _pspace(path: Path) -> str | None:
    """The key of the current team; of the only team when none is current."""
    keys = _mapping((config_files.toml_file(path) or {}).get("keys"))
    team = (config_files.toml_file(path.with_name("config.toml")) or {}).get("team")
    if not keys:
        return None
    if not isinstance(team, str) or team not in keys:
        if len(keys) > 1:
            raise SettingsError(
                f"{path} has keys of several teams", expected="a current team in config.toml", tip=f"set {KEY_NAME}"
            )
        team = next(iter(keys))
    value = keys[team]
    return value if isinstance(value, str) else None


def _gradient(path: Path) -> str | None:
    content = config_files.user_file(path)
    if content is None:
        return None
    try:
        value = _mapping(json.loads(content)).get("apiKey")
    except (ValueError, RecursionError):
        raise SettingsError(f"{path} is not JSON") from None
    return value if isinstance(value, str) and value else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
