"""Loads a version as a table: a DataFrame of pandas, Polars or Spark, or a `pyarrow.Table`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mlflow_dsver.errors import CorruptObject, InvalidArgument, NotFound, SettingsError
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.delta import check
from mlflow_dsver.providers.delta.failures import deltalake_errors
from mlflow_dsver.providers.delta.info import NAME
from mlflow_dsver.providers.delta.places import Place
from mlflow_dsver.providers.delta.snapshot import Snapshot
from mlflow_dsver.providers.values import TableKind
from mlflow_dsver.text import one_line

_LIBRARIES: dict[str, str] = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow", "spark": "pyspark"}


def load_table(place: Place, version: DatasetVersion, manifest: Manifest, kind: TableKind) -> Any:
    """The table at a version, which is proven first; its files are looked at before any is read."""
    if kind not in _LIBRARIES:
        raise InvalidArgument("no such kind of table", got=one_line(kind, 40), expected=", ".join(_LIBRARIES))
    libraries = {name: _library(name, version) for name in dict.fromkeys((_LIBRARIES[kind], *_needed(kind)))}
    found = check.prove(place, version, manifest)
    _look(place, version, manifest)
    if kind == "spark":
        return _spark(libraries["pyspark"], place, found.number)
    with deltalake_errors(version.ref, "its files cannot be read as a table", "load the table"):
        table = _arrow(libraries["pyarrow"], found)
        if kind == "pandas":
            return table.to_pandas()
        return libraries["polars"].from_arrow(table) if kind == "polars" else table


def _needed(kind: TableKind) -> tuple[str, ...]:
    return () if kind == "spark" else ("pyarrow",)


def _arrow(pyarrow: Any, found: Snapshot) -> Any:
    mapped = found.table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none"
    try:
        if not mapped:
            return _ordered(found)
    except Exception as error:
        if type(error).__name__ != "DeltaProtocolError":
            raise
    # Deletion vectors and mapped columns, which deltalake's dataset for pyarrow cannot read, but its scan can.
    table = pyarrow.table(found.table.scan().read_all())
    return table.cast(pyarrow.schema(found.table.schema().to_arrow()))


def _ordered(found: Snapshot) -> Any:
    dataset = found.table.to_pyarrow_dataset()
    # A checkpoint lists the same files in another order than the commits did, and rows come in that order.
    fragments = sorted(dataset.get_fragments(), key=lambda fragment: fragment.path)
    whole = import_module("pyarrow.dataset").FileSystemDataset
    return whole(fragments, dataset.schema, dataset.format, dataset.filesystem).to_table()


def _spark(pyspark: Any, place: Place, number: int) -> Any:
    sessions = import_module("pyspark.sql").SparkSession
    session = sessions.getActiveSession() or sessions.builder.getOrCreate()
    return session.read.format("delta").option("versionAsOf", number).load(place.uri)


def _look(place: Place, version: DatasetVersion, manifest: Manifest) -> None:
    """Raise NotFound or CorruptObject when a file is gone or of another size."""
    missing, others = check.look(place, manifest) or ([], [])
    if missing:
        raise _gone(version, f"{len(missing):,} of {len(manifest):,}, such as {one_line(missing[0], 200)}")
    if others:
        raise CorruptObject(
            f"the file {one_line(others[0], 200)} is not what was recorded",
            reference=version.ref,
            expected="its recorded size",
            got=f"another size for {len(others):,} of {len(manifest):,} files",
        )


def _gone(version: DatasetVersion, what: str) -> NotFound:
    return NotFound(
        f"files of this version are gone: {what}",
        provider=NAME,
        operation="load the table",
        reference=version.ref,
        tip="a vacuum removed it; keep_versions keeps the files of versions that are still needed",
    )


def _library(name: str, version: DatasetVersion) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise SettingsError(
            f"loading this table needs {name}, which is not installed",
            reference=version.ref,
            tip=f"pip install {name}",
        ) from error
