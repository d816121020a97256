"""What the pages count and show is what the tracking store has, and what a page leaves out it counts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

from mlflow_dsver.lineage import html
from mlflow_dsver.lineage.graph import Kind, NodeId, build
from mlflow_dsver.lineage.html import Pages
from mlflow_dsver.lineage.views import report
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import Filter, Model, Run, Use
from mlflow_dsver.record.mlflow_urls import MLflow
from mlflow_dsver.server import dataset_index, pages
from mlflow_dsver.tracking.dataset import dataset_input
from mlflow_dsver.tracking.history import runs_using
from mlflow_dsver.tracking.mlflow_private import server as private
from mlflow_dsver.tracking.registered_models import tag_model
from mlflow_dsver.tracking.source import DatasetVersionSource

START = datetime(2026, 3, 1, tzinfo=UTC)
DIGITS = parse("local://digits")
OLD, NEW, ODD = (DIGITS.at(name) for name in ("old", "new", "odd"))
CATS = parse("paperspace://dst364npcw6ccok@fo5rp4m")
FILTERS = [
    Filter(),
    Filter(grade="A"),
    Filter(grade="B"),
    Filter(grade="D"),
    Filter(role="validation"),
    Filter(role="unknown"),
    Filter(verdict="MATCH"),
    Filter(verdict="none"),
    Filter(since=START + timedelta(hours=3)),
    Filter(until=START + timedelta(hours=3), grade="A"),
    Filter(experiment="no such"),
]


class Eyes:
    """A visitor who may see all, without a server: MLflow's client, with what the pages want besides."""

    def __init__(self) -> None:
        self.client = MlflowClient()

    @property
    def experiments(self) -> dict[str, str]:
        return {each.experiment_id: each.name for each in self.client.search_experiments()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def check_may_read_runs(self) -> None:
        """Nothing is hidden."""

    def workspaces(self) -> tuple[str, ...]:
        """A store has none."""
        return ()


@pytest.fixture
def eyes(tracking: Any, monkeypatch: pytest.MonkeyPatch) -> Eyes:
    """A store with runs of every kind: several roles and grades, linked in MLflow's own way, incomplete, deleted."""
    visitor = Eyes()
    engine = visitor.client._tracking_client.store.engine
    monkeypatch.setattr(private, "tracking_engine", lambda: engine)
    monkeypatch.setattr(private, "registry_engine", lambda: engine)
    other = visitor.client.create_experiment("other")
    ours(0, ("training", OLD, "A"), ("validation", OLD, "A"))
    ours(1, ("training", OLD, "B"), ("validation", NEW, "A"), ("eval", CATS, "B"), verdict="MATCH")
    ours(2, ("training", NEW, "A (attached later)"), experiment=other)
    ours(3, ("training", NEW, "D"), verdict="CHANGED")
    theirs(4, (NEW, "training"), (OLD, None))
    theirs(5, (ODD, None), experiment=other)
    theirs(6, (ODD, "training"), (ODD, None))
    incomplete = run_at(7)
    visitor.client.set_tag(incomplete, "dsver.training.version", str(OLD))
    visitor.client.set_tag(incomplete, "dsver.error", "training: the server did not answer")
    visitor.client.delete_run(ours(8, ("training", NEW, "A")))
    run_at(9)
    return visitor


def run_at(hours: int, experiment: str | None = None) -> str:
    client = MlflowClient()
    ids = sorted(each.experiment_id for each in client.search_experiments() if each.name.startswith("test"))
    milliseconds = int((START + timedelta(hours=hours)).timestamp() * 1000)
    return str(client.create_run(experiment or ids[0], start_time=milliseconds, run_name=f"r{hours}").info.run_id)


def ours(
    hours: int, *links: tuple[str, DatasetRef, str], verdict: str | None = None, experiment: str | None = None
) -> str:
    """A run with a record of ours."""
    client, run_id = MlflowClient(), run_at(hours, experiment)
    made = [
        Link(
            role,
            str(ref),
            DatasetVersion(ref, dataset_name="cats" if ref == CATS else None),
            Grade.parse(grade),
            START,
        )
        for role, ref, grade in links
    ]
    told = {key: value for link in made for key, value in schema.tags(link).items()}
    if verdict:
        told["dsver.verdict"] = f"{verdict} 2026-03-02T00:00:00Z (full)"
    params = {key: value for link in made for key, value in schema.params(link).items()}
    client.log_batch(
        run_id,
        params=[Param(key, value) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in told.items()],
    )
    digests = schema.plan_digests(made, ())
    client.log_inputs(run_id, [dataset_input(link, digests[link.role]) for link in made])
    return run_id


def theirs(hours: int, *inputs: tuple[DatasetRef, str | None], experiment: str | None = None) -> str:
    """A run that was linked by `mlflow.log_input` alone."""
    run_id = run_at(hours, experiment)
    for number, (ref, context) in enumerate(inputs):
        source = json.dumps(DatasetVersionSource(str(ref)).to_dict())
        dataset = Dataset("frame", f"{hours}{number}", "dataset_version", source, profile='{"num_rows": 3}')
        tags = [] if context is None else [InputTag("mlflow.data.context", context)]
        MlflowClient().log_inputs(run_id, [DatasetInput(dataset, tags)])
    return run_id


def everything(eyes: Eyes, wanted: Filter) -> list[Run]:
    """A direct count: all runs of the store, read one by one, with their matching uses of the dataset."""
    from mlflow_dsver.tracking.lineage_queries import run_in

    found = eyes.client.search_runs(list(eyes.experiments), order_by=["attributes.start_time DESC"])
    facts = [run_in(run, eyes.experiments) for run in found]
    return list(wanted.apply(facts, lambda use: use.dataset == DIGITS))


def shown(page: Any) -> str:
    """The page as text."""
    text = html.render(page, Pages("/dsver"), MLflow(), "nonce")
    return re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", text, flags=re.S))


def test_the_index_counts_each_run_once_whatever_it_used(eyes: Eyes) -> None:
    page = pages.index(eyes, "", None)
    told = {str(row.ref): (row.versions, row.runs, row.newest, row.name) for row in page.datasets}
    runs = [use.run_id for use in runs_using("local://digits")]
    assert told == {
        "local://digits": (3, len(set(runs)), OLD, None),
        str(CATS.at(None)): (1, 1, CATS, "cats"),
    }
    assert len(set(runs)) == 8
    assert [row.runs for row in pages.index(eyes, "CATS", None).datasets] == [1], "found by its name for people"
    assert "cats dst364npcw6ccok" in shown(page)


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_tables_and_counts_of_a_dataset_are_those_of_the_store_under_every_filter(eyes: Eyes, wanted: Filter) -> None:
    page = pages.dataset(eyes, DIGITS, wanted, 0, None)
    direct = everything(eyes, wanted)
    if wanted.role == "unknown":  # one run has a version with and without a role, which is one use
        assert {run.name for run in direct} == {"r4", "r5"}
    assert [(run.run_id, {u.role: u.version for u in run.uses}) for run in page.runs] == [
        (run.run_id, {u.role: u.version for u in run.uses}) for run in direct
    ]
    counts: dict[DatasetRef, set[str]] = {}
    for run in direct:
        for use in run.uses:
            counts.setdefault(use.version, set()).add(run.run_id)
    assert {row.use.version: row.runs for row in page.versions} == {ref: len(ids) for ref, ids in counts.items()}
    assert page.totals[Kind.RUN] == len(direct)
    assert page.totals[Kind.VERSION] == len(counts)
    if wanted.grade:
        assert {row.use.grade[:1] for row in page.versions} <= {wanted.grade}, "no version of another grade"
    assert f"Runs {len(direct)} " in shown(page)


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
@pytest.mark.parametrize("ref", [OLD, NEW, ODD], ids=str)
def test_a_version_page_has_the_runs_that_the_command_finds(eyes: Eyes, ref: DatasetRef, wanted: Filter) -> None:
    page = pages.version(eyes, ref, wanted, None)
    direct = [run.run_id for run in everything(eyes, wanted) if any(use.version == ref for use in run.uses)]
    assert [run.run_id for run in page.runs] == direct
    assert page.totals[Kind.RUN] == len(direct)
    if not wanted:
        assert direct == list(dict.fromkeys(use.run_id for use in runs_using(str(ref))))
        assert page.row.runs == len(direct)


def test_pages_of_runs_and_versions_follow_each_other_without_gap(
    eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "RUNS", 3)
    monkeypatch.setattr(pages, "VERSIONS", 2)
    found, token = [], None
    while True:
        page = pages.dataset(eyes, DIGITS, Filter(), 0, token)
        found += [run.run_id for run in page.runs]
        token = page.runs_after
        if token is None:
            break
    assert found == [run.run_id for run in everything(eyes, Filter())]
    assert page.versions_after == "2"
    assert len(pages.dataset(eyes, DIGITS, Filter(), 2, None).versions) == 1


def test_what_nobody_used_is_not_there_and_a_filter_without_a_match_is_an_empty_page(eyes: Eyes) -> None:
    with pytest.raises(pages.PageNotFound):
        pages.dataset(eyes, parse("local://digit_"), Filter(), 0, None)
    with pytest.raises(pages.PageNotFound):
        pages.version(eyes, DIGITS.at("none"), Filter(), None)
    assert "No run matches" in shown(pages.dataset(eyes, DIGITS, Filter(grade="C"), 0, None))


def test_the_index_goes_on_where_the_page_before_ended(eyes: Eyes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_index, "PAGE", 1)
    first = pages.index(eyes, "", None)
    second = pages.index(eyes, "", first.after)
    assert [str(row.ref) for row in (*first.datasets, *second.datasets)] == ["local://digits", str(CATS.at(None))]
    assert second.after is None


def test_the_model_in_production_is_drawn_and_listed_however_old_its_run(
    eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the drawing leaves out is counted, with a link to where it is listed."""
    monkeypatch.setattr(pages, "RUNS", 2)
    client = eyes.client
    client.create_registered_model("clf")
    oldest = everything(eyes, Filter())[-1].run_id
    made = client.create_model_version("clf", f"runs:/{oldest}/model", oldest)
    client.set_registered_model_alias("clf", "production", made.version)
    for ref in (DIGITS, OLD):
        page = (
            pages.dataset(eyes, ref, Filter(), 0, None) if ref is DIGITS else pages.version(eyes, ref, Filter(), None)
        )
        assert oldest not in [run.run_id for run in page.runs]
        assert NodeId(Kind.MODEL, "models:/clf/1") in page.graph.nodes
        assert [(row.model.key, row.aliases, row.run.run_id) for row in page.models] == [
            ("models:/clf/1", ("production",), oldest)
        ]
        left = dict(reversed(pair) for pair in html.left_out(page))
        total, drawn = page.totals[Kind.RUN], len(page.graph.of(Kind.RUN))
        assert left["#runs"].removesuffix("s") == f"{total - drawn} run"
        text = shown(page)
        assert "Not drawn, and listed here:" in text
        assert "production" in text
        assert "say the same" not in text


def test_a_model_whose_run_is_gone_is_listed_with_its_dataset(eyes: Eyes) -> None:
    client = eyes.client
    client.create_registered_model("clf")
    run_id = ours(20, ("train", NEW, "A"))
    made = client.create_model_version("clf", f"runs:/{run_id}/model", run_id)
    tag_model("clf", str(made.version))
    client.create_model_version("clf", f"runs:/{run_id}/other", run_id)
    client.delete_run(run_id)
    page = pages.version(eyes, NEW, Filter(), None)
    assert [(row.model.key, row.run) for row in page.models] == [("models:/clf/2", None), ("models:/clf/1", None)]
    assert page.totals[Kind.MODEL] == 2
    assert "a run that was deleted" in shown(page)


def test_a_run_page_says_how_many_other_runs_used_its_versions(eyes: Eyes) -> None:
    run_id = ours(20, ("training", NEW, "A"))
    page = pages.run(eyes, run_id)
    others = [use.run_id for use in runs_using(str(NEW)) if use.run_id != run_id]
    assert page.others == {NEW: len(set(others))}
    assert f"{len(set(others))} other runs used" in shown(page)


def test_without_a_database_the_runs_are_the_same(eyes: Eyes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "tracking_engine", lambda: None)
    wanted = Filter(grade="A")
    assert [run.run_id for run in pages.dataset(eyes, DIGITS, wanted, 0, None).runs] == [
        run.run_id for run in everything(eyes, wanted)
    ]
    assert [row.runs for row in pages.index(eyes, "digits", None).datasets] == [4], "those with a record of ours"


def test_a_report_counts_what_its_drawing_leaves_out() -> None:
    runs = [
        Run(f"{n:032x}", uses=(Use("training", DIGITS.at(f"v{n}"), grade="A"),), models=(Model("m", str(n)),))
        for n in range(60)
    ]
    told = report(runs)
    drawn = {kind: len(told.graph.of(kind)) for kind in Kind}
    assert drawn[Kind.RUN] < 60
    assert {place: count for count, place in html.left_out(told)} == {
        "#datasets": f"{60 - drawn[Kind.VERSION]} versions",
        "#all-runs": f"{60 - drawn[Kind.MODEL]} models",
    }
    assert f"{60 - drawn[Kind.RUN]} runs" in {count for count, _ in html.left_out(told)}


def test_what_is_named_first_is_drawn_before_what_is_newer() -> None:
    runs = [
        Run(f"{n:032x}", uses=(Use("training", DIGITS.at("v"), grade="A"),), models=(Model("m", str(n)),))
        for n in range(40)
    ]
    last = NodeId(Kind.MODEL, "models:/m/39")
    centre = NodeId(Kind.DATASET, "local://digits")
    assert last not in build(runs).around(centre).nodes
    assert last in build(runs).around(centre, first={last}).nodes
