"""A run in the words of open standards: what each of them is made from, and which there are.

Every export is a pure function from a `RunRecord` to JSON that we write ourselves; the tests have each standard's
own library judge it. None of them says more than the record: an unknown size or digest is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from mlflow_dsver._version import __version__
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import Link, date_text
from mlflow_dsver.record.facts import Run

PRODUCER = f"urn:mlflow-dsver:{__version__}"
"""Which program wrote an export, as the URI that some standards want."""


class Format(StrEnum):
    """The standards that a run can be exported to."""

    OPENLINEAGE = "openlineage"
    CROISSANT = "croissant"
    RO_CRATE = "ro-crate"
    PROV = "prov"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run and all that its record holds.

    links: by role, with what the provider said. manifests: role to manifest, where there is one, with the sha256 of
    its file. address: MLflow's web address without a closing slash, empty when it has none. sha256: role to the
    sha256 of each file by path, where the bytes were at hand and somebody asked for it.
    """

    run: Run
    links: tuple[Link, ...]
    manifests: Mapping[str, tuple[Manifest, str]] = field(default_factory=dict)
    address: str = ""
    sha256: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """An address that means this run: its page where MLflow has one, else a name."""
        if self.address:
            return f"{self.address}/#/experiments/{self.run.experiment_id}/runs/{self.run.run_id}"
        return f"urn:mlflow:run:{self.run.run_id}"


def export(record: RunRecord, format_: Format | str, *, role: str | None = None) -> Any:
    """The run in the words of a standard, ready for `json.dumps`.

    OpenLineage gives a list of events, in order. role: which input, for Croissant, which describes one dataset;
    None will do where the run has one input only. Raises InvalidArgument otherwise.
    """
    from mlflow_dsver.lineage.export import croissant, openlineage, prov, ro_crate

    if not record.links:
        raise InvalidArgument("the run has no dataset version on its record", reference=record.run.run_id)
    match Format(format_):
        case Format.OPENLINEAGE:
            return openlineage.events(record)
        case Format.CROISSANT:
            return croissant.document(record, _one(record, role))
        case Format.RO_CRATE:
            return ro_crate.metadata(record)
        case Format.PROV:
            return prov.document(record)


def _one(record: RunRecord, role: str | None) -> Link:
    found = [link for link in record.links if role in (None, link.role)]
    if len(found) == 1:
        return found[0]
    roles = ", ".join(link.role for link in record.links)
    raise InvalidArgument(
        "Croissant describes one dataset", reference=record.run.run_id, expected=f"one of the roles {roles}", got=role
    )


def run_uuid(run: Run) -> str:
    """The run's id as the UUID that it is; ids of other stores become a UUID of their own, always the same."""
    from uuid import NAMESPACE_URL, uuid5

    try:
        return str(UUID(hex=run.run_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"urn:mlflow:run:{run.run_id}"))


def time_text(when: datetime | None) -> str:
    """ISO 8601 in UTC; the epoch for a time that nobody knows, where a standard insists on one."""
    return date_text(when) or "1970-01-01T00:00:00Z"
