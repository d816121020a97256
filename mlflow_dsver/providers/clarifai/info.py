"""Settings, reference spellings, keys and addresses of Clarifai, available without importing its provider.

An explicit argument wins over the environment, which wins over the vendor's file. The vendor's command line keeps
contexts in `~/.config/clarifai/config` (YAML): the current one is used, and a value `ENVVAR` in it means the
environment. There are two kinds of key, and each needs one form of the API's addresses: a personal access token
belongs to a user and needs user and app in the address; an app's key belongs to one app and takes the short form.
When both are set, the token is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_dsver import config_files, settings
from mlflow_dsver.errors import AuthenticationFailed, InvalidReference, SettingsError
from mlflow_dsver.model.refs import check_name
from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.secrets import Secret
from mlflow_dsver.settings import choice_setting, seconds_setting
from mlflow_dsver.text import one_line

WAIT = seconds_setting(
    "CLARIFAI_WAIT", "seconds that a version or an export at Clarifai may take to be made", default=600.0
)
"""The vendor's own client waits as long for a version's counts."""
FORMAT_NAMES = ("json", "protobuf", "coco")
FORMAT = choice_setting(
    "CLARIFAI_FORMAT",
    "format of the files of a version at Clarifai: json, protobuf or coco",
    {name: name for name in FORMAT_NAMES},
    default="json",
)
ALL_ORIGINS = choice_setting(
    "CLARIFAI_ORIGINS",
    "all: versions that training made by itself are listed at Clarifai, and may be latest",
    {"person": False, "all": True},
    default=False,
)

_PAGE = re.compile(r"https://clarifai\.com/([^/?#]+)/([^/?#]+)/datasets/([^/?#]+)(?:/versions/([^/?#]+))?/?\Z")


def spelling(text: str) -> tuple[str, str | None] | None:
    """The address of the page of a dataset or of a version."""
    page = _PAGE.match(text)
    return (f"{page[1]}/{page[2]}/{page[3]}", page[4]) if page else None


INFO = ProviderInfo(
    title="Clarifai",
    settings=(WAIT, FORMAT, ALL_ORIGINS),
    spelling=spelling,
    commands={"clarifai": "mlflow_dsver.providers.clarifai.cli:clarifai"},
    emulator="mlflow_dsver.providers.clarifai.emulator:ClarifaiEmulator",
)


# Account

BASE = "https://api.clarifai.com"
PAT, API_KEY = "CLARIFAI_PAT", "CLARIFAI_API_KEY"
USER, APP, API_BASE = "CLARIFAI_USER_ID", "CLARIFAI_APP_ID", "CLARIFAI_API_BASE"
CONFIG_FILE = Path("~/.config/clarifai/config")
_ORDER = ("argument", "environment", str(CONFIG_FILE), "not set")
_FORM = "clarifai://user/app/dataset@version, or clarifai://dataset@version with user and app in the settings"


@dataclass(frozen=True, slots=True)
class DatasetPlace:
    """A dataset in an app of a user. user and app are None where an app's key determines them."""

    user: str | None
    app: str | None
    dataset: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.user, self.app, self.dataset) if part)


