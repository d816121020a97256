"""Every way to start a run, in real scripts that do not know of this package: what is on the run, and what it costs.

Each script is run twice as a process against a real server, bare and with MLFLOW_DSVER_INPUTS; what it prints and how
it ends is the same both times.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tracking_fakes import dsver_part
from training_scripts import BARE, INPUTS, links

import mlflow_dsver as dsver

EXPLICIT = """
    import mlflow
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
    print("trained")
"""


def test_an_explicit_run_is_linked_in_three_requests_and_one_for_each_artifact(train, digits):
    bare, linked = train(EXPLICIT, BARE), train(EXPLICIT, INPUTS)
    assert (linked.code, linked.out) == (bare.code, bare.out) == (0, "trained\n")
    assert dsver_part(bare.runs[0].data.tags) == {}
    (run,) = linked.runs
    assert links(run) == {"training": str(digits.ref)}
    assert run.info.status == "FINISHED"
    more = Counter(linked.calls) - Counter(bare.calls)
    assert more == Counter(
        {"POST runs/log-batch": 1, "POST runs/log-inputs": 1, "POST runs/search": 1, "PUT artifact": 3}
    )
    assert not Counter(bare.calls) - Counter(linked.calls)


@pytest.mark.parametrize(
    "script",
    [
        """
        import mlflow
        mlflow.log_param("depth", 3)      # MLflow starts a run by itself, and ends it with the program
        """,
        """
        import mlflow
        run = mlflow.start_run()
        mlflow.log_param("depth", 3)
        mlflow.end_run()
        """,
        """
        from mlflow import start_run
        with start_run(run_name="by its own name"):
            pass
        """,
        """
        import mlflow
        mlflow.config.enable_async_logging()
        with mlflow.start_run():
            for step in range(20):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
        """,
    ],
    ids=["implicit", "without-with", "imported-name", "async"],
)
def test_other_forms_of_a_run_are_linked(train, digits, script):
    linked = train(script, INPUTS)
    assert (linked.code, linked.out) == (0, ""), linked.err
    (run,) = linked.runs
    assert links(run) == {"training": str(digits.ref)}
    assert run.info.status == "FINISHED"


AUTOLOGGED = """
    import logging, mlflow
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.sklearn.autolog(log_models=False)
    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=50).fit(x, y)
    print(round(model.score(x, y), 2))
