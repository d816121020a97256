"""The provider `mlflow`: snapshots of the evaluation datasets of `mlflow.genai`, whose records MLflow itself changes.

`mlflow://d-…` is a dataset by its id at the tracking server. A version is the file `records.jsonl`: inputs, outputs,
expectations, source and tags of each record as canonical JSON, sorted, so that the same records are the same version
whatever their order, ids, dates and authors. The files are kept in a store of their own below MLFLOW_DSVER_HOME, in
the layout of the local store; MLflow is asked only when a version is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow_dsver import plugins, settings
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import ContentError, InvalidArgument, SettingsError, Unsupported
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.dataset_history import Record, State
from mlflow_dsver.providers.interface import Capability, TableKind
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.text import one_line

FILE = "records.jsonl"
READ = "mlflow_dsver.tracking.evaluation_records:read_records"
"""Asks MLflow for a dataset. Named by text, so that versions that are there are had without loading MLflow."""
FIELDS = ("inputs", "outputs", "expectations", "source")
"""The parts of a record that are content, beside those of its tags that MLflow did not set; not its id and dates."""


class EvaluationDatasetProvider(LocalProvider):
    """Snapshots of evaluation datasets. store: the folder that keeps them; None for the user's."""

    name = "mlflow"
    capabilities = (LocalProvider.capabilities | {Capability.TABLE}) - {Capability.EVIDENCE}
    no_dataset_text = "no snapshot of it was made"
    create_hint = ""

    def __init__(self, store: Path | None = None, *, progress: Progress = SILENT) -> None:
        super().__init__(settings.home() / "evaluation-datasets" if store is None else store, progress=progress)

    def create(
        self,
        dataset: str,
        folder: Path | None = None,
        *,
        message: str | None = None,
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: bool = False,
    ) -> DatasetVersion:
        """Take a snapshot of the records that MLflow has now; the same records give the same version.

        The metadata has the dataset's name and MLflow's digest, unless some is given. Raises NotFound when MLflow has
        no such dataset, TrackingError when it does not answer.
        """
        ref = DatasetRef(self.name, dataset)
        if folder is not None or reference:
            raise InvalidArgument(
                "a snapshot is taken of the records that MLflow has",
                reference=ref,
                got=f"a folder, {folder}" if folder is not None else "reference=True",
                tip=f"mlflow-dsver versions create {ref}",
            )
        about, records = plugins.load(READ)(ref)
        scratch = settings.home() / "cache"
        scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="records-", dir=scratch) as parent:
            made = Path(parent) / "files"
            made.mkdir()
            with (made / FILE).open("wb") as stream:
                stream.writelines(canonical(ref, records))
            version = super().create(dataset, made, message=message, tags=tags, metadata=metadata)
        if not version.metadata:
            version = self.update(version, metadata=about)
        return version

    def table(self, version: DatasetVersion, kind: TableKind) -> Any:
        """The records as a DataFrame of pandas, as `mlflow.genai.evaluate(data=…)` takes it."""
        if kind != "pandas":
            raise Unsupported(f"cannot load records with {kind}", provider=self.name, expected="pandas")
        try:
            import pandas
        except ImportError as error:
            raise SettingsError(
                "records are loaded with pandas, which is not installed", tip="pip install pandas"
            ) from error
        with self.open(version, FILE) as stream:
            return pandas.DataFrame([json.loads(line) for line in stream])

    def _version(self, state: State, record: Record) -> DatasetVersion:
        version = super()._version(state, record)
        name = version.metadata.get("name")
        return replace(version, dataset_name=name if isinstance(name, str) and name else None)


def canonical(ref: DatasetRef, records: Iterable[Any]) -> list[bytes]:
    """The lines of `records.jsonl`. Raises ContentError for a record that is no JSON, or when there is none."""
    lines = []
    for record in records:
        fields = {name: _plain(getattr(record, name, None)) for name in FIELDS}
        fields["tags"] = {key: value for key, value in (record.tags or {}).items() if not key.startswith("mlflow.")}
        known = {name: value for name, value in fields.items() if value not in (None, {}, [])}
        try:
            text = json.dumps(known, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            lines.append(text.encode() + b"\n")
        except (TypeError, ValueError) as error:
            raise ContentError(
                f"a record cannot be kept as JSON: {one_line(error, 200)}", reference=ref, done="No version was made"
            ) from error
    if not lines:
        raise ContentError("the dataset has no record", reference=ref, done="No version was made")
    return sorted(lines)


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value
