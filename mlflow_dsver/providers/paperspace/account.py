"""Which key and which address: an explicit argument, then the environment, then the vendor's own files.

`PAPERSPACE_API_KEY` and `PAPERSPACE_API_URL` are the names that the vendor's tools use. Of the files, pspace's
`~/.paperspace/credentials.toml` has one key a team (which team is current stands in `config.toml` beside it), and the
older `~/.paperspace/config.json` has one key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.providers.http.wire import check_base
from mlflow_dsver.secrets import Secret

BASE = "https://api.paperspace.com/v1"
BASE_NAME = "PAPERSPACE_API_URL"
KEY_NAME = "PAPERSPACE_API_KEY"
FOLDER = Path("~/.paperspace")
KEY_FILES = tuple(FOLDER / name for name in ("credentials.toml", "config.toml", "config.json"))


@dataclass(frozen=True, slots=True)
class Account:
    """An address, a key (None when there is none, which the first request complains of), a time-out in seconds.

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
    keys = _mapping((settings.toml_file(path) or {}).get("keys"))
    team = (settings.toml_file(path.with_name("config.toml")) or {}).get("team")
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
    content = settings.user_file(path)
    if content is None:
        return None
    try:
        value = _mapping(json.loads(content)).get("apiKey")
    except (ValueError, RecursionError):
        raise SettingsError(f"{path} is not JSON") from None
    return value if isinstance(value, str) and value else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
