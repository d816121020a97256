"""What the emulator's answers and requests have in common: statuses, refusals, and how bodies are read."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from mlflow_dsver.emulators.serving import Request
from mlflow_dsver.providers.clarifai.emulator.state import Record

LISTS = {
    "datasets": "datasets",
    "versions": "dataset_versions",
    "inputs": "dataset_inputs",
    "exports": "exports",
    "metrics": "dataset_version_metrics_groups",
    "annotation_filters": "annotation_filters",
}
"""The list that is printed in answers of a path even when it is empty or something failed."""
OK, MIXED, FAILED = 10000, 10010, 10020
DUPLICATE = "Object has a duplicate ID"
_TEXTS = ("id", "description", "notes", "name")
_OBJECTS = (
    "metadata",
    "visibility",
    "annotation_filter_config",
    "dataset_filter",
    "input",
    "data",
    "image",
    "search",
)


class Refused(Exception):
    """An answer that is an error: HTTP status, the API's code, details, items to show with it, headers."""

    def __init__(
        self,
        http: int,
        code: int,
        details: str,
        items: list[Record] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(details)
        self.http, self.code, self.details, self.items = http, code, details, items or []
        self.headers = dict(headers or {})


def storage(address: str) -> str:
    """Where archives lie that need no key: another host than the API's, as far as a client can see."""
    return f"http://localhost:{address.rpartition(':')[2]}/signed"


def status(code: int, details: str | None, switches: Mapping[str, str]) -> Record:
    """The status of an answer or of an item in it."""
    words = {
        OK: "Ok",
        MIXED: "Mixed Success",
        FAILED: "Failure",
        11008: "Invalid API key or Invalid API key/application pair",
        11009: "API key not found",
        11100: "Bad request format",
        11101: "Resource does not exist",
        11102: "Invalid request",
        11103: "Method not allowed",
        64030: "Dataset version conflict",
    }
    names = {OK: "SUCCESS", MIXED: "MIXED_STATUS", FAILED: "FAILURE"}
    shown: Any = names.get(code, code) if switches["enums"] == "names" else code
    told = {"code": shown, "description": words.get(code, DUPLICATE), "req_id": secrets.token_hex(16)}
    return told if details is None else {**told, "details": details}


def held(known: Mapping[str, Record], wanted: str, what: str, shown: str | None = None) -> Record:
    """What is known by an id. what, shown: the name of that id, and how it is shown when it is not known."""
    if wanted not in known:
        raise Refused(404, 11101, f"{what} '{shown or wanted}' not found. Check the url of your request.")
    return known[wanted]


def body(request: Request) -> Record:
    """The body, which is an object."""
    try:
        read = json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refused(400, 11100, "the body is not JSON") from None
    if not isinstance(read, dict):
        raise Refused(400, 11100, "the body is no object")
    return read


def items(sent: Mapping[str, Any], key: str) -> list[Record]:
    """The objects of a list in a body, with fields of the kinds that the definitions give them."""
    found = sent.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise Refused(400, 11102, f"{key} is a list of objects")
    for each in found:
        for name in _TEXTS:
            if not isinstance(each.get(name), str | None):
                raise Refused(400, 11100, f"{name} is a text")
        for name in _OBJECTS:
            if not isinstance(each.get(name), dict | None):
                raise Refused(400, 11100, f"{name} is an object")
    return found


def ids(request: Request, key: str) -> list[str]:
    """The ids in the body of a deletion, each once."""
    found = body(request).get(key)
    if not isinstance(found, list) or not found or not all(isinstance(each, str) for each in found):
        raise Refused(400, 11102, f"{key} is a list of ids")
    return list(dict.fromkeys(found))
