"""Draws a graph as SVG: real links, readable text, no script, colours from the style sheet of the page.

Each node is a link, in reading order for the keyboard, and has a name for screen readers. All texts are untrusted:
control and direction-changing characters are shown as escapes, and everything is escaped. Nodes have one column for
each kind. fast-sugiyama, a small compiled library (extra `pages`), orders them within it so that few edges cross;
without it they keep the order of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from mlflow_dsver.lineage.graph import Address, Edge, Graph, Kind, Node, NodeId
from mlflow_dsver.text import human_count, one_line

NODE_WIDTH, NODE_HEIGHT = 200, 46
COLUMN_GAP, ROW_GAP = 90, 14
_STEP = NODE_HEIGHT + ROW_GAP
_COLUMN = {kind: number for number, kind in enumerate(Kind)}
_MARGIN = 6
_HEAD = 30
_CHARACTERS = 25
"""Characters of a title that fit into a node; the tooltip has the whole text."""
_LONGEST_ADDRESS = 4000
"""Characters; a node with a longer address has no link."""
_LABELLED = 14
"""Edges up to which they are labelled with their roles."""
_NAMES = {Kind.DATASET: "Dataset", Kind.VERSION: "Version", Kind.RUN: "Run", Kind.MODEL: "Model"}


def svg(graph: Graph, address: Address = lambda node: None, centre: NodeId | None = None) -> str:
    """The drawing as an `<svg>` element for a page that has `style()`; an empty graph gives empty text."""
    if not graph.nodes:
        return ""
    placed = layout(graph)
    width, height = placed.width + 2 * _MARGIN, placed.height + 2 * _MARGIN + _HEAD
    parts = [
        f'<svg class="lineage" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="group" aria-label="{escape(summary(graph))}">',
        *(_head(kind, placed) for kind in Kind if graph.of(kind)),
        f'<g transform="translate({_MARGIN} {_MARGIN + _HEAD})">',
        *(_edge(edge, placed, len(graph.edges) <= _LABELLED) for edge in graph.edges),
        *(_node(node, placed, address(node.id), node.id == centre) for node in _in_reading_order(graph, placed)),
        "</g></svg>",
    ]
    return "\n".join(parts)


def standalone(graph: Graph, address: Address = lambda node: None) -> str:
    """The drawing as an SVG file, with its own style, light and dark."""
    drawing = (
        svg(graph, address) or '<svg class="lineage" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">\n</svg>'
    )
    opening, rest = drawing.split("\n", 1)
    return f"{opening}\n<style>{style()}</style>\n{rest}\n"


def style() -> str:
    """The style sheet of the drawing alone."""
    return files(__package__).joinpath("graph.css").read_text("utf-8")


def summary(graph: Graph) -> str:
    """A description of the drawing: how many nodes of each kind."""
    counts = [human_count(len(graph.of(kind)), kind.value) for kind in Kind if graph.of(kind)]
    return "Lineage: " + ", ".join(counts)


def _in_reading_order(graph: Graph, placed: Layout) -> list[Node]:
    """Column by column, from top to bottom: the order of the Tab key."""
    return sorted(graph.nodes.values(), key=lambda node: placed.places[node.id])


def _head(kind: Kind, placed: Layout) -> str:
    x = min(x for key, (x, _) in placed.places.items() if key.kind is kind) + _MARGIN
    return f'<text class="head" x="{x:.0f}" y="{_MARGIN + 12}" aria-hidden="true">{_NAMES[kind]}s</text>'


def _node(node: Node, placed: Layout, address: str | None, is_centre: bool) -> str:
    x, y = placed.places[node.id]
    title, detail = one_line(node.title), one_line(node.detail)
    classes = " ".join(
        part for part in ("node", node.id.kind.value, node.tone, "centre" if is_centre else "") if part
    )
    label = f"{_NAMES[node.id.kind]} {title}: {one_line(node.id.key)}. {detail}"
    body = (
        f'<g class="{classes}" transform="translate({x:.0f} {y:.0f})"><title>{escape(label)}</title>'
        f'<rect class="box" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="7"/>'
        f'<rect class="mark" y="9" x="0" width="4" height="{NODE_HEIGHT - 18}" rx="2"/>'
        f'<svg x="14" width="{NODE_WIDTH - 18}" height="{NODE_HEIGHT}">'  # clips text that is wider than the node
        f'<text class="title" y="19">{escape(_cut(title, _CHARACTERS))}</text>'
        f'<text class="detail" y="35">{escape(_cut(detail, _CHARACTERS + 6))}</text></svg></g>'
    )
    if address is None or len(address) > _LONGEST_ADDRESS:
        return body
    current = ' aria-current="true"' if is_centre else ""
    return f'<a href="{escape(address)}"{current}>{body}</a>'


def _edge(edge: Edge, placed: Layout, labelled: bool) -> str:
    (x1, y1), (x2, y2) = placed.places[edge.source], placed.places[edge.target]
    x1, y1, y2 = x1 + NODE_WIDTH, y1 + NODE_HEIGHT / 2, y2 + NODE_HEIGHT / 2
    bend = COLUMN_GAP * 0.5
    curve = f"M{x1:.0f} {y1:.1f}C{x1 + bend:.0f} {y1:.1f} {x2 - bend:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"
    path = f'<path class="edge" d="{curve}"/>'
    if not (labelled and edge.label):
        return path
    text = escape(_cut(one_line(edge.label), 14))
    y = y2 + 12 if y1 < y2 else y2 - 5  # on the side of the arrow's head from which the line does not come
    return f'{path}<text class="role" x="{x2 - 6:.0f}" y="{y:.1f}" text-anchor="end">{text}</text>'


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Layout:
    """Upper left corner of each node, and the size of the whole, in pixels."""

    places: Mapping[NodeId, tuple[float, float]]
    width: float
    height: float


def layout(graph: Graph) -> Layout:
    """The position of each node; columns without nodes take no space."""
    used = sorted({_COLUMN[key.kind] for key in graph.nodes})
    column = {kind: used.index(number) for kind, number in _COLUMN.items() if number in used}
    places: dict[NodeId, tuple[float, float]] = {}
    for key, y in _rows(graph).items():
        places[key] = (column[key.kind] * (NODE_WIDTH + COLUMN_GAP), y)
    height = max((y for _, y in places.values()), default=0.0) + NODE_HEIGHT
    width = len(used) * (NODE_WIDTH + COLUMN_GAP) - COLUMN_GAP
    return Layout(places, max(width, 0), height)


def _rows(graph: Graph) -> dict[NodeId, float]:
    """The height of each node's upper edge; no two of a column overlap, and each column starts at its top."""
    target = _wanted(graph)
    rows: dict[NodeId, float] = {}
    for kind in Kind:
        column = [key for key in graph.nodes if key.kind is kind]
        free = 0.0
        for key in sorted(column, key=lambda one: target.get(one, float("inf"))):
            rows[key] = max(free, target.get(key, 0.0))
            free = rows[key] + _STEP
    return rows


def _wanted(graph: Graph) -> dict[NodeId, float]:
    """The vertical position that the library proposes for each node; in the graph's order without it."""
    try:
        from fast_sugiyama import from_edges
    except ImportError:
        order: dict[NodeId, float] = {}
        for kind in Kind:
            order.update({node.id: row * _STEP for row, node in enumerate(graph.of(kind))})
        return order
    keys = list(graph.nodes)
    numbers = {key: number for number, key in enumerate(keys)}
    edges = [(numbers[edge.source], numbers[edge.target]) for edge in graph.edges]
    parts = from_edges(edges, vertex_spacing=_STEP, dummy_vertices=False) if edges else []
    target: dict[NodeId, float] = {}
    top = 0.0
    for positions in sorted(([(int(n), x) for n, (x, _) in part[0]] for part in parts), key=min):
        left = min(x for _, x in positions)
        target.update((keys[number], top + x - left) for number, x in positions)
        top = max(target[keys[number]] for number, _ in positions) + _STEP + ROW_GAP
    return target
