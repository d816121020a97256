"""Addresses: of the lineage pages, and of MLflow's own pages, which open filtered to what is meant.

Everything that goes into an address is percent-encoded; names that would change its meaning cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from mlflow_dsver.lineage.graph import Kind, NodeId
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import Filter

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


@dataclass(frozen=True, slots=True)
class Pages:
    """The lineage pages below a root address: `/dsver` on a server, with its static prefix before it."""

    root: str
    actions: str = ""

    def home(self, **query: str | None) -> str:
        """The list of datasets."""
        return self._page("", query)

    def dataset(self, ref: DatasetRef, **query: str | None) -> str:
        """A dataset."""
        return self._page("/dataset", {"ref": str(ref.at(None)), **query})

    def version(self, ref: DatasetRef, **query: str | None) -> str:
        """A version."""
        return self._page("/version", {"ref": str(ref), **query})

    def run(self, run_id: str, **query: str | None) -> str:
        """A run."""
        return self._page("/run", {"id": run_id, **query})

    def model(self, key: str) -> str:
        """A model, by MLflow's `models:/…`."""
        return self._page("/model", {"key": key})

    def diff(self, before: DatasetRef | None = None, after: DatasetRef | None = None) -> str:
        """The difference of two versions."""
        return self._page("/diff", {"a": str(before) if before else None, "b": str(after) if after else None})

    def search(self, wanted: str | None = None, **query: str | None) -> str:
        """The versions that hold a file."""
        return self._page("/search", {"q": wanted, **query})

    def node(self, node: NodeId) -> str:
        """The page of a node of a graph."""
        path, name = _OF_KIND[node.kind]
        return self._page(path, {name: node.key})

    def _page(self, path: str, query: Mapping[str, str | None]) -> str:
        given = {name: value for name, value in query.items() if value}
        return f"{self.root}{path}" + (f"?{urlencode(given)}" if given else "")


_OF_KIND = {
    Kind.DATASET: ("/dataset", "ref"),
    Kind.VERSION: ("/version", "ref"),
    Kind.RUN: ("/run", "id"),
    Kind.MODEL: ("/model", "key"),
}


def filter_query(wanted: Filter) -> dict[str, str | None]:
    """A filter as the fields of a form or an address; `pages.read_filter` of the server reads them."""
    return {
        "experiment": wanted.experiment,
        "role": wanted.role,
        "grade": wanted.grade,
        "verdict": wanted.verdict,
        "since": f"{wanted.since:%Y-%m-%d}" if wanted.since else None,
        "until": f"{wanted.until:%Y-%m-%d}" if wanted.until else None,
    }
