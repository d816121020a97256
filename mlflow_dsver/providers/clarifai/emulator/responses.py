"""The emulator's responses: statuses, errors, parsed request bodies, switches, and the archives of exports."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlflow_dsver.emulators.serving import Request, Switch
from mlflow_dsver.providers.clarifai.exports import JSON_TYPE, MIMETYPE, PROTOBUF_TYPE
from mlflow_dsver.providers.clarifai.models import Format

if TYPE_CHECKING:
    from mlflow_dsver.providers.clarifai.emulator.state import Record

LISTS = {
    "datasets": "datasets",
    "versions": "dataset_versions",
    "inputs": "dataset_inputs",
    "exports": "exports",
    "metrics": "dataset_version_metrics_groups",
    "annotation_filters": "annotation_filters",
}
"""The last part of a path to the list that its responses always have, also when it is empty or there is an error."""
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
    """An error response: HTTP status, the API's code, details, the items in its body, headers."""

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


def storage_address(address: str) -> str:
    """The address of archives that need no key: for a client, another host than the API's."""
    return f"http://localhost:{address.rpartition(':')[2]}/signed"


def status(code: int, details: str | None, switches: Mapping[str, str]) -> Record:
    """The status of a response, or of an item in it."""
    descriptions = {
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
    code_value: Any = names.get(code, code) if switches["enums"] == "names" else code
    result = {"code": code_value, "description": descriptions.get(code, DUPLICATE), "req_id": secrets.token_hex(16)}
    return result if details is None else {**result, "details": details}


def find_record(records: Mapping[str, Record], record_id: str, what: str, shown: str | None = None) -> Record:
    """The record with an id, or raise Refused. what: the name of the id. shown: the id as the error shows it."""
    if record_id not in records:
        raise Refused(404, 11101, f"{what} '{shown or record_id}' not found. Check the url of your request.")
    return records[record_id]


def body(request: Request) -> Record:
    """The JSON object in the body; raises Refused for anything else."""
    try:
        read = json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refused(400, 11100, "the body is not JSON") from None
    if not isinstance(read, dict):
        raise Refused(400, 11100, "the body is no object")
    return read


def items(sent: Mapping[str, Any], key: str) -> list[Record]:
    """The objects of a list in a body; raises Refused for fields of another type than the API defines."""
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
    """The ids in the body of a deletion, without duplicates."""
    found = body(request).get(key)
    if not isinstance(found, list) or not found or not all(isinstance(each, str) for each in found):
        raise Refused(400, 11102, f"{key} is a list of ids")
    return list(dict.fromkeys(found))


# Switches: what the published documents leave open


SWITCHES = (
    Switch("ready-reads", "After how many reads is a version ready?", ("1",), (0, 10_000)),
    Switch("ready-seconds", "After how many seconds is a version ready?", ("0",), (0, 86_400)),
    Switch(
        "outcome",
        "What is the final status of a new version?",
        ("ready", "failure", "unexpected-error", "conflict", "never", "unknown", "no-status"),
    ),
    Switch("export-reads", "After how many reads is an export ready?", ("1",), (0, 10_000)),
    Switch(
        "export-outcome",
        "What is the final status of an export?",
        ("success", "failed", "unexpected-error", "never", "unknown", "no-address"),
    ),
    Switch(
        "export-early", "What happens to an export that is requested before its version is ready?", ("refuse", "wait")
    ),
    Switch("export-again", "Does a later download of an export have the same bytes?", ("same", "differs")),
    Switch(
        "export-host",
        "Where is an export: at the API with the key, at an address without a key, or behind a redirect to that?",
        ("data-host", "signed", "redirect"),
    ),
    Switch("order", "In which order are versions listed?", ("newest", "oldest", "id")),
    Switch(
        "deleted-meanwhile",
        "How many times is a version deleted between two pages of a listing?",
        ("0",),
        (0, 10_000),
    ),
    Switch("per-page", "What happens to per_page above 1000?", ("clamp", "refuse")),
    Switch("duplicate", "Which error code has an id that exists?", ("40010", "30100")),
    Switch("mixed", "Which HTTP status has mixed success?", ("200", "207")),
    Switch("unknown-fields", "What happens to unknown fields in a body?", ("ignore", "refuse")),
    Switch("filters", "Is the dataset filter of 2021 still supported?", ("gone", "served")),
    Switch("metadata", "Does an overwrite replace metadata or merge it?", ("replace", "merge")),
    Switch("unsent", "Does an overwrite clear the fields that it does not contain?", ("keep", "clear")),
    Switch("action", "What happens to a change of versions without `overwrite`?", ("refuse", "take")),
    Switch("delete-unknown", "What happens when a version that does not exist is deleted?", ("refuse", "ignore")),
    Switch("in-use", "Is every version in use, so that deleting it is a conflict?", ("no", "yes")),
    Switch("delete-dataset", "Can a dataset be deleted that still has versions?", ("yes", "refuse")),
    Switch("key-on-long-path", "Does an app's key work on the long path of its own app?", ("accept", "refuse")),
    Switch("enums", "Are enumerations in responses numbers or names?", ("numbers", "names")),
    Switch("counts", "Are 64-bit integers strings or numbers?", ("text", "numbers")),
    Switch("fraction", "How many digits does the fraction of a second have?", ("6", "9")),
    Switch("empty-metadata", "Is empty metadata left out or an empty object?", ("absent", "object")),
    Switch("origin", "Do versions created on request have a request origin?", ("said", "unsaid")),
    Switch("metrics", "Are counts by part available?", ("there", "computing")),
)


# Archives of exports: deterministic, in the layout that the vendor's client reads


BATCH = 100
"""Inputs in each file."""
_DATE = (2024, 9, 4, 0, 28, 26)


def archive(inputs: list[Mapping[str, Any]], format_: Format) -> bytes:
    """A zip archive with the records of these inputs; it has the addresses of media, not their bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, content in _members(inputs, format_):
            info = zipfile.ZipInfo(name, _DATE)
            opened.writestr(info, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _members(inputs: list[Mapping[str, Any]], format_: Format) -> Iterable[tuple[str, bytes]]:
    if format_ is Format.COCO:
        yield "all/annotations.json", _text(_coco(inputs))
        return
    yield MIMETYPE, (PROTOBUF_TYPE if format_ is Format.PROTOBUF else JSON_TYPE).encode()
    for number, start in enumerate(range(0, max(len(inputs), 1), BATCH)):
        batch = inputs[start : start + BATCH]
        content = protobuf(batch) if format_ is Format.PROTOBUF else _text({"inputs": batch})
        yield f"all/inputbatch_{number}_n{len(batch)}", content


def _coco(inputs: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = sorted({concept["id"] for each in inputs for concept in each.get("data", {}).get("concepts", [])})
    numbers = {name: number for number, name in enumerate(names, 1)}
    images = [{"id": number, "file_name": each["id"]} for number, each in enumerate(inputs, 1)]
    annotations = [
        {"image_id": number, "category_id": numbers[concept["id"]]}
        for number, each in enumerate(inputs, 1)
        for concept in each.get("data", {}).get("concepts", [])
    ]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {
        "images": images,
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, 1)],
        "categories": categories,
    }


def protobuf(inputs: Iterable[Mapping[str, Any]]) -> bytes:
    """An InputBatch with the id, image address, raw text and concepts of each input.

    Encoded here, so that the emulator needs no library; field numbers are those of the published definitions.
    """
    return b"".join(_field(1, _input(each)) for each in inputs)


def _input(each: Mapping[str, Any]) -> bytes:
    data = each.get("data", {})
    parts = b""
    if image := data.get("image"):
        parts += _field(1, _image(image))
    for concept in data.get("concepts", []):
        value = _varint(3 << 3 | 5) + struct.pack("<f", concept.get("value", 1))
        parts += _field(3, _field(1, str(concept["id"]).encode()) + value)
    if raw := data.get("text", {}).get("raw"):
        parts += _field(13, _field(1, raw.encode()))
    return _field(1, each["id"].encode()) + _field(2, parts)


def _image(image: Mapping[str, Any]) -> bytes:
    parts = _field(1, image["url"].encode()) if image.get("url") else b""
    if hosted := image.get("hosted"):
        sizes = b"".join(_field(3, size.encode()) for size in hosted["sizes"])
        parts += _field(5, _field(1, hosted["prefix"].encode()) + _field(2, hosted["suffix"].encode()) + sizes)
    return parts


def picture(name: str) -> bytes:
    """A PNG of one pixel, whose colour depends on the name: a placeholder for an image that does not exist."""
    pixel = b"\0" + hashlib.sha256(name.encode()).digest()[:3]
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixel)), (b"IEND", b""))
    encoded = (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(encoded)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1).encode()
