"""Renderers are pure functions, and no text from outside means anything in what they write."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from lineage_samples import HOSTILE, history, hostile_runs, use

from mlflow_dsver.lineage import html, render, svg
from mlflow_dsver.lineage.graph import Kind, NodeId, build
from mlflow_dsver.lineage.html import Pages
from mlflow_dsver.lineage.views import (
    DatasetPage,
    DatasetRow,
    DiffPage,
    Hit,
    IndexPage,
    MessagePage,
    ModelPage,
    Page,
    RunPage,
    SearchPage,
    VersionPage,
    VersionRow,
    report,
)
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.model.refs import parse
from mlflow_dsver.record.mlflow_urls import MLflow, dataset_filter, web_address

PAGES = Pages("/dsver", "/ajax-api/2.0/dsver")
MLFLOW = MLflow("http://127.0.0.1:5000")


class Reader(HTMLParser):
    """Collects what a browser would make of a page: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def every_page(text: str) -> list[Page]:
    """Each kind of page, with a text from outside wherever one may stand."""
    runs = tuple(run for run in hostile_runs() if run.name == text) or tuple(history())
    graph = build(runs)
    ref = parse("local://digits@v1")
    row = VersionRow(runs[0].uses[0], 1, runs[0].started, runs[0].started)
    entry = FileEntry(text[:5000], 1, "0" * 64)
    centre = NodeId(Kind.RUN, runs[0].run_id)
    changes = Difference((entry,), (entry,), ((entry, entry),), ((entry, entry),), 3)
    return [
        IndexPage((DatasetRow(ref.at(None), 1, 1, None, ref),), text, text),
        DatasetPage(ref.at(None), (row, row), runs, graph, centre, versions_after="5", runs_after=text),
        VersionPage(row, runs, graph, centre, previous=ref, runs_after=text),
        RunPage(runs[0], graph, centre, can_check=True, note=text),
        ModelPage(runs[0].models[0], runs, graph, centre),
        DiffPage(ref, ref, changes),
        DiffPage(ref, ref, reason=text),
        SearchPage(text, (Hit(ref, entry.path, 1, entry.digest),), 1, 1, "7"),
        MessagePage(text, text),
    ]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_a_hostile_text_is_shown_and_never_run(text: str) -> None:
    """No element, attribute, address or style comes from a text; nothing grows without bound."""
    for page in every_page(text):
        told = html.render(page, PAGES, MLFLOW, "nonce")
        read = Reader(told)
        assert len(told) < 700_000
        allowed = {
            "a",
            "body",
            "br",
            "button",
            "circle",
            "code",
            "dd",
            "div",
            "dl",
            "dt",
            "footer",
            "form",
            "g",
            "h1",
        }
        allowed |= {
            "h2",
            "h3",
            "head",
            "header",
            "html",
            "input",
            "label",
            "li",
            "main",
            "meta",
            "nav",
            "option",
            "p",
        }
        allowed |= {
            "path",
            "rect",
            "section",
            "select",
            "small",
            "span",
            "style",
            "svg",
            "table",
            "tbody",
            "td",
            "text",
        }
        allowed |= {"th", "thead", "title", "tr", "ul"}
        assert {tag for tag, _ in read.elements} <= allowed
        assert sum(tag == "style" for tag, _ in read.elements) == 1
        for tag, attributes in read.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset")]
            for name in ("href", "action", "src"):
                address = attributes.get(name)
                assert address is None or re.match(r"(/|#|https?://)", address), (tag, address)
        assert not [
            c for c in told if unicodedata.category(c) == "Cf" or (unicodedata.category(c) == "Cc" and c != "\n")
        ]


