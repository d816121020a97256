"""What is known of the provider `delta` without importing it: references, their spellings, and hooks.

A reference is `delta://file/data/t@version` for a folder and `delta://s3/bucket/t@version` (or gs, az) for object
storage. People write `delta:///data/t`, `delta://./t` and `delta://s3://bucket/t`.
"""

from __future__ import annotations

import os.path
from pathlib import Path
from urllib.parse import quote, unquote

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.providers.buckets.info import SCHEMES

NAME = "delta"
FILE = "file"
"""First segment of the name of a table in a folder."""
_EXAMPLES = "delta:///data/table@version or delta://s3://bucket/table@version"


def spelling(text: str) -> tuple[str, str | None] | None:
    """The reference that a folder or an address behind `delta://` means; None for other texts."""
    scheme, separator, body = text.partition("://")
    if not separator or scheme.lower() != NAME:
        return None
    dataset, at, selector = body.rpartition("@")
    if not at or "/" in selector:
        dataset, selector = body, ""
    return _dataset(dataset), selector or None


def dataset_of(address: str) -> str | None:
    """The name, encoded, that a reference has for a folder or an address as other tools write it; None for others."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() == FILE:
        return folder_dataset(Path(unquote(rest))) if rest.startswith("/") else None
    if separator:
        store = SCHEMES.get(scheme.lower())
        bucket, _, prefix = rest.partition("/")
        if store is None or "@" in bucket or "?" in rest:
            return None
        return quote("/".join((store, bucket, *filter(None, prefix.split("/")))))
    if address.startswith("file:/"):  # as Spark and Hadoop write it
        return folder_dataset(Path(unquote(address.removeprefix("file:"))))
    return folder_dataset(Path(address)) if address.startswith("/") else None


def folder_dataset(folder: Path) -> str:
    """The name, encoded, that a reference has for a folder."""
    return quote(FILE + os.path.abspath(folder))  # noqa: PTH100  (`resolve` would follow links)


def _dataset(body: str) -> str:
    if "://" in body:
        if "@" in body or "?" in body:
            raise InvalidReference(
                "an address of a table has no user, account or query in it",
                expected="delta://s3://bucket/table, and credentials by the usual variables",
            )
        found = dataset_of(body if body.lower().startswith("file:") else unquote(body))
        if found is None:
            raise InvalidReference("not an address of a table", got=body[:60], expected=_EXAMPLES)
        return found
    first = body.partition("/")[0]
    if first in ("", ".", ".."):
        if not body:
            raise InvalidReference("names no table", expected=_EXAMPLES)
        return folder_dataset(Path(unquote(body)))
    return body.rstrip("/")


INFO = ProviderInfo(
    title="Delta Lake",
    spelling=spelling,
    folder_reference="mlflow_dsver.providers.delta.folders:reference_of",
    recorded_sources={"delta_table": "mlflow_dsver.providers.delta.recorded:from_mlflow"},
)
