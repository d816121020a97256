"""What is known of Paperspace without importing its provider."""

from __future__ import annotations

import re

from mlflow_dsver.plugins import ProviderInfo
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
    """A dataset's id that stands alone."""
    return (text, None) if _ID.match(text) else None


INFO = ProviderInfo(
    title="Paperspace",
    settings=(ALLOW_UNCOMMITTED, HASH_FILES, PATHS, PAGE),
    spelling=spelling,
    recorded_spelling=recorded_spelling,
    commands={"paperspace": "mlflow_dsver.providers.paperspace.cli:paperspace"},
    emulator="mlflow_dsver.providers.paperspace.emulator:PaperspaceEmulator",
)
