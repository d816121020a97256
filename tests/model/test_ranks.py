"""Ranks from the variables of all launchers: malformed ones are ignored, and jobs are distinguished."""

from __future__ import annotations

import pytest

from mlflow_dsver.resolution import ranks
from mlflow_dsver.resolution.ranks import Rank

TORCH = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "node-1", "MASTER_PORT": "29500"}
ELASTIC = {
    **TORCH,
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_ERROR_FILE": "/tmp/torchelastic_q/none_x1/attempt_0/3/error.json",
}
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}
MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "PMIX_NAMESPACE": "prterun-node-1@1"}
MPI_4 = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_MCA_ess_base_jobid": "2914"}
HOROVOD = {
    "HOROVOD_RANK": "3",
    "HOROVOD_SIZE": "8",
    "HOROVOD_GLOO_RENDEZVOUS_ADDR": "node-1",
    "HOROVOD_GLOO_RENDEZVOUS_PORT": "4711",
}
LAUNCHERS = {"torchrun": ELASTIC, "slurm": SLURM, "openmpi": MPI, "horovod": HOROVOD}
NUMBER = {"torchrun": "RANK", "slurm": "SLURM_PROCID", "openmpi": "OMPI_COMM_WORLD_RANK", "horovod": "HOROVOD_RANK"}
SIZE = {
    "torchrun": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "openmpi": "OMPI_COMM_WORLD_SIZE", "horovod": "HOROVOD_SIZE"
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests themselves may run inside a job."""
    for name in {**ELASTIC, **SLURM, **MPI, **MPI_4, **HOROVOD, "SLURM_STEP_NUM_TASKS": "", "SLURM_CLUSTER_NAME": ""}:
        monkeypatch.delenv(name, raising=False)


def seen(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Rank | None:
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return ranks.current()


def test_most_processes_are_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.current() is None
    assert seen(monkeypatch, {"RANK": "3"}) is None


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_launcher_is_understood(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(monkeypatch, LAUNCHERS[launcher])
    assert found is not None
    assert (found.number, found.size, found.launcher) == (3, 8, launcher)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_all_ranks_of_a_job_have_the_same_job(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [seen(monkeypatch, {**LAUNCHERS[launcher], NUMBER[launcher]: str(rank)}) for rank in range(8)]
    assert [rank.number for rank in found if rank] == list(range(8))
    assert len({rank.job for rank in found if rank}) == 1


@pytest.mark.parametrize(
    ("variables", "name", "other"),
    [
        (ELASTIC, "TORCHELASTIC_RUN_ID", "another"),
        (ELASTIC, "TORCHELASTIC_ERROR_FILE", "/tmp/torchelastic_q/none_x2/attempt_0/3/error.json"),
        (TORCH, "MASTER_PORT", "29501"),
        (SLURM, "SLURM_JOB_ID", "78"),
        (SLURM, "SLURM_STEP_ID", "1"),
        (MPI, "PMIX_NAMESPACE", "prterun-node-1@2"),
        (MPI_4, "OMPI_MCA_ess_base_jobid", "2915"),
        (HOROVOD, "HOROVOD_GLOO_RENDEZVOUS_PORT", "4712"),
    ],
)
def test_another_job_is_told_apart(
    variables: dict[str, str], name: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = seen(monkeypatch, variables), seen(monkeypatch, {**variables, name: other})
    assert one is not None
    assert two is not None
    assert one.job != two.job


@pytest.mark.parametrize("attempt", ["attempt_1", "cycle_1"])
def test_a_rank_that_torchrun_restarted_is_of_the_same_job(attempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """cycle_… is what NVIDIA's ft_launcher, made of torchrun, has."""
    again = {**ELASTIC, "RANK": "5", "TORCHELASTIC_ERROR_FILE": f"/tmp/torchelastic_q/none_x1/{attempt}/5/error.json"}
    one, two = seen(monkeypatch, ELASTIC), seen(monkeypatch, again)
    assert one is not None
    assert two is not None
    assert one.job == two.job


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("value", ["", " ", "x", "-1", "1.0", "8", "٣", "1" * 30, "0x1", "1_0"])
def test_garbage_is_as_if_it_were_not_set(launcher: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, {**LAUNCHERS[launcher], NUMBER[launcher]: value}) is None
    if value != "8":
        assert seen(monkeypatch, {**LAUNCHERS[launcher], SIZE[launcher]: value}) is None


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_job_of_one_process_is_none(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, {**LAUNCHERS[launcher], NUMBER[launcher]: "0", SIZE[launcher]: "1"}) is None


def test_a_batch_script_is_one_process_however_many_tasks_its_job_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "77"}) is None


def test_a_step_of_one_task_in_a_larger_allocation_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, {**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None


def test_the_innermost_launcher_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """srun starts one torchrun on each node, which starts the ranks."""
    found = seen(monkeypatch, {**SLURM, **ELASTIC, "RANK": "6"})
    assert found is not None
    assert (found.number, found.launcher) == (6, "torchrun")


def test_a_job_without_a_name_is_that_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (seen(monkeypatch, {"RANK": rank, "WORLD_SIZE": "2"}) for rank in "01")
    assert one is not None
    assert two is not None
    assert one.job == two.job
    assert "session" in one.job
