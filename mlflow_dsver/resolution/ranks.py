"""The rank of this process in a distributed job, from the environment variables of its launcher.

Supported: torchrun and launchers that set its variables (DeepSpeed, Accelerate, Ray), Open MPI, Horovod's own
launcher, and SLURM's srun; the innermost one counts. Malformed variables are ignored, and a job of one process is not
distributed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_dsver import settings
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.resolution import resolution_cache


@dataclass(frozen=True, slots=True)
class Rank:
    """One process of a job.

    number: from 0. size: processes in the job; None if the launcher does not set it. launcher: its name.
    job: an id of the job, equal in all its processes on this host. It differs between jobs, except for two jobs with
    manually set torchrun variables that run one after the other on the same port.
    """

    number: int
    size: int | None
    launcher: str
    job: str


def current() -> Rank | None:
    """The rank of this process; None if it is not part of a distributed job."""
    return _torchrun() or _open_mpi() or _horovod() or _slurm()


def _torchrun() -> Rank | None:
    """torchrun's variables: https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables.

    The run id is `none` unless it was chosen. The log folder is unique for each job (the path up to `/attempt_…` in
    TORCHELASTIC_ERROR_FILE), so it distinguishes jobs if torchrun itself started the process.
    """
    logs = re.match(r"(.+)/(?:attempt|cycle)_\d+/", settings.text("TORCHELASTIC_ERROR_FILE") or "")
    names = _texts("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")
    return _rank("torchrun", "RANK", "WORLD_SIZE", names + ([logs[1]] if logs else []))


def _open_mpi() -> Rank | None:
    """Open MPI: the job id is in PMIX_NAMESPACE, up to version 4 in OMPI_MCA_ess_base_jobid."""
    names = _texts("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")
    return _rank("openmpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", names)


def _horovod() -> Rank | None:
    """Horovod's Gloo launcher; its rendezvous address and port are unique for each job."""
    names = _texts("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT")
    return _rank("horovod", "HOROVOD_RANK", "HOROVOD_SIZE", names)


def _slurm() -> Rank | None:
    """A task of srun: https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES.

    A batch script also has SLURM_PROCID and SLURM_NTASKS although it is one process, but it has no step id.
    """
    if _number("SLURM_STEP_ID") is None:
        return None
    size = "SLURM_STEP_NUM_TASKS" if _number("SLURM_STEP_NUM_TASKS") is not None else "SLURM_NTASKS"
    return _rank("slurm", "SLURM_PROCID", size, _texts("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID"))


def _rank(launcher: str, number_name: str, size_name: str, names: list[str]) -> Rank | None:
    number, size = _number(number_name), _number(size_name)
    if number is None or size is None or number >= size or size < 2:
        return None
    return Rank(number, size, launcher, " ".join([launcher, *(names or [_session()])]))


def _session() -> str:
    """An id that the processes of one terminal, service or scheduler job share, for launchers without a job id."""
    return f"session {os.getsid(0)}" if hasattr(os, "getsid") else f"parent {os.getppid()}"


def _texts(*names: str) -> list[str]:
    return [f"{name}={text}" for name in names if (text := settings.text(name)) is not None]


def _number(name: str) -> int | None:
    text = settings.text(name) or ""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def once_per_job(text: str, work: Callable[[], DatasetVersion], job: str, wait: float) -> DatasetVersion:
    """The result of `work`, which only one of the job's ranks on this host executes; see `resolve_once`."""
    rank = current()
    return work() if rank is None else resolution_cache.resolve_once(text, f"{rank.job} {job}".rstrip(), work, wait)
