"""Addresses of pages in MLflow's user interface, opened filtered to a dataset version where that is meant.

Everything that goes into an address is percent-encoded, so that no name can change its meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from mlflow_dsver.model.refs import DatasetRef

_HTTP = re.compile(r"https?://[^\s\x00-\x20<>\"'`\\]+\Z", re.IGNORECASE)


def web_address(text: str | None) -> str | None:
    """The text where it is an http or https address, else None: a link never leads anywhere else."""
    return text if text and len(text) <= 2000 and _HTTP.match(text) else None


@dataclass(frozen=True, slots=True)
class MLflow:
    """MLflow's user interface at a root address without a closing slash; empty for the same server."""

    root: str = ""

    def run(self, experiment_id: str, run_id: str) -> str:
        """The page of a run."""
        return f"{self.root}/#/experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"

    def card(self, experiment_id: str, run_id: str) -> str:
        """The artifact `dsver/card.md` of a run, opened in the viewer."""
        return f"{self.run(experiment_id, run_id)}/artifacts/dsver/card.md"

    def experiment(self, experiment_id: str) -> str:
        """The runs of an experiment."""
        return f"{self.root}/#/experiments/{quote(experiment_id, safe='')}/runs"

    def runs_using(self, experiment_id: str, ref: DatasetRef) -> str:
        """The runs of an experiment that used a version, or any version where the reference names none."""
        return f"{self.experiment(experiment_id)}?{urlencode({'searchFilter': dataset_filter(ref)})}"

    def model(self, name: str, version: str) -> str:
        """The page of a registered model's version."""
        return f"{self.root}/#/models/{quote(name, safe='')}/versions/{quote(version, safe='')}"


def dataset_filter(ref: DatasetRef) -> str:
    """MLflow's search filter for the runs that used a version, or any version of a dataset.

    Canonical references hold neither quotes nor backslashes, so quoting is safe.
    """
    if ref.selector is None:
        return f"dataset.name LIKE '{ref}@%'"
    return f"dataset.name = '{ref}'"
