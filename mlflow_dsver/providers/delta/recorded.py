"""What MLflow's own Delta source says of a version: a path and a number.

A number names no exact version, since a table made anew at the same place counts from 0 again; and MLflow leaves the
number out when it is 0. So a record gives the table, and the number as what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_dsver.plugins import RecordedVersion
from mlflow_dsver.providers.delta.info import NAME, dataset_of


def from_mlflow(source: Mapping[str, Any]) -> list[RecordedVersion]:
    """The table that a source of type `delta_table` names by its path; nothing for one of a catalogue."""
    path, number = source.get("path"), source.get("delta_table_version")
    dataset = dataset_of(path) if isinstance(path, str) else None
    if dataset is None:
        return []
    reference = f"{NAME}://{dataset}"
    if isinstance(number, str) and number.isdecimal():
        number = int(number)
    requested = f"{reference}@{number}" if type(number) is int and number >= 0 else reference
    return [RecordedVersion(reference, requested)]
