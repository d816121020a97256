"""Measures the overhead of linking: how long a run start blocks, its number of requests, and the cost for a sweep.

A real `mlflow server` with SQLite is behind a proxy that delays each request. In the same rounds are measured:
`dsver.start_run`, plain `mlflow.start_run`, hand-written logging of the same data (params, tags, an input and a
JSON artifact, key by key and batched), and runs of `mlflow.start_run` and `MlflowClient.create_run` that are linked
without a line. A sweep is a parent run with children that do a fixed amount of work on one core.

    python benchmarks/tracking.py [--delays 0,20,50] [--rounds 15] [--trials 1000] [--work 0.3]
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests"), str(HERE.parent / "tests" / "tracking")]

from servers import tracking_server  # noqa: E402  (the path above has them)
from tracking_proxy import Proxy  # noqa: E402  (the path above has them)

TRAINING = 0.6
"""Seconds between the measured start of a run and its end, in which background work finishes."""
FILES = 200


@contextmanager
def benchmark_store(delay: float) -> Iterator[Proxy]:
    """A store with one dataset, and an MLflow server behind a proxy that delays each request by `delay` seconds."""
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-benchmark-") as name:
        folder = Path(name)
        os.environ["MLFLOW_DSVER_HOME"] = str(folder / "home")
        data = folder / "digits"
        data.mkdir()
        for index in range(FILES):
            (data / f"{index:04}.txt").write_text(f"digit {index}\n")
        import mlflow

        import mlflow_dsver as dsver

        dsver.create_version("local://digits", data, tags=["clean"])
        subprocess.run(
            [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{folder}/mlflow.db"],
            check=True,
            capture_output=True,
        )
        with tracking_server(folder, f"sqlite:///{folder}/mlflow.db") as (address, _), Proxy(address) as proxy:
            proxy.hang = delay
            mlflow.set_tracking_uri(proxy.address)
            mlflow.set_experiment("benchmark")
            yield proxy
        shutil.rmtree(data)


def bare() -> None:
    import mlflow

    mlflow.start_run()


def ours() -> None:
    import mlflow_dsver as dsver

    dsver.start_run(inputs={"training": "local://digits@clean"})


def autolinked() -> None:
    with _autolinking():
        bare()


def created() -> str:
    import mlflow

    return mlflow.MlflowClient().create_run(_experiment()).info.run_id


@functools.cache
def _experiment() -> str:
    """The experiment's id, which is the same in each new store."""
    import mlflow

    return mlflow.MlflowClient().get_experiment_by_name("benchmark").experiment_id


def created_autolinked() -> str:
    with _autolinking():
        return created()


@contextmanager
def _autolinking() -> Iterator[None]:
    """Runs that start in this block are linked; the reference was resolved at the first of them."""
    os.environ["MLFLOW_DSVER_AUTOLINK"] = "all"
    try:
        yield
    finally:
        os.environ["MLFLOW_DSVER_AUTOLINK"] = "none"


def by_hand() -> None:
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset

    import mlflow_dsver as dsver

    version = dsver.resolve("local://digits@clean")
    mlflow.start_run()
    mlflow.log_param("data.version", str(version))
    mlflow.log_param("data.requested", "local://digits@clean")
    mlflow.log_param("data.tags", ",".join(version.tags))
    mlflow.log_param("data.bytes", str(version.usage_bytes))
    mlflow.log_param("data.digest", version.content_digest)
    mlflow.set_tag("data.version", str(version))
    mlflow.set_tag("data.grade", "A")
    mlflow.log_input(MetaDataset(_source(version), name=str(version)), context="training")
    mlflow.log_dict(version.to_json(), "data.json")


def by_hand_batched() -> None:
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset

    import mlflow_dsver as dsver

    version = dsver.resolve("local://digits@clean")
    mlflow.start_run(tags={"data.version": str(version), "data.grade": "A"})
    mlflow.log_params({"data.version": str(version), "data.bytes": version.usage_bytes, "data.tags": version.tags})
    mlflow.log_input(MetaDataset(_source(version), name=str(version)), context="training")
    mlflow.log_dict(version.to_json(), "data.json")


def _source(version: Any) -> Any:
    import mlflow.data

    return mlflow.data.dataset_source_registry.resolve_dataset_source(str(version))


SUBJECTS: dict[str, Callable[[], str | None]] = {
    "bare mlflow.start_run": bare,
    "ours: dsver.start_run": ours,
    "by hand, key by key": by_hand,
    "by hand, batched": by_hand_batched,
    "start_run, without a line": autolinked,
    "bare create_run": created,
    "create_run, without a line": created_autolinked,
}
"""Each starts a run; those that give its id are of MlflowClient."""


