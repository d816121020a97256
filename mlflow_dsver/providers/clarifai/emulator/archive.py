"""Archives that the emulator serves as exports, in the layout that the vendor's client reads, deterministic."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_dsver.providers.clarifai.codes import Format
from mlflow_dsver.providers.clarifai.records import JSON_TYPE, MIMETYPE, PROTOBUF_TYPE

BATCH = 100
"""Inputs in one file."""
_DATE = (2024, 9, 4, 0, 28, 26)


def archive(inputs: list[Mapping[str, Any]], format_: Format) -> bytes:
    """A zip archive with the records of these inputs; media are named in it and not contained."""
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
    """An InputBatch: of each input its id, the address of its image, its raw text and its concepts.

    Written by hand, so that the emulator needs no library; the numbers are those of the published definitions.
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
    """A PNG of one pixel, whose colour comes from the name: it stands for an image that is nowhere."""
    pixel = b"\0" + hashlib.sha256(name.encode()).digest()[:3]
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixel)), (b"IEND", b""))
    told = (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(told)


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
