"""`dsver.resolve` and `dsver.create_version`: versions without a run, and without importing MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_dsver.model.new_versions import NewVersion
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.resolution import resolver
from mlflow_dsver.resolution.creation import create
from mlflow_dsver.resolution.version_files import RefLike


def resolve(ref: RefLike) -> DatasetVersion:
    """The version that a reference resolves to now; a version is returned unchanged. Nothing is linked to a run.

    All processes started by `mlflow-dsver run`, and all ranks of a distributed job, get the same version for the same
    reference. `get_provider(…).resolve(…)` always sends a request to the provider. Raises InvalidReference,
    UnknownProvider, NotFound and the provider's other errors.
    """
    return resolver.resolve_input(ref).version


def create_version(
    ref: RefLike,
    folder: str | Path | None = None,
    *,
    message: str | None = None,
    tags: str | Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    reference: bool = False,
    **options: str | int | bool,
) -> DatasetVersion:
    """Create a version of a folder's content, atomically.

    ref: the dataset, without a selector. folder: None if the provider creates versions of data that it already has.
    message, tags, metadata: stored with the version; tags as one text are separated by commas. reference: store only
    the manifest and leave the files where they are; such a version proves less. options: further arguments of the
    provider's `create`, such as `commit=False`. If the dataset already has this content, its version
    is returned. Raises InvalidReference, InvalidArgument, ContentError, and the provider's errors.
    """
    dataset = ref.ref.at(None) if isinstance(ref, DatasetVersion) else parse(ref)
    version = create(NewVersion(dataset, folder, message, tags, metadata, reference, options))
    resolver.forget(version.ref)
    return version
