"""Exports a run in open formats: Croissant, PROV, RO-Crate and OpenLineage; and signs statements about it.

Each format is a pure function from a `RunRecord` to JSON, written by ourselves and checked by the tests with the
standard's own library. None states more than the record: an unknown size or digest is left out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.lineage.export import croissant, openlineage, prov, ro_crate
from mlflow_dsver.lineage.export.run_record import RunRecord
from mlflow_dsver.model.versions import Link

__all__ = ["Format", "RunRecord", "export"]


class Format(StrEnum):
    """The standards that a run can be exported to."""

    OPENLINEAGE = "openlineage"
    CROISSANT = "croissant"
    RO_CRATE = "ro-crate"
    PROV = "prov"


def export(record: RunRecord, format_: Format | str, *, role: str | None = None) -> Any:
    """The run in the format of a standard, ready for `json.dumps`.

    OpenLineage gives a list of events, in order. role: which input, for Croissant, which describes one dataset;
    may be None when the run has one input only. Raises InvalidArgument otherwise.
    """
    if not record.links:
        raise InvalidArgument("the run has no dataset version on its record", reference=record.run.run_id)
    match Format(format_):
        case Format.OPENLINEAGE:
            return openlineage.events(record)
        case Format.CROISSANT:
            return croissant.document(record, _link_of(record, role))
        case Format.RO_CRATE:
            return ro_crate.metadata(record)
        case Format.PROV:
            return prov.document(record)


def _link_of(record: RunRecord, role: str | None) -> Link:
    found = [link for link in record.links if role in (None, link.role)]
    if len(found) == 1:
        return found[0]
    roles = ", ".join(link.role for link in record.links)
    raise InvalidArgument(
        "Croissant describes one dataset", reference=record.run.run_id, expected=f"one of the roles {roles}", got=role
    )