def starts(proxy: Proxy, rounds: int) -> None:
    """How long each way of starting a run blocks, and its number of requests from start to end."""
    import mlflow

    import mlflow_dsver as dsver

    durations: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    requests: dict[str, int] = {}
    resolved = []
    os.environ["MLFLOW_DSVER_AUTOLINK"] = "none"
    dsver.autolink({"training": "local://digits@clean"})
    for round_ in range(rounds + 1):
        start = time.perf_counter()
        dsver.resolve("local://digits@clean")
        resolved.append(time.perf_counter() - start)
        for name, subject in SUBJECTS.items():
            proxy.log.clear()
            start = time.perf_counter()
            run_id = subject()
            seconds = time.perf_counter() - start
            time.sleep(TRAINING + 10 * proxy.hang)
            mlflow.MlflowClient().set_terminated(run_id) if run_id else mlflow.end_run()
            requests[name] = len(proxy.calls())
            if round_:  # the first round imports and connects
                durations[name].append(seconds)
    least = statistics.median(durations["bare mlflow.start_run"]) + statistics.median(resolved)
    print(f"\ndelay {proxy.hang * 1000:.0f} ms a request, {rounds} rounds; the provider responds in "
          f"{statistics.median(resolved) * 1000:.1f} ms")  # fmt: skip
    print(f"  {'':28}{'blocks, median':>16}{'middle half':>18}{'x (bare + resolve)':>20}{'requests':>10}")
    for name, seconds in durations.items():
        low, middle, high = statistics.quantiles(seconds, n=4)
        print(f"  {name:28}{middle * 1000:13.1f} ms{low * 1000:11.1f}–{high * 1000:.1f}"
              f"{middle / least:18.2f}{requests[name]:12}")  # fmt: skip


def sweep(trials: int, work: float, *, linked: bool) -> float:
    """Seconds for a parent run with `trials` children."""
    import mlflow

    import mlflow_dsver as dsver

    portion = _portion(work)
    start_run = dsver.start_run if linked else mlflow.start_run
    arguments = {"inputs": {"training": "local://digits@clean"}} if linked else {}
    start = time.perf_counter()
    with start_run(**arguments):
        for trial in range(trials):
            with start_run(nested=True):
                mlflow.log_params({"depth": trial, "rate": 0.1})
                for step in range(5):
                    _work(portion)
                    mlflow.log_metric("loss", 1 / (step + 1), step=step)
    return time.perf_counter() - start


def _work(portion: int) -> None:
    block = bytes(1 << 16)
    digest = hashlib.sha256()
    for _ in range(portion):
        digest.update(block)


def _portion(seconds: float) -> int:
    """Number of blocks for a fifth of a trial's work, on this machine without other load."""
    start = time.perf_counter()
    _work(2000)
    return max(1, int(2000 * seconds / 5 / (time.perf_counter() - start)))


def sweeps(trials: int, work: float) -> None:
    """The same sweep bare and linked, alternating after each tenth, so that temporary load affects both."""
    turn = max(1, trials // 10)
    elapsed = {False: 0.0, True: 0.0}
    for index in range(trials // turn):
        for linked in (False, True) if index % 2 else (True, False):
            elapsed[linked] += sweep(turn, work, linked=linked)
    runs = turn * (trials // turn)
    print(
        f"\na sweep of {runs} runs with {work:g} s of work each, in turns of {turn}: "
        f"bare {elapsed[False]:.1f} s, linked {elapsed[True]:.1f} s, x {elapsed[True] / elapsed[False]:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delays", default="0,20,50", help="delay of each request in milliseconds")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--trials", type=int, default=1000, help="runs of the sweep; 0 leaves it out")
    parser.add_argument(
        "--work", type=float, default=0.3, help="seconds of work on one core in each run of the sweep"
    )
    options = parser.parse_args()
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from benchmarks.facts import load, machine

    for key, value in machine(Path(tempfile.gettempdir()), sys.executable).items():
        print(f"{key}: {value}")
    print(f"load: {load()}")
    for delay in filter(None, options.delays.split(",")):
        with benchmark_store(int(delay) / 1000) as proxy:
            starts(proxy, options.rounds)
    if options.trials:
        with benchmark_store(0) as proxy:
            import mlflow

            mlflow.set_tracking_uri(proxy.target)  # the proxy would use CPU time of the training process
            sweeps(options.trials, options.work)


if __name__ == "__main__":
    main()