"""


def test_autologging_keeps_its_own_dataset_beside_ours(train, digits):
    bare, linked = train(AUTOLOGGED, BARE), train(AUTOLOGGED, INPUTS)
    assert (linked.code, linked.out) == (bare.code, bare.out), linked.err
    (before,), (run,) = bare.runs, linked.runs
    assert links(run) == {"training": str(digits.ref)}
    own = {
        (each.dataset.name, each.dataset.digest, each.tags[0].value)
        for each in run.inputs.dataset_inputs
        if each.dataset.source_type == "code"
    }
    assert {(name, context) for name, _, context in own} == {("dataset", "train")}
    assert len(before.inputs.dataset_inputs) + 1 == len(run.inputs.dataset_inputs)
    assert run.data.params == before.data.params


def test_a_run_of_mlflow_run_is_linked(train, digits, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "MLproject").write_text("name: p\nentry_points:\n  main:\n    command: python train.py\n")
    (project / "train.py").write_text("import mlflow\nwith mlflow.start_run():\n    mlflow.log_metric('loss', 1)\n")
    script = f"""
        import os, subprocess, sys
        done = subprocess.run([sys.executable, "-m", "mlflow", "run", "--env-manager", "local", "--experiment-id",
                               os.environ["MLFLOW_EXPERIMENT_ID"], {str(project)!r}], capture_output=True, text=True)
        print(done.returncode)
        print(done.stderr, file=sys.stderr)
    """
    linked = train(script, INPUTS, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert linked.out == "0\n", linked.err
    (run,) = linked.runs
    assert links(run) == {"training": str(digits.ref)}
    assert run.data.metrics == {"loss": 1.0}


def test_training_that_raises_is_linked_and_its_error_is_its_own(train, digits):
    script = """
        import mlflow
        with mlflow.start_run():
            raise RuntimeError("loss is nan")
    """
    bare, linked = train(script, BARE), train(script, INPUTS)
    assert linked.code == bare.code == 1
    assert linked.err.splitlines()[-1] == bare.err.splitlines()[-1] == "RuntimeError: loss is nan"
    (run,) = linked.runs
    assert run.info.status == "FAILED"
    assert links(run) == {"training": str(digits.ref)}


def test_training_that_is_interrupted_is_linked(train, digits):
    script = """
        import mlflow, time
        with mlflow.start_run():
            print("ready", flush=True)
            time.sleep(60)
    """

    def interrupt(process: Any) -> None:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)

    linked = train(script, INPUTS, when=interrupt)
    assert linked.code in (1, 130, -signal.SIGINT)
    assert "KeyboardInterrupt" in linked.err
    (run,) = linked.runs
    assert run.info.status in ("FAILED", "KILLED")
    assert links(run) == {"training": str(digits.ref)}


def test_children_of_a_run_have_the_same_version_even_if_the_tag_moves(train, digits, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new.txt").write_text("new")
    script = f"""
        import mlflow, subprocess
        with mlflow.start_run():
            for trial in range(3):
                with mlflow.start_run(nested=True):
                    mlflow.log_param("trial", trial)
                if trial == 0:
                    subprocess.run([{str(Path(sys.executable).with_name("mlflow-dsver"))!r}, "versions", "create",
                                    "local://digits", {str(tmp_path / "other")!r}, "--tag", "clean"], check=True,
                                   stdout=subprocess.DEVNULL)
    """
    linked = train(script, {"MLFLOW_DSVER_INPUTS": "training=local://digits@clean"})
    assert linked.code == 0, linked.err
    assert len(linked.runs) == 4
    assert {tuple(links(run).items()) for run in linked.runs} == {(("training", str(digits.ref)),)}
    assert dsver.resolve("local://digits@clean").ref != digits.ref


def test_threads_link_each_its_own_run(train, digits):
    script = """
        import mlflow
        from concurrent.futures import ThreadPoolExecutor
        def trial(number):
            with mlflow.start_run():
                mlflow.log_param("trial", number)
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(trial, range(12)))
    """
    linked = train(script, INPUTS)
    assert linked.code == 0, linked.err
    assert len(linked.runs) == 12
    assert all(links(run) == {"training": str(digits.ref)} for run in linked.runs)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_that_training_starts_link_their_runs_too(train, digits, method):
    script = f"""
        import mlflow, multiprocessing
        def trial(number):
            with mlflow.start_run(run_name=f"child {{number}}"):
                mlflow.log_param("trial", number)
        if __name__ == "__main__":
            with mlflow.start_run(run_name="parent"):
                context = multiprocessing.get_context({method!r})
                workers = [context.Process(target=trial, args=(n,)) for n in range(3)]
                if {method!r} == "fork":
                    mlflow.end_run()  # the stack of active runs is forked with the process
                for worker in workers: worker.start()
                for worker in workers: worker.join()
                print([worker.exitcode for worker in workers])
    """
    linked = train(script, INPUTS)
    assert (linked.code, linked.out) == (0, "[0, 0, 0]\n"), linked.err
    assert len(linked.runs) == 4
    assert all(links(run) == {"training": str(digits.ref)} for run in linked.runs)


def test_a_forked_child_leaves_the_record_to_its_parent(train, digits):
    """The child ends while the parent's record is on its way, without waiting for threads that it does not have."""
    script = """
        import mlflow, os, time
        with mlflow.start_run():
            begun = time.monotonic()
            child = os.fork()
            if child == 0:
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - begun < 30)
    """
    linked = train(script, INPUTS)
    assert (linked.code, linked.out) == (0, "0 True\n"), linked.err
    assert links(linked.runs[0]) == {"training": str(digits.ref)}
