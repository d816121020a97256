"""A dataset version as MLflow's kind of dataset, for `mlflow.log_input` and for metrics that name their dataset."""

from __future__ import annotations

import json
from typing import Any

from mlflow.data.dataset import Dataset
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag

from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import schema
from mlflow_dsver.tracking.source import DatasetVersionSource


class VersionedDataset(Dataset):  # type: ignore[misc]
    """A dataset version: its canonical reference is the name, its source leads back to the files.

    requested: the reference as written. grade: how much the link proves, None when there is no link.
    files: how many there are, None when that is unknown. changes: since which version, None when that is unknown.
    digest: None computes the one of a first role.
    """

    def __init__(
        self,
        version: DatasetVersion,
        *,
        requested: str | None = None,
        grade: Grade | None = None,
        files: int | None = None,
        changes: str | None = None,
        digest: str | None = None,
    ) -> None:
        self.version = version
        self._profile = schema.profile(version, requested, grade, files, changes)
        super().__init__(DatasetVersionSource.of(version, requested), name=str(version.ref), digest=digest)

    def __repr__(self) -> str:
        return f"VersionedDataset({self.name!r}, digest={self.digest!r})"

    def _compute_digest(self) -> str:
        return schema.digest(self.version)

    @property
    def profile(self) -> dict[str, str]:
        """What MLflow's pages show: at most 10 short lines."""
        return self._profile

    @property
    def schema(self) -> None:
        """None: a folder of files has no columns."""
        return

    def to_dict(self) -> dict[str, Any]:
        """As MLflow stores it."""
        return {**super().to_dict(), "profile": json.dumps(self._profile, ensure_ascii=False)}


def dataset_input(link: Link, digest: str, files: int | None = None, changes: str | None = None) -> DatasetInput:
    """MLflow's dataset input for a link, with the role as its context."""
    dataset = VersionedDataset(
        link.version, requested=link.requested, grade=link.grade, files=files, changes=changes, digest=digest
    )
    return DatasetInput(DatasetEntity(**dataset.to_dict()), [InputTag("mlflow.data.context", link.role)])
