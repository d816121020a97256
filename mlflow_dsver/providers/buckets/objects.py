"""What a listing of a bucket tells: the objects, and when and how they were listed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from mlflow_dsver.model.evidence import Checksum


class ObjectState(NamedTuple):
    """One object: its key, size in bytes, version id, ETag, date of the last write and checksums, as the store says.

    version: None where the store keeps only the last state. etag: with or without quotes; None for none.
    """

    key: str
    size: int
    version: str | None
    etag: str | None
    modified: datetime
    checksums: tuple[Checksum, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects below a prefix. moment: of the server's clock, with time zone; None where it does not tell.

    keeps_versions: whether the bucket keeps every version; None when that may not be asked. source: how they were
    listed, such as `versions` or `inventory`.
    """

    objects: Iterable[ObjectState]
    moment: datetime | None
    keeps_versions: bool | None
    source: str
