"""The endpoint, token and cache folder that the Hub's own tools would use, by the same variables and files.

The token is that of HF_TOKEN (or the older HUGGING_FACE_HUB_TOKEN), else the file HF_TOKEN_PATH or `token` below
HF_HOME, which `hf auth login` writes. HF_HUB_DISABLE_IMPLICIT_TOKEN sends none. Tokens of Colab's vault and those
that OIDC exchanges are not read: set HF_TOKEN there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_dsver import config_files, settings
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.secrets import Secret

ENDPOINT = "https://huggingface.co"
ENDPOINT_NAME, TOKEN_NAME = "HF_ENDPOINT", "HF_TOKEN"
_OLD_TOKEN_NAME = "HUGGING_FACE_HUB_TOKEN"  # noqa: S105  (the variable's name)
_TRUE = ("1", "ON", "YES", "TRUE")
_MAX_TOKEN_FILE = 64 << 10


@dataclass(frozen=True, slots=True)
class Account:
    """An endpoint, a token (None for public repositories alone), and a time-out in seconds.

    cache: the Hub's cache folder, whether it exists or not; None where the user has no home folder. offline: the Hub
    must not be asked. origins: where endpoint and token come from; never a value.
    """

    endpoint: str
    token: Secret | None
    cache: Path | None
    offline: bool
    timeout: float
    origins: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, *, endpoint: str | None = None, token: str | Secret | None = None) -> Account:
        """Arguments first, then the variables, then files. Raises SettingsError."""
        from mlflow_dsver.providers.http.wire import check_base  # not needed to parse references

        from_variable = settings.text(ENDPOINT_NAME)
        found, token_from = _token(token)
        return cls(
            endpoint=check_base(endpoint or from_variable or ENDPOINT, ENDPOINT_NAME),
            token=found,
            cache=cache_folder(),
            offline=_is_on("HF_HUB_OFFLINE") or _is_on("TRANSFORMERS_OFFLINE"),
            timeout=settings.provider_timeout(),
            origins={
                ENDPOINT_NAME: "argument" if endpoint else "environment" if from_variable else "not set",
                TOKEN_NAME: token_from,
            },
        )


def cache_folder() -> Path | None:
    """The folder of the Hub's cache; None where the user has no home folder."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if (value := settings.text(name)) is not None:
            return settings.expanded(value, name)
    home = _home()
    return None if home is None else home / "hub"


def _home() -> Path | None:
    if (value := settings.text("HF_HOME")) is not None:
        return settings.expanded(value, "HF_HOME")
    if (value := settings.text("XDG_CACHE_HOME")) is not None:
        return settings.expanded(value, "XDG_CACHE_HOME") / "huggingface"
    try:
        return Path("~/.cache/huggingface").expanduser()
    except RuntimeError:
        return None


def _token(given: str | Secret | None) -> tuple[Secret | None, str]:
    if given is not None:
        return _checked(
            given.reveal() if isinstance(given, Secret) else given, "the token that was given"
        ), "argument"
    if _is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return None, "HF_HUB_DISABLE_IMPLICIT_TOKEN"
    for name in (TOKEN_NAME, _OLD_TOKEN_NAME):
        if (value := settings.text(name)) is not None:
            return _checked(value, name), "environment"
    path, home = settings.text("HF_TOKEN_PATH"), _home()
    file = settings.expanded(path, "HF_TOKEN_PATH") if path else home and home / "token"
    content = config_files.user_file(file, _MAX_TOKEN_FILE) if file else None
    text = (content or b"").decode("utf-8", "replace").replace("\r", "").replace("\n", "").strip()
    return (_checked(text, str(file)), str(file)) if text else (None, "not set")


def _checked(value: str, name: str) -> Secret:
    value = value.strip()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise SettingsError(f"{name} has characters that no token has, or none at all")
    return Secret(value)


def _is_on(name: str) -> bool:
    return (settings.text(name) or "").upper() in _TRUE
