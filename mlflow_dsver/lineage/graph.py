"""The lineage graph: dataset → version → run → model, built from what runs recorded.

Pure values; a node is identified by its kind and key, and the order is stable, newest run first. The whole graph of
a tracking store is never built: `around` selects the neighbourhood of one node.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from mlflow_dsver.record.facts import Model, Run, Use
from mlflow_dsver.text import human_bytes

TONES = {"MATCH": "good", "CHANGED": "bad", "MISSING": "bad"}
"""The tone of a verdict; others could not be checked and have none."""

NEIGHBOURS = 100
"""Nodes of a drawing at most; more are not readable."""


class Kind(StrEnum):
    """What a node is; the order is that of the columns in a drawing."""

    DATASET = "dataset"
    VERSION = "version"
    RUN = "run"
    MODEL = "model"


class NodeId(NamedTuple):
    """A node's identity: a dataset's or version's canonical reference, a run id, or a model's `models:/…`."""

    kind: Kind
    key: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node and its two lines in a drawing."""

    id: NodeId
    title: str
    detail: str = ""
    tone: str = ""
    """`good`, `bad` or empty: the result of a run's last check."""


class Edge(NamedTuple):
    """From an input to what was made from it; the label is the role where there is one."""

    source: NodeId
    target: NodeId
    label: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by identity, in a stable order, and edges without duplicates.

    omitted: number of nodes that were left out because of a limit.
    """

    nodes: Mapping[NodeId, Node] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    omitted: int = 0

    def of(self, kind: Kind) -> list[Node]:
        """All nodes of that kind, in order."""
        return [node for node in self.nodes.values() if node.id.kind is kind]

    def around(self, centre: NodeId, limit: int = NEIGHBOURS, fan: int = 3, first: Collection[NodeId] = ()) -> Graph:
        """A node's ancestors and descendants; then, up to the limit, other inputs of those, and siblings.

        fan: successors of each node that are followed at most, the newest first; four times as many for the centre.
        first: nodes that are followed before others, with their ancestors, such as the model in production.
        An unknown centre gives an empty graph.
        """
        if centre not in self.nodes:
            return Graph()
        down, up = _adjacency(self.edges)
        leads = {*first, *(one for node in first for one in _reachable(node, up))}
        some = {
            key: sorted(targets, key=lambda one: one not in leads)[: fan * 4 if key == centre else fan]
            for key, targets in down.items()
        }
        below = _reachable(centre, some)
        others = [one for node in below for one in up.get(node, ())]
        siblings = [one for node in _reachable(centre, up) for one in some.get(node, ())]
        related = [centre, *_reachable(centre, up), *below, *others, *siblings]
        kept = set(list(dict.fromkeys(related))[:limit])
        more = {*related, *_reachable(centre, down)} - kept
        return Graph(
            {key: node for key, node in self.nodes.items() if key in kept},
            tuple(edge for edge in self.edges if edge.source in kept and edge.target in kept),
            omitted=self.omitted + len(more),
        )

    def first(self, limit: int = NEIGHBOURS) -> Graph:
        """The newest runs with their ancestors and descendants, up to the limit."""
        down, up = _adjacency(self.edges)
        kept: dict[NodeId, None] = {}
        for run in self.of(Kind.RUN):
            related = dict.fromkeys([run.id, *_reachable(run.id, up), *_reachable(run.id, down)])
            if len(kept.keys() | related.keys()) > limit:
                break
            kept.update(related)
        return Graph(
            {key: node for key, node in self.nodes.items() if key in kept},
            tuple(edge for edge in self.edges if edge.source in kept and edge.target in kept),
            omitted=self.omitted + len(self.nodes) - len(kept),
        )


class Entry(NamedTuple):
    """A line of the graph as nested lists."""

    depth: int
    node: Node
    label: str


def outline(graph: Graph) -> list[Entry]:
    """The graph as nested lists: each dataset with its versions, their runs, and their models; roles as labels.

    A run with several versions is listed below each of them.
    """
    labels: dict[NodeId, list[Edge]] = {}
    for edge in graph.edges:
        labels.setdefault(edge.source, []).append(edge)
    targets = {edge.target for edge in graph.edges}
    lines: list[Entry] = []

    def add(key: NodeId, depth: int, label: str) -> None:
        lines.append(Entry(depth, graph.nodes[key], label))
        for edge in labels.get(key, ()):
            add(edge.target, depth + 1, edge.label)

    for key in graph.nodes:
        if key not in targets:
            add(key, 0, "")
    return lines


def build(runs: Iterable[Run]) -> Graph:
    """The graph of these runs; they are expected newest first, and keep their order."""
    nodes: dict[NodeId, Node] = {}
    edges: dict[tuple[NodeId, NodeId], list[str]] = {}
    for run in runs:
        here = run_node(run)
        nodes[here.id] = here
        for use in run.uses:
            dataset, version = dataset_node(use), version_node(use)
            nodes.setdefault(dataset.id, dataset)
            nodes.setdefault(version.id, version)
            edges.setdefault((dataset.id, version.id), [])
            edges.setdefault((version.id, here.id), []).append(use.role)
        for model in run.models:
            made = model_node(model)
            nodes.setdefault(made.id, made)
            edges.setdefault((here.id, made.id), [])
    joined = (Edge(source, target, ", ".join(dict.fromkeys(roles))) for (source, target), roles in edges.items())
    return Graph(nodes, tuple(joined))


def dataset_node(use: Use) -> Node:
    """The node of the dataset that a use belongs to."""
    detail = f"{use.version.provider} · {use.version.dataset}" if use.dataset_name else use.version.provider
    return Node(NodeId(Kind.DATASET, str(use.dataset)), use.dataset_name or use.version.dataset, detail)


def version_node(use: Use) -> Node:
    """The node of the version that was used; its title has the tags, else the version id."""
    name = use.version.selector or ""
    facts = [name[:12]] if use.tags else []
    if use.grade:
        facts.append(f"grade {use.grade[:1]}")
    if use.usage_bytes is not None:
        facts.append(human_bytes(use.usage_bytes))
    return Node(NodeId(Kind.VERSION, str(use.version)), ", ".join(use.tags[:2]) or name, " · ".join(facts))


def run_node(run: Run) -> Node:
    """The node of a run."""
    tone = TONES.get(run.verdict or "", "")
    started = f"{run.started:%Y-%m-%d %H:%M}" if run.started else ""
    detail = " · ".join(part for part in (run.place, started) if part)
    return Node(NodeId(Kind.RUN, run.run_id), run.name or run.run_id[:8], detail, tone)


def model_node(model: Model) -> Node:
    """The node of a model."""
    detail = f"version {model.version}" if model.version is not None else "logged model"
    return Node(NodeId(Kind.MODEL, model.key), model.name, detail)


def _adjacency(edges: Iterable[Edge]) -> tuple[dict[NodeId, list[NodeId]], dict[NodeId, list[NodeId]]]:
    down: dict[NodeId, list[NodeId]] = {}
    up: dict[NodeId, list[NodeId]] = {}
    for edge in edges:
        down.setdefault(edge.source, []).append(edge.target)
        up.setdefault(edge.target, []).append(edge.source)
    return down, up


def _reachable(start: NodeId, steps: Mapping[NodeId, list[NodeId]]) -> list[NodeId]:
    """All nodes that can be reached, nearest first, without the start."""
    found: dict[NodeId, None] = {}
    ring = [start]
    while ring:
        ring = [one for node in ring for one in steps.get(node, ()) if one not in found]
        found.update(dict.fromkeys(ring))
    return list(found)


Address = Callable[[NodeId], str | None]
"""The address of a node's page; None when it has none."""
