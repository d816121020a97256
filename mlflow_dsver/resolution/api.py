"""`dsver.resolve` and `dsver.create_version`: versions without a run. Nothing here imports MLflow."""

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
    """The version that a reference means now; a version is handed back as it is. Nothing is linked.

    Below `mlflow-dsver run` the same words mean what they mean to all its processes, and among the ranks of a job
    what they meant to the first that asked. `get_provider(…).resolve(…)` asks in any case. Raises InvalidReference,
    UnknownProvider, NotFound and the provider's other errors.
    """
    return resolver.answer(ref).version


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
    """Make a version of a folder's content, whole or not at all.

    ref: the dataset, without a selector. folder: None where the provider makes versions of what it has. message,
    tags, metadata: kept with the version; one text of tags is separated by commas. reference: record what the files
    are and leave the bytes where they lie; such a version proves less. options: what the provider's own `create`
    takes beside these, such as `commit=False`. Content that the dataset has already gives the same
    version back. Raises InvalidReference, InvalidArgument, ContentError, and the provider's errors.
    """
    dataset = ref.ref.at(None) if isinstance(ref, DatasetVersion) else parse(ref)
    made = create(NewVersion(dataset, folder, message, tags, metadata, reference, options))
    resolver.forget(made.ref)
    return made
