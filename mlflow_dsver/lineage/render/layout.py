"""Where nodes go in a drawing: one column a kind, and within it an order with few crossings.

The order is the work of fast-sugiyama, a small compiled library (extra `pages`). Where it is not installed the
nodes stand in the order in which they came: the same picture with more crossings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_dsver.lineage.graph import Graph, Kind, NodeId

NODE_WIDTH, NODE_HEIGHT = 200, 46
COLUMN_GAP, ROW_GAP = 90, 14
_STEP = NODE_HEIGHT + ROW_GAP
_COLUMN = {kind: number for number, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Layout:
    """Upper left corner of each node, and the size of the whole, in pixels."""

    places: Mapping[NodeId, tuple[float, float]]
    width: float
    height: float


def layout(graph: Graph) -> Layout:
    """Place the nodes; columns that no node needs take no room."""
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
    wanted = _wanted(graph)
    rows: dict[NodeId, float] = {}
    for kind in Kind:
        column = [key for key in graph.nodes if key.kind is kind]
        free = 0.0
        for key in sorted(column, key=lambda one: wanted.get(one, float("inf"))):
            rows[key] = max(free, wanted.get(key, 0.0))
            free = rows[key] + _STEP
    return rows


def _wanted(graph: Graph) -> dict[NodeId, float]:
    """Where the library would put each node; in order of arrival without it."""
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
    wanted: dict[NodeId, float] = {}
    top = 0.0
    for positions in sorted(([(int(n), x) for n, (x, _) in part[0]] for part in parts), key=min):
        left = min(x for _, x in positions)
        wanted.update((keys[number], top + x - left) for number, x in positions)
        top = max(wanted[keys[number]] for number, _ in positions) + _STEP + ROW_GAP
    return wanted
