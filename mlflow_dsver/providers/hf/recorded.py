"""Reads what MLflow's own source for Hugging Face (`mlflow.data.from_huggingface`) recorded on a run.

It records the revision as it was asked for, so only a full commit id names a version. Nothing is asked of the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.plugins import RecordedVersion
from mlflow_dsver.providers.hf.info import COMMIT, NAME, Place, normalised

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?\Z", re.ASCII)
_BUILDERS = frozenset({
    "arrow", "audiofolder", "cache", "csv", "eval", "generator", "hdf5", "imagefolder", "json", "lance",
    "niftifolder", "pandas", "parquet", "pdffolder", "spark", "sql", "text", "videofolder", "webdataset", "xml",
})  # fmt: skip
"""Names that `load_dataset` takes for kinds of files, and not for repositories."""
_MAX_FILES = 1000
"""Files of a source that are looked at."""


def from_mlflow(source: Mapping[str, Any]) -> list[RecordedVersion]:
    """The datasets of a source of the type `hugging_face`: `path` and `revision`, as `load_dataset` was told them.

    Where `path` is a kind of files, the repositories of those `data_files` that are addresses `hf://…`.
    """
    path, revision = source.get("path"), source.get("revision")
    if not isinstance(path, str):
        return []
    if path in _BUILDERS:
        found = dict.fromkeys(filter(None, map(_of_file, islice(_texts(source.get("data_files")), _MAX_FILES))))
        return list(found)
    if not _REPOSITORY.match(path) or path.endswith((".py", ".git")):
        return []
    return [_recorded(Place("datasets", path), revision if isinstance(revision, str) and revision else None)]


def _recorded(place: Place, asked: str | None) -> RecordedVersion:
    dataset = DatasetRef(NAME, place.dataset)
    exact = asked.lower() if asked is not None and COMMIT.match(asked.lower()) else None
    return RecordedVersion(str(dataset.at(exact)), str(dataset.at(asked)))


def _of_file(address: str) -> RecordedVersion | None:
    """The repository and revision of a file's address `hf://…`; None for another file."""
    try:
        ref = parse(address)
        place, asked = normalised(ref.dataset, ref.selector)
    except InvalidReference:
        return None
    return _recorded(place.whole, asked) if ref.provider == NAME else None


def _texts(files: object) -> Iterator[str]:
    """The texts in `data_files`, which is one, a list, or a mapping of splits to either."""
    if isinstance(files, str):
        yield files
    elif isinstance(files, Mapping):
        for each in files.values():
            yield from _texts(each) if not isinstance(each, Mapping) else ()
    elif isinstance(files, list):
        yield from (each for each in files if isinstance(each, str))