def test_the_pages_state_a_policy_that_allows_no_script() -> None:
    assert html.policy("abc") == (
        "default-src 'none'; style-src 'nonce-abc'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )


def test_a_static_page_carries_its_policy_and_asks_for_nothing() -> None:
    """One file, whose style sheet has the very digest that its policy names."""
    told = html.static_page(report(history(), "Lineage of digits"), MLFLOW)
    read = Reader(told)
    assert not [tag for tag, _ in read.elements if tag in ("script", "link", "img", "iframe", "object")]
    policy = next(a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    import base64
    import hashlib

    style = re.search(r"<style>(.*?)</style>", told, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy is not None
    assert f"style-src 'sha256-{digest}'" in policy
    anchors = {a["id"] for _, a in read.elements if a.get("id")}
    for _, attributes in read.elements:
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in anchors


def test_a_static_page_of_hostile_runs_is_harmless() -> None:
    told = html.static_page(report(hostile_runs()), MLflow(""))
    assert "<script" not in told
    assert "onerror=alert(1)>" not in told.replace("&gt;", "")
    assert "\u202e" not in told


@pytest.mark.parametrize("runs", [history(), hostile_runs()], ids=["plain", "hostile"])
def test_the_drawing_is_xml_with_a_link_and_a_name_for_each_node(runs: list) -> None:
    graph = build(runs)
    drawing = ElementTree.fromstring(svg.standalone(graph, PAGES.node))
    name = "{http://www.w3.org/2000/svg}"
    links = drawing.findall(f".//{name}a")
    assert len(links) == sum(len(node.key) < 4000 for node in graph.nodes)
    assert all(link.find(f".//{name}title").text for link in links)
    assert all(link.get("href", "").startswith("/dsver/") for link in links)
    assert not drawing.findall(f".//{name}script")
    assert all(len(text.text or "") <= 40 for text in drawing.iter(f"{name}text"))


def test_an_empty_graph_draws_nothing_and_is_still_a_file() -> None:
    assert svg.svg(build([])) == ""
    assert ElementTree.fromstring(svg.standalone(build([]))).tag.endswith("svg")


def test_markdown_shows_hostile_texts_as_they_are() -> None:
    told = render.report_markdown(report(hostile_runs()), MLFLOW)
    for line in told.splitlines():
        assert not re.search(r"(?<!\\)<(?!br>|http)", line.replace("`", "")) or "`" in line
    assert not re.search(r"(?<!\\)\]\((?!<http)", told)
    assert len(told) < 60_000


def test_markdown_has_datasets_runs_and_lineage() -> None:
    told = render.report_markdown(report(history(), "Lineage"), MLFLOW)
    assert "`local://digits@v3`" in told
    assert "- dataset **digits** (local)" in told
    assert "[run\\-4](<http://127.0.0.1:5000/#/experiments/0/runs/" in told


def test_json_has_every_run_version_and_edge() -> None:
    told = json.loads(render.report_json(report(history())))
    assert told["schema"] == 1
    assert len(told["runs"]) == 5
    assert told["runs"][0]["uses"][0]["reference"] == "local://digits@v3"
    assert {edge["role"] for edge in told["graph"]["edges"]} >= {"training", "validation", "eval", ""}
    json.loads(render.report_json(report(hostile_runs())))


def test_links_lead_to_http_addresses_only() -> None:
    for text in ("javascript:alert(1)", "data:text/html,x", "http://a b", 'https://x"onclick=', "//x", "", None):
        assert web_address(text) is None
    assert web_address("https://clarifai.com/x") == "https://clarifai.com/x"


def test_deep_links_encode_what_they_carry() -> None:
    address = MLFLOW.runs_using("1/../2", parse("local://a%20b@v1"))
    assert address.startswith("http://127.0.0.1:5000/#/experiments/1%2F..%2F2/runs?searchFilter=dataset.name+%3D+%27")
    assert "%2520" in address
    assert PAGES.node(NodeId(Kind.RUN, "a&b=c")) == "/dsver/run?id=a%26b%3Dc"


def test_a_filter_cannot_be_left_by_a_name() -> None:
    """A canonical reference holds no quote, so quoting is enough."""
    ref = parse("local://x%27%20OR%20%271@v1")
    assert dataset_filter(ref).count("'") == 2
    assert dataset_filter(use("v1").dataset) == "dataset.name LIKE 'local://digits@%'"
