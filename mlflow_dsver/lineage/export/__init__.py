"""A run in open formats: Croissant, PROV, RO-Crate and OpenLineage; and signed statements about it.

Each format is a pure function from a `RunRecord` to JSON, written by ourselves and checked by the tests with the
standard's own library. None states more than the record: an unknown size or digest is left out. `lineage.api` makes
the `RunRecord` of a run and selects the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from mlflow_dsver._version import __version__
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import Link
from mlflow_dsver.record.facts import Run

PRODUCER = f"urn:mlflow-dsver:{__version__}"
"""The program that wrote an export, as the URI that some standards require."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run and all that its record holds.

    links: by role, with the provider's raw response. manifests: role to manifest, where there is one, and the sha256
    of its file. address: MLflow's web address without a closing slash, empty when it has none. sha256: role to the
    sha256 of each file by path, where it was requested and the files are on this host.
    """

    run: Run
    links: tuple[Link, ...]
    manifests: Mapping[str, tuple[Manifest, str]] = field(default_factory=dict)
    address: str = ""
    sha256: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The run's page where MLflow has a web address, else a URN."""
        if self.address:
            return f"{self.address}/#/experiments/{self.run.experiment_id}/runs/{self.run.run_id}"
        return f"urn:mlflow:run:{self.run.run_id}"


def run_uuid(run: Run) -> str:
    """The run's id as a UUID; an id that is none (of another tracking store) is hashed to one."""
    try:
        return str(UUID(hex=run.run_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"urn:mlflow:run:{run.run_id}"))


def time_text(when: datetime | None) -> str:
    """ISO 8601 in UTC; the epoch for an unknown time, where a standard requires one."""
    return date_text(when) or "1970-01-01T00:00:00Z"
