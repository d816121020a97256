"""Sweeps and distributed jobs as real processes against a real server: one answer for all, and one that writes.

The provider is Paperspace's emulator, whose log tells how often it was asked; the tag moves while the jobs go on.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from processes import SCRIPT as COMMAND
from tracking_fakes import FakeProvider, version
from training_scripts import client_settings, links, runs, until

import mlflow_dsver as dsver
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.record import schema
from mlflow_dsver.resolution import resolver
from mlflow_dsver.testing import EMULATED_KEY
from mlflow_dsver.tracking import resolved_inputs

DATASET = "dst364npcw6ccok"
CLEAN = f"paperspace://{DATASET}@clean"
FIRST = f"paperspace://{DATASET}@fo5rp4m"
TRIALS, WORKERS = 200, 4
WRITES = ("log-metric", "log-batch", "log-inputs", "log-parameter", "set-tag", "delete-tag", "artifact")


@pytest.fixture
def paperspace_emulator(monkeypatch) -> Iterator[PaperspaceEmulator]:
    with PaperspaceEmulator(key=EMULATED_KEY, seed=True) as emulator:
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def one_answer(paperspace_emulator) -> int:
    """How many requests it takes to ask once what the tag means."""
    assert str(dsver.get_provider("paperspace").resolve(dsver.parse(CLEAN))) == FIRST
    cost = len(paperspace_emulator.requests)
    paperspace_emulator.requests.clear()
    return cost


@pytest.fixture
def cats(paperspace_emulator, monkeypatch, tmp_path) -> Path:
    """The folder where the version's files lie on this host."""
    folder = tmp_path / "cats"
    folder.mkdir()
    (folder / "tom.txt").write_text("miaow")
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_PATHS", f"{DATASET}={folder}")
    return folder


