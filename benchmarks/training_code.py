"""Measures what linking costs the training scripts of tests/training_code: runs, links, requests and seconds.

Each script runs as a process against a real `mlflow server` with SQLite, through a proxy that counts its requests;
bare and linked alternate. Seconds are medians of the whole process, imports
included. Scripts whose framework is not installed are left out.

    python benchmarks/training_code.py [--rounds 3] [--only sklearn_grid_search,lightning_logger]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
sys.path[:0] = [str(HERE.parent), str(TESTS), str(TESTS / "tracking"), str(TESTS / "training_code")]

from servers import tracking_server  # noqa: E402  (the path above has them)
from tracking_proxy import Proxy  # noqa: E402  (the path above has them)
from training_code import ALL, REFERENCE, Script, lay_out, run_script  # noqa: E402  (the path above has them)

BARE, LINKED = {}, {"MLFLOW_DSVER_INPUTS": f"training={REFERENCE}"}


@dataclass
class Measured:
    """What one script did, bare or linked: seconds of each round; runs, links and requests of the last."""

    seconds: list[float] = field(default_factory=list)
    runs: int = 0
    linked: int = 0
    requests: int = 0


def measure(script: Script, proxy: Proxy, folder: Path, rounds: int) -> tuple[Measured, Measured]:
    """The script bare and linked, in turns."""
    bare, linked = Measured(), Measured()
    for number in range(rounds):
        for measured, variables in ((bare, BARE), (linked, LINKED)):
            _measure_once(script, proxy, folder / f"{script.name}-{number}-{measured is linked}", variables, measured)
    return bare, linked


def _measure_once(script: Script, proxy: Proxy, folder: Path, variables: dict[str, str], measured: Measured) -> None:
    import mlflow

    import mlflow_dsver as dsver

    client = mlflow.MlflowClient(proxy.target)
    experiment = client.create_experiment(folder.name)
    lay_out(script, folder)
    dsver.create_version(REFERENCE, folder / "data")
    proxy.log.clear()
    where = {"MLFLOW_TRACKING_URI": proxy.address, "MLFLOW_EXPERIMENT_NAME": folder.name}
    start = time.perf_counter()
    ended = run_script(script, folder, {**where, **variables})
    measured.seconds.append(time.perf_counter() - start)
    if ended.returncode:
        raise RuntimeError(f"{script.name}: {ended.stderr[-1000:]}")
    measured.requests = len(proxy.calls())
    runs = client.search_runs([experiment], max_results=1000)
    measured.runs, measured.linked = len(runs), sum("dsver.training.version" in run.data.tags for run in runs)


def rows(scripts: list[Script], rounds: int) -> Iterator[str]:
    """The table, line by line as it is measured."""
    yield (
        f"{'':26}{'runs':>6}{'linked':>8}{'requests':>10}{'linked':>8}{'a run':>7}"
        f"{'seconds':>9}{'linked':>8}{'more':>7}"
    )
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-benchmark-") as name:
        folder = Path(name)
        os.environ["MLFLOW_DSVER_HOME"] = str(folder / "home")
        with tracking_server(folder, f"sqlite:///{folder}/mlflow.db") as (address, _), Proxy(address) as proxy:
            os.environ["MLFLOW_TRACKING_URI"] = address
            for script in scripts:
                if script.missing():
                    yield f"{script.name:26}not installed: {', '.join(script.missing())}"
                    continue
                bare, linked = measure(script, proxy, folder, rounds)
                before, after = statistics.median(bare.seconds), statistics.median(linked.seconds)
                more = (linked.requests - bare.requests) / linked.runs
                yield (
                    f"{script.name:26}{linked.runs:6}{linked.linked:8}{bare.requests:10}{linked.requests:8}"
                    f"{more:7.1f}{before:9.1f}{after:8.1f}{after - before:+7.1f}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each script, bare and linked")
    parser.add_argument("--only", default="", help="names of scripts, separated by commas")
    options = parser.parse_args()
    from benchmarks.facts import load, machine

    for key, value in machine(Path(tempfile.gettempdir()), sys.executable).items():
        print(f"{key}: {value}")
    print(f"load: {load()}")
    only = set(filter(None, options.only.split(",")))
    for row in rows([script for script in ALL if not only or script.name in only], options.rounds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
