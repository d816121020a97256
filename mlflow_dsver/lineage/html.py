"""Renders views to HTML: pages for a server, and one self-contained page for a file.

Jinja with autoescaping. In addition every text goes through `one_line`, which escapes control and direction-changing
characters and limits the length. No page has a script, and the content security policy allows none. Rendering is
pure.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mlflow_dsver.lineage import svg
from mlflow_dsver.lineage.graph import TONES, Kind, NodeId, outline
from mlflow_dsver.lineage.views import (
    DatasetPage,
    DiffPage,
    IndexPage,
    MessagePage,
    ModelPage,
    Page,
    Report,
    RunPage,
    SearchPage,
    VersionPage,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import Filter
from mlflow_dsver.record.mlflow_urls import MLflow, web_address
from mlflow_dsver.text import human_bytes, human_count, one_line

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST = 4000
"""Characters of one value in a page at most; addresses with two references need about half as many."""

VERDICTS = ("MATCH", "CHANGED", "MISSING", "UNREACHABLE", "UNVERIFIABLE", "none")
_GRADES = {
    "A": "the bytes were hashed here",
    "B": "the provider says that the version is immutable",
    "C": "only sizes or dates were compared",
    "D": "mutable, uncommitted or unknown",
}
_TEMPLATES = {
    IndexPage: "index",
    DatasetPage: "dataset",
    VersionPage: "version",
    RunPage: "run",
    ModelPage: "model",
    DiffPage: "diff",
    SearchPage: "search",
    MessagePage: "message",
}


def render(page: Page, pages: Pages, mlflow: MLflow, nonce: str) -> str:
    """A page of the server. nonce: of the style sheet in the response's content security policy."""
    name = _TEMPLATES[type(page)]
    template = _environment().get_template(f"{name}.html")
    return template.render(page=page, pages=pages, mlflow=mlflow, nonce=nonce, here=name, policy=None, style=_style())


def policy(nonce: str) -> str:
    """The content security policy of a page: its own style sheet, and forms to the same server."""
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )


def static_page(report: Report, mlflow: MLflow) -> str:
    """The report as one self-contained page, whose policy allows only its own style sheet.

    mlflow: addresses of the runs' pages; an empty root for no links.
    """
    style = _style()
    digest = b64encode(hashlib.sha256(str(style).encode()).digest()).decode()
    return (
        _environment()
        .get_template("static.html")
        .render(
            report=report,
            pages=Anchors(),
            mlflow=mlflow,
            nonce=None,
            here="static",
            style=style,
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        )
    )


@dataclass(frozen=True, slots=True)
class Anchors:
    """The anchors of a self-contained page, with the methods of `Pages`."""

    def anchor(self, key: object) -> str:
        """The id of a row: a hash, since a key may be any text."""
        return "n" + hashlib.sha256(str(key).encode()).hexdigest()[:16]

    def version(self, ref: DatasetRef) -> str:
        """The anchor of a version."""
        return "#" + self.anchor(ref)

    def node(self, node: NodeId) -> str:
        """The anchor of a node."""
        return "#" + self.anchor(node.key)


@dataclass(frozen=True, slots=True)
class Pages:
    """The lineage pages below a root address: `/dsver` on a server, with its static prefix before it.

    workspace: the one that the pages are about; None where the server has no workspaces.
    """

    root: str
    actions: str = ""
    workspace: str | None = None

    def elsewhere(self, workspace: str) -> str:
        """The list of datasets of another workspace."""
        return replace(self, workspace=workspace).home()

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

    def search(self, text: str | None = None, **query: str | None) -> str:
        """The versions that hold a file."""
        return self._page("/search", {"q": text, **query})

    def node(self, node: NodeId) -> str:
        """The page of a node of a graph."""
        path, name = _OF_KIND[node.kind]
        return self._page(path, {name: node.key})

    def _page(self, path: str, query: Mapping[str, str | None]) -> str:
        given = {name: value for name, value in {**query, "workspace": self.workspace}.items() if value}
        return f"{self.root}{path}" + (f"?{urlencode(given)}" if given else "")