@pytest.fixture
def start(server, tmp_path, prepared) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start(script, arguments…, launcher=[…], VARIABLE=…)`: the script as a process in the test's experiment."""
    started: list[subprocess.Popen[str]] = []

    def call(
        script: str, *arguments: str, launcher: tuple[str, ...] = (), python: tuple[str, ...] = (), **variables: str
    ) -> subprocess.Popen[str]:
        path = tmp_path / f"script_{len(started)}.py"
        path.write_text(textwrap.dedent(script))
        process = subprocess.Popen(
            [*launcher, *(python or (*prepared.python, "-W", "ignore")), str(path), *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": path_first(prepared.bin),
                **client_settings(server.uri, server.experiment_id),
                **variables,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # children, too: they hold the pipes open
        process.communicate(timeout=60)


def path_first(folder: Path) -> str:
    """PATH, in which `python` and `mlflow-dsver` are those of the folder."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def launched(reference: str = CLEAN) -> tuple[str, ...]:
    return (COMMAND, "run", "--input", f"training={reference}", "--")


def move_the_tag(emulator: Any) -> None:
    """Without a request."""
    emulator.add_version(DATASET, version="moved01", tags="clean")


def named(run: Any) -> tuple[str | None, str | None, list[str]]:
    """What a run of a search says of its training data: param, tag, and the names of its dataset inputs."""
    key = "dsver.training.version"
    present = schema.inputs_present(run)
    return run.data.params.get(key), run.data.tags.get(key), [name for name, _, role in present if role == "training"]


def all_name(found: list[Any], reference: str = FIRST, *, params: bool = True) -> bool:
    param = reference if params else None
    return all(named(run) == (param, reference, [reference]) for run in found)


def left_in_the_journal(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "dsver-home" / "journal").glob("*.json")]


SWEEP = f"""
    import subprocess, sys
    import mlflow, optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend("study.log"))

    def objective(trial):
        with mlflow.start_run():
            loss = trial.suggest_float("x", -1, 1) ** 2
            mlflow.log_metric("loss", loss)
        return loss

    if sys.argv[1:] == ["worker"]:
        study = optuna.load_study(study_name="sweep", storage=storage, sampler=optuna.samplers.RandomSampler())
        study.optimize(objective, n_trials={TRIALS // WORKERS})
    else:
        study = optuna.create_study(study_name="sweep", storage=storage)
        workers = [subprocess.Popen(["python", __file__, "worker"]) for _ in range({WORKERS})]
        print([worker.wait() for worker in workers], len(study.trials))
        sys.exit(7)
"""


@pytest.mark.slow
def test_an_optuna_sweep_of_200_trials_in_4_processes_has_one_version(
    server, start, paperspace_emulator, one_answer, tmp_path
):
    """The tag moves when a fifth of the trials have begun."""
    sweep = start(SWEEP, launcher=launched())
    until(lambda: len(runs(server.experiment_id)) >= TRIALS / 5)
    move_the_tag(paperspace_emulator)
    out, err = sweep.communicate(timeout=200)
    assert (sweep.returncode, out) == (7, f"[0, 0, 0, 0] {TRIALS}\n"), err
    assert err == f"mlflow-dsver: training is {FIRST} ({CLEAN})\n"
    made = runs(server.experiment_id)
    assert len(made) == TRIALS
    assert {run.info.status for run in made} == {"FINISHED"}
    assert all_name(made, params=False)
    assert all(run.data.metrics for run in made)
    assert links(made[0]) == links(made[-1]) == {"training": FIRST}
    assert len(paperspace_emulator.requests) == one_answer
    assert left_in_the_journal(tmp_path) == []


CHILDREN = """
    import multiprocessing, sys, time
    import mlflow, mlflow_dsver as dsver
    from joblib import Parallel, delayed

    def trial(parent, number):
        inputs = {"training": REFERENCE} if number % 2 else None  # a child may say it again, or not
        with dsver.start_run(inputs=inputs, tags={"mlflow.parentRunId": parent}) as run:
            mlflow.log_param("trial", number)
            return str(run.datasets["training"])

    if __name__ == "__main__":
        with dsver.start_run(inputs={"training": REFERENCE}) as run:
            print("ready", flush=True)
            sys.stdin.readline()
            each = [(run.info.run_id, number) for number in range(8)]
            if METHOD == "joblib":
                print(Parallel(n_jobs=2)(delayed(trial)(*one) for one in each))
            else:
                with multiprocessing.get_context(METHOD).Pool(2) as pool:
                    print(pool.starmap(trial, each), flush=True)
"""


@pytest.mark.parametrize("method", [pytest.param("joblib", marks=pytest.mark.slow), "fork"])
def test_children_in_other_processes_inherit_from_their_parent(
    server, start, paperspace_emulator, one_answer, method, tmp_path
):
    """Without a launcher: the parent's id, handed on in a tag, is enough."""
    script = f"REFERENCE, METHOD = {CLEAN!r}, {method!r}\n" + textwrap.dedent(CHILDREN)
    parent = start(script)
    assert parent.stdout.readline() == "ready\n"
    move_the_tag(paperspace_emulator)
    out, err = parent.communicate("go\n", timeout=100)
    assert (parent.returncode, out) == (0, f"{[FIRST] * 8}\n"), err
    made = runs(server.experiment_id)
    assert len(made) == 9
    assert all_name(made)
    asked = Counter(str(request) for request in paperspace_emulator.requests)
    known = asked.pop(f"GET /v1/datasets/{DATASET}/versions/fo5rp4m", 0)
    assert known <= 2, "each other process learns once what is behind the parent's canonical reference"
    assert asked.total() == one_answer
    assert left_in_the_journal(tmp_path) == []


def test_children_inherit_even_before_the_parents_record_has_reached_the_server(
    server, server_proxy, start, paperspace_emulator
):
    """The server has not answered to the parent's record; the children do not read `nothing` out of that."""
    server_proxy.held = "runs/log-batch"
    script = f"REFERENCE, METHOD = {CLEAN!r}, 'spawn'\n" + textwrap.dedent(CHILDREN)
    parent = start(script, MLFLOW_TRACKING_URI=server_proxy.address)
    assert parent.stdout.readline() == "ready\n"
    until(lambda: "POST runs/log-batch" in server_proxy.calls())
    move_the_tag(paperspace_emulator)
    parent.stdin.write("go\n")
    parent.stdin.flush()
    told = parent.stdout.readline()
    assert not server_proxy.release.is_set()
    server_proxy.release.set()
    out, err = parent.communicate(timeout=100)
    assert (parent.returncode, told, out) == (0, f"{[FIRST] * 8}\n", ""), err
    assert all_name(runs(server.experiment_id))


EXPLICIT = """
    import sys
    import mlflow_dsver as dsver
    print("asking", flush=True)
    with dsver.start_run(inputs={"training": REFERENCE}) as run:
        data = run.datasets["training"]
        print(data, (data.path() / "tom.txt").read_text(), run.info.run_id)
"""
PLAIN = """
    import mlflow
    import mlflow_dsver as dsver
    print("asking", flush=True)
    with mlflow.start_run() as run:
        version = dsver.resolve(REFERENCE)  # where a rank finds its files
        folder = dsver.get_provider("paperspace").path(version)
        print(version, (folder / "tom.txt").read_text(), run.info.run_id)
"""
USED = """
    import mlflow
    import mlflow_dsver as dsver
    print("asking", flush=True)
    with mlflow.start_run() as run:
        data = dsver.use(REFERENCE)
        print(data, (data.path() / "tom.txt").read_text(), run.info.run_id)
"""
RANKS = """
    import json, os, subprocess, sys
    ranks = [subprocess.Popen(["python", "-W", "ignore", *sys.argv[2:]], env={**os.environ, **each},
                              stdout=subprocess.PIPE, text=True) for each in json.loads(sys.argv[1])]
    print(json.dumps([rank.communicate()[0] for rank in ranks]))
    sys.exit(max(rank.returncode for rank in ranks))
"""


def torchrun(rank: int, size: int) -> dict[str, str]:
    """What torchrun sets for a worker on one host, as far as we look at it."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_ERROR_FILE": f"/tmp/torchelastic_x1y2/none_a3b4/attempt_0/{rank}/error.json",
    }


def srun(rank: int, size: int) -> dict[str, str]:
    number = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NTASKS": str(size)}
    return {**number, "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(size)}


def mpirun(rank: int, size: int) -> dict[str, str]:
    number = {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": str(size)}
    return {**number, "OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "PMIX_NAMESPACE": "prterun-host-81@1"}


def horovodrun(rank: int, size: int) -> dict[str, str]:
    meeting = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1", "HOROVOD_GLOO_RENDEZVOUS_PORT": "40123"}
    return {"HOROVOD_RANK": str(rank), "HOROVOD_SIZE": str(size), "HOROVOD_LOCAL_RANK": str(rank), **meeting}


@pytest.fixture
def shared(server, server_proxy) -> dict[str, str]:
    """The variables by which all ranks resume one run, through the proxy."""
    run = MlflowClient(server.uri).create_run(server.experiment_id)
    return {"MLFLOW_RUN_ID": run.info.run_id, "MLFLOW_TRACKING_URI": server_proxy.address}


@pytest.fixture
def rank_script(tmp_path) -> Callable[[str], str]:
    def write(script: str) -> str:
        path = tmp_path / "train.py"
        path.write_text(f"REFERENCE = {CLEAN!r}\n" + textwrap.dedent(script))
        return str(path)

    return write


def writes(calls: list[str]) -> Counter[str]:
    """The requests that put anything on a run, other than MLflow's own update of its status."""
    return Counter(call for call in calls if call.endswith(WRITES))


def one_record(calls: list[str]) -> bool:
    """One batch of params and tags, one of inputs, the link's artifact and the card."""
    return writes(calls) == {"POST runs/log-batch": 1, "POST runs/log-inputs": 1, "PUT artifact": 2}


@pytest.mark.parametrize(
    ("script", "with_launcher", "variables", "size"),
    [
        (EXPLICIT, False, torchrun, 8),
        (EXPLICIT, True, torchrun, 2),
        (PLAIN, False, torchrun, 2),
        (PLAIN, True, torchrun, 8),
        (USED, False, torchrun, 2),
        (EXPLICIT, False, srun, 2),
        (PLAIN, False, mpirun, 2),
        (EXPLICIT, False, horovodrun, 2),
    ],
    ids=["start_run", "start_run-launcher", "variable", "variable-launcher", "use", "srun", "mpirun", "horovodrun"],
)
def test_ranks_that_resume_one_run_have_one_answer_and_one_of_them_writes(
    start,
    server_proxy,
    shared,
    rank_script,
    paperspace_emulator,
    one_answer,
    cats,
    script,
    with_launcher,
    variables,
    size,
):
    inputs = {"MLFLOW_DSVER_INPUTS": f"training={CLEAN}"} if script is PLAIN and not with_launcher else {}
    job = start(
        RANKS,
        json.dumps([variables(rank, size) for rank in range(size)]),
        rank_script(script),
        launcher=launched() if with_launcher else (),
        **shared,
        **inputs,
    )
    out, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    assert json.loads(out) == [f"asking\n{FIRST} miaow {shared['MLFLOW_RUN_ID']}\n"] * size
    assert one_record(server_proxy.calls()), server_proxy.calls()
    run = MlflowClient().get_run(shared["MLFLOW_RUN_ID"])
    assert links(run) == {"training": FIRST}
    assert len(paperspace_emulator.requests) == one_answer


def test_another_rank_may_ask_first_and_the_first_still_writes(
    start, server_proxy, shared, rank_script, paperspace_emulator, one_answer, cats
):
    """Rank 3 comes first and rank 0 last, when the tag has moved: it has the job's answer, and only it writes."""
    script = rank_script(EXPLICIT)
    for rank in (3, 1, 2, 0):
        assert writes(server_proxy.calls()) == {}
        done = start(RANKS, json.dumps([torchrun(rank, 4)]), script, **shared)
        out, err = done.communicate(timeout=60)
        assert FIRST in out, err
        if rank == 3:
            move_the_tag(paperspace_emulator)
    assert one_record(server_proxy.calls())
    assert len(paperspace_emulator.requests) == one_answer


def test_when_the_rank_that_asks_is_killed_another_one_asks(
    start, server_proxy, shared, rank_script, paperspace_emulator, one_answer, cats
):
    """Its place in the queue is free at once; rank 0, started again, has the answer of the others and writes."""
    paperspace_emulator.inject("hang:times=1")
    script = f"REFERENCE = {CLEAN!r}\n" + textwrap.dedent(EXPLICIT)
    first = start(script, **shared, **torchrun(0, 4))
    until(lambda: len(paperspace_emulator.requests) == 1)
    others = [start(script, **shared, **torchrun(rank, 4)) for rank in (1, 2, 3)]
    assert [other.stdout.readline() for other in others] == ["asking\n"] * 3
    assert len(paperspace_emulator.requests) == 1
    first.kill()
    first.wait()
    for other in others:
        out, err = other.communicate(timeout=60)
        assert out.startswith(FIRST), err
    assert writes(server_proxy.calls()) == {}
    move_the_tag(paperspace_emulator)
    out, err = start(script, **shared, **torchrun(0, 4)).communicate(timeout=60)
    assert FIRST in out, err
    assert one_record(server_proxy.calls())
    assert len(paperspace_emulator.requests) == 1 + one_answer, "they waited for rank 0, and one asked for all"


TORCH = """
    import os
    import torch, torch.distributed
    import mlflow, mlflow_dsver as dsver
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    inputs = {"training": REFERENCE}
    run = dsver.start_run(inputs=inputs) if rank == 0 else None  # as most scripts do
    version = run.datasets["training"].version if run else dsver.resolve(REFERENCE)
    folder = dsver.get_provider("paperspace").path(version)
    size = torch.tensor([float((folder / "tom.txt").stat().st_size)])
    torch.distributed.all_reduce(size)
    seen = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(seen, str(version))
    if rank == 0:
        mlflow.log_metric("size", size.item())
        mlflow.end_run()
        print(size.item(), seen)
    torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch, which is large and no dependency, is not installed"
)
@pytest.mark.parametrize("with_launcher", [True, False], ids=["launcher", "alone"])
def test_torchrun_with_4_cpu_ranks(start, server, server_proxy, paperspace_emulator, one_answer, cats, with_launcher):
    """Only rank 0 has a run; the others read their files, and nobody asks again."""
    job = start(
        f"REFERENCE = {CLEAN!r}\n" + textwrap.dedent(TORCH),
        launcher=launched() if with_launcher else (),
        python=(sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "4"),
        MLFLOW_TRACKING_URI=server_proxy.address,
        OMP_NUM_THREADS="1",
        PYTHONWARNINGS="ignore",
    )
    out, err = job.communicate(timeout=120)
    assert (job.returncode, out) == (0, f"20.0 {[FIRST] * 4}\n"), err
    (run,) = runs(server.experiment_id)
    assert links(run) == {"training": FIRST}
    assert writes(server_proxy.calls()) == {
        "POST runs/log-batch": 1,
        "POST runs/log-inputs": 1,
        "POST runs/log-metric": 1,
        "PUT artifact": 2,
    }
    assert len(paperspace_emulator.requests) == one_answer


@pytest.fixture
def asked(fake, monkeypatch) -> list[str]:
    """Each time that the fake provider is asked what `fake://cats@clean` means, which is version `v1` at first."""
    calls: list[str] = []
    resolve = fake.resolve

    def counted(self: FakeProvider, ref: DatasetRef) -> DatasetVersion:
        calls.append(str(ref))
        return resolve(self, ref)

    monkeypatch.setattr(fake, "resolve", counted)
    fake.has(version())
    return calls


