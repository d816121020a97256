"""Addresses of pages in MLflow's user interface, opened filtered to a dataset version where that is meant.

Everything that goes into an address is percent-encoded, so that no name can change its meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from mlflow_dsver.model.refs import DatasetRef

_HTTP = re.compile(r"https?://[^\s\x00-\x20<>\"'`\\]+\Z", re.IGNORECASE)


def web_address(text: str | None) -> str | None:
    """The text where it is an http or https address, else None: a link never leads anywhere else."""
    return text if text and len(text) <= 2000 and _HTTP.match(text) else None


@dataclass(frozen=True, slots=True)
class MLflow:
    """MLflow's user interface at a root address without a closing slash; empty for the same server.

    workspace: the one that the pages are in; None where the server has no workspaces.
    """

    root: str = ""
    workspace: str | None = None

    def home(self) -> str:
        """The first page."""
        return self._page("")

    def run(self, experiment_id: str, run_id: str, workspace: str | None = None) -> str:
        """The page of a run. workspace: that of the run, where it is another than that of the other pages."""
        here = replace(self, workspace=workspace or self.workspace)
        return here._page(f"experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}")

    def card(self, experiment_id: str, run_id: str) -> str:
        """The artifact `dsver/card.md` of a run, opened in the viewer."""
        run = f"experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"
        return self._page(f"{run}/artifacts/dsver/card.md")

    def experiment(self, experiment_id: str) -> str:
        """The runs of an experiment."""
        return self._page(f"experiments/{quote(experiment_id, safe='')}/runs")

    def runs_using(self, experiment_id: str, ref: DatasetRef) -> str:
        """The runs of an experiment that used a version, or any version where the reference names none."""
        return self._page(f"experiments/{quote(experiment_id, safe='')}/runs", searchFilter=dataset_filter(ref))

    def model(self, name: str, version: str) -> str:
        """The page of a registered model's version."""
        return self._page(f"models/{quote(name, safe='')}/versions/{quote(version, safe='')}")

    def _page(self, path: str, **query: str) -> str:
        given = query if self.workspace is None else {**query, "workspace": self.workspace}
        return f"{self.root}/#/{path}" + (f"?{urlencode(given)}" if given else "")


def dataset_filter(ref: DatasetRef) -> str:
    """MLflow's search filter for the runs that used a version, or any version of a dataset.

    Canonical references hold neither quotes nor backslashes, so quoting is safe.
    """
    if ref.selector is None:
        return f"dataset.name LIKE '{ref}@%'"
    return f"dataset.name = '{ref}'"
