"""The values that providers declare and return; `interface` has them as well."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

from mlflow_dsver.content.patterns import Rules


class Capability(StrEnum):
    """Optional capabilities of a provider, beyond resolving and listing."""

    DATASETS = "datasets"
    """Lists the datasets that it has."""
    CREATE = "create"
    """Makes versions."""
    UPDATE = "update"
    """Changes message, tags and metadata of a version."""
    DELETE = "delete"
    """Deletes versions."""
    TAGS = "tags"
    """Has tags, and a tag names one version of a dataset."""
    BYTES = "bytes"
    """Knows the files of a version, and can put them into a folder."""
    HOLD = "hold"
    """Keeps a version as long as there is a reason to; see `model.holds`."""
    EVIDENCE = "evidence"
    """Compares the files of a version with what the store that keeps them says, without fetching them."""
    TABLE = "table"
    """A version is a table, and can be loaded as one."""


TableKind = Literal["pandas", "polars", "arrow", "spark"]
"""What a table is loaded as: a DataFrame of pandas, Polars or Spark, or a `pyarrow.Table`."""


@dataclass(frozen=True, slots=True)
class Health:
    """A provider's state for `mlflow-dsver doctor`: `ok`, and one line with the reason or the address reached.

    settings: each setting that the provider reads, and where its value comes from ("environment", a file's path, "not
    set"); never the value of a secret.
    """

    ok: bool
    summary: str
    settings: Mapping[str, str]

    @classmethod
    def not_installed(cls, package: str, why: object) -> Health:
        """That of a provider whose optional package is not installed; `doctor` calls it not set up."""
        return cls(False, str(why), {package: "not set"})


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """The current location of a version's bytes, for comparison with a record; unchecked.

    folder: holds the files under their paths; or, where `by_digest`, each content once, as `ab/<64 hex digits>`.
    unchanged: from a file's address below `folder` and its stat (of a link itself, not of its target) to whether the
    file cannot have changed since its bytes were hashed; None when that is unknown for all files. manifest: the
    provider's own copy of the manifest; None when it keeps none. given: the folder that `path` returned, where that
    is another one; None when there is none, or not recently. rules: the patterns that the version was created with,
    as the provider recorded them; None where it did not. hashed: the manifest of the files as they were hashed on
    this machine, where the version's own has what a store says of them instead.
    """

    folder: Path
    by_digest: bool = False
    unchanged: Callable[[str, os.stat_result], bool] | None = None
    manifest: Path | None = None
    given: Path | None = None
    rules: Rules | None = None
    hashed: Path | None = None


class KeepList(NamedTuple):
    """What the cleaner of a store that has no holds is told, so that it keeps some versions.

    versions: as the cleaner takes them, sorted. command: what to call or run, with the versions in it. missing: ids
    of those that the store does not have any more.
    """

    versions: tuple[int | str, ...]
    command: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What a store says of the files of a version now, compared with the manifest.

    files: number of files that were compared. missing, changed, unknown: paths, sorted; of the unknown ones the store
    said too little, or nothing. reason: why, for the first of them. read: bytes that were read; None when only the
    store's description was asked for. by: what the comparison rests on, such as `version id` or `ETag and date`.
    weakly: how many of the files are the same by evidence against accident only (MD5, CRC, ETag).
    """

    files: int
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    reason: str | None = None
    read: int | None = None
    by: str = ""
    weakly: int = 0
