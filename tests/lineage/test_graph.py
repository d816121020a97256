"""The graph is pure: built from facts, cut to a neighbourhood, told as lists."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from lineage_samples import START, history, use

from mlflow_dsver.lineage.graph import Edge, Graph, Kind, NodeId, build, outline
from mlflow_dsver.lineage.svg import NODE_HEIGHT, layout
from mlflow_dsver.lineage.views import report
from mlflow_dsver.record.facts import Filter, Run


def ids(graph: Graph, kind: Kind) -> list[str]:
    return [node.id.key for node in graph.of(kind)]


def test_the_graph_leads_from_dataset_to_version_to_run_to_model() -> None:
    graph = build(history())
    assert ids(graph, Kind.DATASET) == ["local://digits", "paperspace://dst364npcw6ccok"]
    assert ids(graph, Kind.VERSION)[:3] == ["local://digits@v3", "local://digits@v2", "local://digits@v1"]
    assert ids(graph, Kind.MODEL) == ["models:/classifier/2", "models:/m-" + "0" * 32, "models:/classifier/1"]
    newest = NodeId(Kind.RUN, f"{4:032x}")
    assert Edge(NodeId(Kind.VERSION, "local://digits@v3"), newest, "training") in graph.edges
    assert Edge(newest, NodeId(Kind.MODEL, "models:/classifier/2"), "") in graph.edges
    order = list(Kind)
    assert all(order.index(edge.target.kind) - order.index(edge.source.kind) == 1 for edge in graph.edges)


def test_one_version_in_two_roles_is_one_edge_with_both() -> None:
    graph = build([Run("r", uses=(use("v1"), use("v1", "test")))])
    assert [edge.label for edge in graph.edges if edge.target.kind is Kind.RUN] == ["training, test"]


def test_around_a_version_shows_what_led_to_it_and_what_came_of_it() -> None:
    cut = build(history()).around(NodeId(Kind.VERSION, "local://digits@v2"))
    assert set(ids(cut, Kind.RUN)) >= {f"{3:032x}", f"{2:032x}"}
    assert "models:/m-" + "0" * 32 in ids(cut, Kind.MODEL)
    assert "local://digits" in ids(cut, Kind.DATASET)
    assert f"{0:032x}" not in ids(cut, Kind.RUN)


def test_around_an_unknown_node_is_empty() -> None:
    assert not build(history()).around(NodeId(Kind.RUN, "nobody")).nodes


def test_a_neighbourhood_keeps_to_its_limit_and_says_how_much_it_left_out() -> None:
    runs = [Run(f"{index:032x}", uses=(use("v1"),)) for index in range(300)]
    graph = build(runs)
    centre = NodeId(Kind.VERSION, "local://digits@v1")
    cut = graph.around(centre, limit=50, fan=100)
    assert len(cut.nodes) == 50
    assert centre in cut.nodes
    assert len(cut.nodes) + cut.omitted == len(graph.nodes)
    assert all(edge.source in cut.nodes and edge.target in cut.nodes for edge in cut.edges)


def test_the_newest_runs_come_first_when_the_whole_is_cut() -> None:
    cut = build(history()).first(limit=5)
    assert ids(cut, Kind.RUN) == [f"{4:032x}"]
    assert cut.omitted == len(build(history()).nodes) - len(cut.nodes)


def test_the_outline_tells_every_node_and_every_edge() -> None:
    graph = build(history())
    lines = outline(graph)
    assert {line.node.id for line in lines} == set(graph.nodes)
    assert [line.depth for line in lines if line.node.id.kind is Kind.DATASET] == [0, 0]
    assert sum(line.depth > 0 for line in lines) >= len(graph.edges)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), max_size=25))
def test_no_two_nodes_of_a_drawing_overlap(rows: list[tuple[int, int, int]]) -> None:
    """Every node has a place, inside the drawing, and none covers another."""
    runs = [
        Run(f"{index:032x}", uses=(use(f"local://d{a % 3}@v{a}"), use(f"local://d{b % 3}@v{b}", "test")))
        for index, (a, b, _) in enumerate(rows)
    ]
    graph = build(runs)
    placed = layout(graph)
    assert placed.places.keys() == graph.nodes.keys()
    columns: dict[float, list[float]] = {}
    for x, y in placed.places.values():
        assert 0 <= x < placed.width
        assert 0 <= y <= placed.height - NODE_HEIGHT
        columns.setdefault(x, []).append(y)
    for heights in columns.values():
        ordered = sorted(heights)
        assert all(b - a >= NODE_HEIGHT for a, b in pairwise(ordered))


def test_a_filter_keeps_runs_and_uses_that_match() -> None:
    runs = history()
    assert len(list(Filter().apply(runs))) == 5
    assert [run.name for run in Filter(experiment="1").apply(runs)] == ["run-3", "run-1"]
    assert [[u.role for u in run.uses] for run in Filter(role="validation").apply(runs)] == [["validation"]]
    assert [run.name for run in Filter(grade="B").apply(runs)] == ["run-1"]
    assert [run.name for run in Filter(verdict="CHANGED").apply(runs)] == ["run-3"]
    assert [run.name for run in Filter(verdict="none").apply(runs)] == ["run-4", "run-1", "run-0"]
    day = timedelta(days=1)
    assert [run.name for run in Filter(since=START + day, until=START + 3 * day).apply(runs)] == ["run-2", "run-1"]


def test_a_report_lists_the_versions_of_each_dataset_newest_first() -> None:
    told = report(history())
    assert [str(ref) for ref, _ in told.datasets] == ["local://digits", "paperspace://dst364npcw6ccok"]
    assert [row.use.version.selector for row in told.datasets[0][1]] == ["v3", "v2", "v1"]
    assert [row.runs for row in told.datasets[0][1]] == [1, 2, 3]
