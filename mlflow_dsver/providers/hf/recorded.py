"""Reads what MLflow's own source for Hugging Face (`mlflow.data.from_huggingface`) recorded on a run.

It records the revision as it was asked for, so only a full commit id names a version. Nothing is asked of the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.plugins import RecordedVersion
from mlflow_dsver.providers.hf.info import COMMIT, NAME, Place

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?\Z", re.ASCII)
_BUILDERS = frozenset({
    "arrow", "audiofolder", "cache", "csv", "eval", "generator", "hdf5", "imagefolder", "json", "lance",
    "niftifolder", "pandas", "parquet", "pdffolder", "spark", "sql", "text", "videofolder", "webdataset", "xml",
})  # fmt: skip
"""Names that `load_dataset` takes for kinds of files, and not for repositories."""


def from_mlflow(source: Mapping[str, Any]) -> list[RecordedVersion]:
    """The dataset of a source of the type `hugging_face`: `path` and `revision`, as `load_dataset` was told them."""
    path, revision = source.get("path"), source.get("revision")
    if (
        not isinstance(path, str)
        or path in _BUILDERS
        or not _REPOSITORY.match(path)
        or path.endswith((".py", ".git"))
    ):
        return []
    dataset = DatasetRef(NAME, Place("datasets", path).dataset)
    asked = revision if isinstance(revision, str) and revision else None
    requested = dataset.at(asked)
    exact = asked is not None and COMMIT.match(asked.lower()) is not None
    return [RecordedVersion(str(dataset.at(asked.lower()) if exact and asked else dataset), str(requested))]
