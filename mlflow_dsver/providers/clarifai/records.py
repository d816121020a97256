"""What an unpacked export says of the inputs: one mapping an input, whether it came as JSON or as protobuf.

An input has its `id` and `data`: concepts, regions, text, metadata, and where its media are. Nothing is fetched here.
Reading protobuf needs the vendor's message definitions: `pip install "mlflow-dsver[clarifai]"`. COCO has a layout of
its own and is read by the tools made for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow_dsver.errors import UnexpectedResponse, Unsupported
from mlflow_dsver.providers.http import wire

MIMETYPE = "mimetype"
JSON_TYPE = "application/x.clarifai-data+json"
PROTOBUF_TYPE = "application/x.clarifai-data+protobuf"
MAX_BATCH = 512 << 20
"""Bytes of one file of an export at most: it is read whole."""


def inputs(folder: str | os.PathLike[str]) -> Iterator[Mapping[str, Any]]:
    """Every input in an unpacked export, batch after batch in order of their names, with the field names of the API.

    Raises Unsupported for COCO and for protobuf without the library that reads it, UnexpectedResponse for a file that
    is not what the export says it is.
    """
    root = Path(folder)
    kind = _kind(root)
    decode = {JSON_TYPE: _from_json, PROTOBUF_TYPE: _from_protobuf}.get(kind)
    if decode is None:
        raise Unsupported(
            "this export has no batches of inputs",
            provider="clarifai",
            operation="read the records",
            expected=f"{JSON_TYPE} or {PROTOBUF_TYPE}",
            got=kind,
            tip="MLFLOW_DSVER_CLARIFAI_FORMAT=json",
        )
    for path in sorted(root.rglob("*")):
        if path.is_file() and path != root / MIMETYPE:
            yield from _batch(path, path.relative_to(root).as_posix(), decode)


def _kind(root: Path) -> str:
    try:
        with (root / MIMETYPE).open("rb") as stream:
            return stream.read(200).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return f"no file {MIMETYPE}"


def _batch(path: Path, name: str, decode: Callable[[bytes], list[Any]]) -> list[Any]:
    with path.open("rb") as stream:
        content = stream.read(MAX_BATCH + 1)
    try:
        if len(content) > MAX_BATCH:
            raise ValueError(f"more than {MAX_BATCH} bytes")
        return decode(content)
    except ValueError as error:
        raise UnexpectedResponse(
            f"{name} is not a batch of inputs: {error}", provider="clarifai", operation="read the records"
        ) from error


def _from_json(content: bytes) -> list[Any]:
    read = wire.read_json(content.decode())
    found = read.get("inputs") if isinstance(read, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("no list of inputs")
    return found


def _from_protobuf(content: bytes) -> list[Any]:
    try:
        from clarifai_grpc.grpc.api.resources_pb2 import InputBatch
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise Unsupported(
            "protobuf cannot be read without Clarifai's message definitions",
            provider="clarifai",
            operation="read the records",
            done="The files are there and untouched",
            tip='pip install "mlflow-dsver[clarifai]", or MLFLOW_DSVER_CLARIFAI_FORMAT=json',
        ) from error
    try:
        batch = InputBatch.FromString(content)
    except DecodeError as error:
        raise ValueError("no protobuf") from error
    return [MessageToDict(each, preserving_proto_field_name=True) for each in batch.inputs]
