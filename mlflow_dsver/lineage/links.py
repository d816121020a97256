"""Addresses of the lineage pages. Everything that goes into one is percent-encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from mlflow_dsver.lineage.graph import Kind, NodeId
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import Filter


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