CATS = "fake://cats@clean"


@pytest.mark.parametrize("way", ["parent", "variable"])
def test_a_sweep_of_1000_trials_resolves_once(tracking, fake, asked, monkeypatch, way):
    """What each trial is to be linked to, found out as at the start of a run; the tag moves after the first."""
    client = MlflowClient()
    if way == "variable":
        monkeypatch.setenv("MLFLOW_DSVER_INPUTS", f"training={CATS}")
        monkeypatch.setenv("MLFLOW_DSVER_RESOLVED", "")  # so that what is told to children is taken back
        resolver.clear_resolutions()
        plans = [resolved_inputs.resolve_inputs(client, {}, "warn", arguments={}, reuse=True)]
    else:
        dsver.start_run(inputs={"training": CATS})
        plans = []
    fake.has(version(name="v2"))
    script = {"training": CATS} if way == "parent" else {}
    plans += [
        resolved_inputs.resolve_inputs(client, script, "warn", arguments={"nested": True}, reuse=way == "variable")
        for _ in range(1000 - len(plans))
    ]
    assert asked == [CATS]
    assert {str(plan.links["training"].version) for plan in plans} == {"fake://cats@v1"}
    resolver.clear_resolutions()
    assert str(dsver.get_provider("fake").resolve(dsver.parse(CATS))) == "fake://cats@v2"


def test_50_nested_runs_resolve_once(tracking, fake, asked):
    with dsver.start_run(inputs={"training": CATS}):
        fake.has(version(name="v2"))
        for number in range(50):
            with dsver.start_run(inputs={"training": CATS} if number % 2 else None, nested=True):
                pass
    made = runs(tracking.experiment_id)
    assert len(made) == 51
    assert all_name(made, "fake://cats@v1")
    assert asked == [CATS]