@dataclass(frozen=True, slots=True)
class Account:
    """How to reach the API. user and app: defaults for references without them; None when unset.

    sources: where each setting came from, by variable; never a value.
    """

    base: str = BASE
    pat: Secret | None = None
    api_key: Secret | None = None
    user: str | None = None
    app: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Secret:
        """The token, else the app's key. Raises AuthenticationFailed when there is neither."""
        key = self.pat or self.api_key
        if key is None:
            raise AuthenticationFailed(
                "no key is set",
                provider="clarifai",
                operation="sign in",
                tip=f"set {PAT} to a personal access token, or {API_KEY} to an app's key",
            )
        return key

    def place(self, dataset: str) -> DatasetPlace:
        """What the dataset part of a reference means: `user/app/dataset`, or `dataset` with the settings' two.

        Raises InvalidReference for another number of parts, and AuthenticationFailed or SettingsError when a key,
        user or app is needed and unset.
        """
        parts = dataset.split("/")
        if len(parts) == 3:
            return DatasetPlace(*parts)
        if len(parts) != 1:
            raise InvalidReference("not a dataset at Clarifai", expected=_FORM, got=ascii(dataset)[:80])
        if self.key is self.pat:
            for name, value in ((USER, self.user), (APP, self.app)):
                if value is None:
                    raise SettingsError(
                        f"clarifai://{dataset} names no user and app, and {name} is not set",
                        tip=f"set {name}, or write clarifai://user/app/{dataset}",
                    )
        return DatasetPlace(self.user, self.app, dataset)

    def prefix(self, user: str | None, app: str | None) -> tuple[str, ...]:
        """Segments of an address before `datasets`: the long form for a token, the short one for an app's key."""
        if self.pat is None and self.api_key is not None:
            return ("v2",)
        if user is None or app is None:
            raise SettingsError(f"a token needs a user and an app: set {USER} and {APP}")
        return ("v2", "users", user, "apps", app)


def account(
    *,
    pat: str | Secret | None = None,
    api_key: str | Secret | None = None,
    user: str | None = None,
    app: str | None = None,
    base: str | None = None,
    context: str | None = None,
) -> Account:
    """The account by explicit arguments, then the environment, then a context of the vendor's configuration file.

    context: its name; None takes the file's current one. A key puts aside one of the other kind that comes later in
    this order.
    Raises SettingsError for a file that is not as the vendor writes it, and for keys and names that none can be.
    """
    given = {PAT: pat, API_KEY: api_key, USER: user, APP: app, API_BASE: base}
    in_file = _context(context)
    values: dict[str, str | Secret | None] = {}
    sources = {}
    for name, explicit in given.items():
        values[name], sources[name] = _chosen(name, explicit, in_file)
    if _ORDER.index(sources[PAT]) > _ORDER.index(sources[API_KEY]):
        values[PAT] = None
    return Account(
        base=str(values[API_BASE] or BASE),
        pat=_secret(values[PAT], PAT),
        api_key=_secret(values[API_KEY], API_KEY),
        user=_name(values[USER], USER),
        app=_name(values[APP], APP),
        sources=sources,
    )


def _chosen(name: str, explicit: str | Secret | None, in_file: Mapping[str, Any]) -> tuple[str | Secret | None, str]:
    if explicit is not None:
        return explicit, "argument"
    value = settings.text(name)
    if value is not None:
        return value, "environment"
    value = in_file.get(name)
    if value in (None, "", "ENVVAR"):
        return None, "not set"
    if not isinstance(value, str):
        raise SettingsError(f"{name} in {CONFIG_FILE} is not text")
    return value.strip(), _ORDER[2]


def _secret(value: str | Secret | None, name: str) -> Secret | None:
    text = value.reveal() if isinstance(value, Secret) else value
    if not text:
        return None
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise SettingsError(f"{name} has characters that no key has (a line break, perhaps)")
    return Secret(text)


def _name(value: str | Secret | None, name: str) -> str | None:
    if value is None:
        return None
    try:
        return check_name(str(value), name)
    except InvalidReference as error:
        raise SettingsError(f"{name} is not an id", expected="one segment of an address") from error


def _context(name: str | None) -> Mapping[str, Any]:
    """The settings of a context of the vendor's file; {} when there is no file and none was named."""
    if config_files.user_file(CONFIG_FILE) is None:
        if name is not None:
            raise SettingsError(f"there is no context {name!r}, as there is no {CONFIG_FILE}")
        return {}
    read = config_files.yaml_file(CONFIG_FILE)
    contexts = read.get("contexts") if isinstance(read, dict) else None
    if not isinstance(contexts, dict):
        raise SettingsError(f"{CONFIG_FILE} has no contexts", expected="what `clarifai config` writes")
    chosen = name if name is not None else read.get("current_context")
    found = contexts.get(chosen) if isinstance(chosen, str) else None
    if found is None and name is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(
            f"{CONFIG_FILE} has no context {one_line(repr(chosen), 60)}",
            expected=one_line(", ".join(map(str, contexts))),
        )
    return found
