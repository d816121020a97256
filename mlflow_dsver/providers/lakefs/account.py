"""The server and key that lakeFS' own tools would use, by the same variables and file.

LAKECTL_SERVER_ENDPOINT_URL, LAKECTL_CREDENTIALS_ACCESS_KEY_ID and LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY as `lakectl`
and the Python client read them; else LAKEFS_HOST, LAKEFS_USERNAME and LAKEFS_PASSWORD as lakefs-spec does; else
the file LAKECTL_CONFIG_FILE or `~/.lakectl.yaml`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_dsver import config_files, settings
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.secrets import Secret

ENDPOINT_NAME = "LAKECTL_SERVER_ENDPOINT_URL"
ID_NAME, KEY_NAME = "LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
CONFIG_FILE = Path("~/.lakectl.yaml")
_CONFIG_NAME = "LAKECTL_CONFIG_FILE"
_API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Account:
    """A server's address without `/api/v1`, and a key. basic: what stands in `Authorization` behind `Basic`.

    origins: where the settings come from; never a value.
    """

    endpoint: str
    key: Secret
    basic: Secret
    timeout: float
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_settings(cls) -> Account:
        """Variables first, then the file. Raises SettingsError where one of the three is missing."""
        from mlflow_dsver.providers.http.wire import check_base  # not needed to parse references

        read = _read()
        for name, (value, _) in read.items():
            if value is None:
                raise SettingsError(f"{name} is not set", tip=f"set it, or write {CONFIG_FILE} with lakectl config")
        found = {name: value or "" for name, (value, _) in read.items()}
        endpoint = found[ENDPOINT_NAME] if "://" in found[ENDPOINT_NAME] else f"https://{found[ENDPOINT_NAME]}"
        pair = f"{found[ID_NAME]}:{found[KEY_NAME]}".encode()
        return cls(
            endpoint=check_base(endpoint.rstrip("/").removesuffix(_API), ENDPOINT_NAME),
            key=Secret(found[KEY_NAME]),
            basic=Secret(base64.b64encode(pair).decode()),
            timeout=settings.provider_timeout(),
            origins={name: origin for name, (_, origin) in read.items()},
        )


def origins() -> Mapping[str, str]:
    """Where each setting comes from, also where some are missing."""
    return {name: origin for name, (_, origin) in _read().items()}


def _read() -> dict[str, tuple[str | None, str]]:
    config = _config()
    return {
        name: _value(name, other, config.get(group), key)
        for name, other, group, key in (
            (ENDPOINT_NAME, "LAKEFS_HOST", "server", "endpoint_url"),
            (ID_NAME, "LAKEFS_USERNAME", "credentials", "access_key_id"),
            (KEY_NAME, "LAKEFS_PASSWORD", "credentials", "secret_access_key"),
        )
    }


def _config() -> Mapping[str, Any]:
    path = settings.text(_CONFIG_NAME)
    found = config_files.yaml_file(settings.expanded(path, _CONFIG_NAME) if path else CONFIG_FILE)
    return found if isinstance(found, dict) else {}


def _value(name: str, other: str, group: object, key: str) -> tuple[str | None, str]:
    for variable in (name, other):
        if (value := settings.text(variable)) is not None:
            return value, "environment"
    value = group.get(key) if isinstance(group, dict) else None
    return (value, str(CONFIG_FILE)) if isinstance(value, str) and value else (None, "not set")
