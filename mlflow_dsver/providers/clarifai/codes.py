"""The numbers that Clarifai's API speaks in, by their published names: statuses, request origins, export formats.

Answers carry numbers, requests of the vendor's own client carry names; both are read everywhere. A number or name
that does not stand here is handed on as it came: whoever decides on it must not take it for a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum

SUCCESS = 10000
"""The only status at the top of an answer that means success."""


class VersionStatus(IntEnum):
    """Where a dataset version is in its life."""

    PENDING = 64005
    IN_PROGRESS = 64010
    READY = 64015
    FAILURE = 64020
    UNEXPECTED_ERROR = 64025
    CONFLICT = 64030


class ExportStatus(IntEnum):
    """Where an export of a dataset version is in its life."""

    SUCCESS = 64200
    PENDING = 64201
    FAILED = 64202
    IN_PROGRESS = 64203
    UNEXPECTED_ERROR = 64204


class Origin(IntEnum):
    """What asked for a version. Training and evaluation make versions by themselves."""

    NOT_SET = 0
    MANUAL = 1
    TRAINING = 2
    EVAL_GROUND_TRUTH = 3
    EVAL_PREDICTIONS = 4


class Format(StrEnum):
    """Formats of an export: the value is the member of `export_info` that tells of it."""

    PROTOBUF = "clarifai_data_protobuf"
    COCO = "coco"
    JSON = "clarifai_data_json"

    @property
    def number(self) -> int:
        """The format's number in answers."""
        return {Format.PROTOBUF: 1, Format.COCO: 2, Format.JSON: 3}[self]


STATUS_NAMES: Mapping[str, int] = {
    "SUCCESS": SUCCESS,
    "MIXED_STATUS": 10010,
    "FAILURE": 10020,
    "CONN_THROTTLED": 11005,
    "CONN_INSUFFICIENT_SCOPES": 11007,
    "CONN_KEY_INVALID": 11008,
    "CONN_KEY_NOT_FOUND": 11009,
    "CONN_BAD_REQUEST_FORMAT": 11100,
    "CONN_DOES_NOT_EXIST": 11101,
    "CONN_INVALID_REQUEST": 11102,
    "CONN_METHOD_NOT_ALLOWED": 11103,
    **{f"DATASET_VERSION_{status.name}": status.value for status in VersionStatus},
    **{f"DATASET_VERSION_EXPORT_{status.name}": status.value for status in ExportStatus},
}
"""Names of statuses; the API sends numbers, and one page of its documentation prints a name."""

ORIGIN_NAMES: Mapping[str, int] = {origin.name: origin.value for origin in Origin}
GETTABLE: Mapping[str, int] = {"PRIVATE": 10, "ORG": 30, "PUBLIC": 50}
"""Who may see a version."""
FORMAT_NAMES: Mapping[str, int] = {format_.value.upper(): format_.number for format_ in Format}

HTTP_OF = {
    10010: 400,  # some of the items failed
    10020: 400,  # all of them
    10030: 503,  # try again
    11000: 402,  # account or plan
    11003: 429,
    11004: 429,
    11005: 429,
    11006: 429,
    11007: 403,
    11008: 401,
    11009: 401,
    11100: 400,
    11101: 404,
    11102: 400,
    11103: 405,
    64030: 409,
}
"""The HTTP status that a code means, whatever status it travelled under."""


def number(value: object, names: Mapping[str, int]) -> int | str | None:
    """A number, digits, or a known name as its number; another name as it is; None for nothing.

    Raises ValueError for what is neither text nor a whole number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and value in names:
        return names[value]
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        return value
    return whole(value)


def whole(value: object) -> int | None:
    """A whole number that came as a number or as text; None for nothing. Raises ValueError for anything else."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a whole number")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not a whole number")
    if isinstance(value, str) and not (value.isascii() and value.lstrip("-").isdigit() and len(value) <= 20):
        raise ValueError("not a whole number")
    return int(value)