_OF_KIND = {
    Kind.DATASET: ("/dataset", "ref"),
    Kind.VERSION: ("/version", "ref"),
    Kind.RUN: ("/run", "id"),
    Kind.MODEL: ("/model", "key"),
}


def filter_query(filters: Filter) -> dict[str, str | None]:
    """A filter as the fields of a form or an address; `pages.read_filter` of the server reads them."""
    return {
        "experiment": filters.experiment,
        "role": filters.role,
        "grade": filters.grade,
        "verdict": filters.verdict,
        "since": f"{filters.since:%Y-%m-%d}" if filters.since else None,
        "until": f"{filters.until:%Y-%m-%d}" if filters.until else None,
    }


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
    from jinja2.runtime import Context
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mlflow_dsver.lineage"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    @pass_context
    def drawing(context: Context, page: Any) -> Markup:
        centre = getattr(page, "centre", None)
        return Markup(svg.svg(page.graph, context["pages"].node, centre))  # noqa: S704  (escapes all that it writes)

    environment.globals.update(
        drawing=drawing,
        summary=lambda graph: svg.summary(graph).removeprefix("Lineage: "),
        outlined=outline,
        tone=tone,
        left_out=left_out,
        verdicts=VERDICTS,
        grade_meaning=lambda text: _GRADES.get(str(text)[:1], ""),
    )
    environment.filters.update(
        short=lambda text, limit: one_line(text, limit),
        date=lambda when: f"{when:%Y-%m-%d %H:%M}" if when else "",
        day=lambda when: f"{when:%Y-%m-%d}" if when else "",
        size=human_bytes,
        count=lambda number: "" if number is None else f"{number:,}",
        web=web_address,
        reference=short_reference,
        query=urlencode,
        fields=filter_query,
    )
    return environment


def left_out(page: Any) -> list[tuple[str, str]]:
    """The nodes that a page's drawing omits: how many of which kind, and the anchor of their table."""
    if isinstance(page, Report):
        models = {model.key for run in page.runs for model in run.models}
        totals = {Kind.VERSION: sum(len(rows) for _, rows in page.datasets), Kind.RUN: len(page.runs)}
        totals[Kind.MODEL] = len(models) + len(page.orphans)
        places = {Kind.VERSION: "#datasets", Kind.RUN: "#all-runs", Kind.MODEL: "#all-runs"}
    else:
        totals = dict(getattr(page, "totals", {}))
        places = {Kind.VERSION: "#versions", Kind.RUN: "#runs", Kind.MODEL: "#models"}
    found = []
    for kind, total in totals.items():
        shown = len(page.graph.of(kind))
        if kind is Kind.MODEL and not isinstance(page, Report):  # the total is of registered models
            listed = {row.model.key for row in page.models}
            shown = sum(node.id.key in listed for node in page.graph.of(kind))
        if total > shown:
            what = "registered model" if kind is Kind.MODEL and not isinstance(page, Report) else kind.value
            found.append((human_count(total - shown, what), places[kind]))
    return found


def tone(verdict: object) -> str:
    """The CSS class of a verdict: good, bad, or unsure."""
    return TONES.get(str(verdict), "unsure")


def short_reference(ref: DatasetRef, dataset_name: str | None = None) -> str:
    """A version's reference, shortened for people: with the dataset's name, where there is one."""
    name = dataset_name or ref.dataset
    dataset = name if len(name) <= 24 else "…" + name[-23:]
    return f"{dataset}@{(ref.selector or '')[:12]}"


def _safe(value: object) -> object:
    from markupsafe import Markup

    if value is None or isinstance(value, Markup | int | float | datetime):
        return value
    return one_line(value, LONGEST)


@cache
def _style() -> Any:
    from markupsafe import Markup

    own = files(__package__).joinpath("style.css").read_text("utf-8")
    return Markup(own + svg.style())  # noqa: S704  (our own files)
