"""What is known of Clarifai without importing its provider."""

from __future__ import annotations

import re

from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.settings import choice_setting, seconds_setting

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
