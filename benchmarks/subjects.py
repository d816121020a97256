"""The measured subjects; each measurement is a process: `python subjects.py NAME FOLDER SCRATCH`.

Prints one line of JSON: `{"seconds": …}`, `{"absent": "the package that is not installed"}` or `{"error": "…"}`. Only
the work is timed, without Python's start and imports. The module imports nothing from this repository at its top, so
that the Python of another environment can run it.
"""

# Strings instead of Path: the baselines must be as fast as possible.
# ruff: noqa: PTH116, PTH118, PTH123
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Work = Callable[[], object]


def walk_and_stat(folder: Path, _scratch: Path) -> Work:
    """The fastest walk in Python: stat every file and nothing else."""

    def work() -> None:
        folders = [str(folder)]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    else:
                        entry.stat()

    return work


def plain_loop(folder: Path, _scratch: Path) -> Work:
    """The obvious loop: walk, stat, read, BLAKE3, in one thread."""
    from blake3 import blake3

    def work() -> None:
        for parent, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                os.stat(path)
                hasher = blake3()
                with open(path, "rb") as stream:
                    while data := stream.read(1 << 20):
                        hasher.update(data)
                hasher.hexdigest()

    return work


def all_cores(folder: Path, _scratch: Path) -> Work:
    """Read and BLAKE3 on all cores: one thread per core, each with whole files, and nothing else."""
    from blake3 import blake3

    def hash_one(path: str) -> str:
        hasher = blake3()
        buffer = memoryview(bytearray(1 << 20))
        with open(path, "rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                hasher.update(buffer[:count])
        return hasher.hexdigest()

    paths = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]

    def work() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(hash_one, paths):
                pass

    return work


def all_cores_a_file(folder: Path, _scratch: Path) -> Work:
    """The other way to use all cores: one file at a time, each hashed by all of BLAKE3's threads."""
    from blake3 import blake3

    paths = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]

    def work() -> None:
        buffer = memoryview(bytearray(4 << 20))
        for path in paths:
            hasher = blake3(max_threads=blake3.AUTO)
            with open(path, "rb", buffering=0) as stream:
                while count := stream.readinto(buffer):
                    hasher.update(buffer[:count])
            hasher.hexdigest()

    return work


def ours_hash(folder: Path, scratch: Path) -> Work:
    """`hash_folder` of this package, with cache and manifest."""
    from mlflow_dsver.content.hashing import hash_folder
    from mlflow_dsver.content.stat_cache import StatCache

    return lambda: hash_folder(folder, cache=StatCache(scratch / "cache"))


def ours_version(folder: Path, scratch: Path) -> Work:
    """A version in the local store, with its files copied and synced to disk."""
    os.environ["MLFLOW_DSVER_HOME"] = str(scratch / "home")
    from mlflow_dsver.providers.local import LocalProvider

    return lambda: LocalProvider(scratch / "store").create("benchmark", folder)


def dvc_add(folder: Path, scratch: Path) -> Work:
    """`dvc add` by its Python API; its repository is the folder's parent, since it only adds files inside it."""
    os.environ.update(DVC_NO_ANALYTICS="1", DVC_SITE_CACHE_DIR=str(scratch / "site"), HOME=str(scratch))
    from dvc.repo import Repo

    os.chdir(folder.parent)
    repo = Repo() if Path(".dvc").exists() else Repo.init(no_scm=True)
    return lambda: repo.add(str(folder))


def wandb_add_dir(folder: Path, scratch: Path) -> Work:
    """W&B's `Artifact.add_dir`, offline, without login: it hashes the files and copies them to its staging area."""
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        path = scratch / name.lower()
        path.mkdir(exist_ok=True)
        os.environ[f"WANDB_{name}"] = str(path)
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false", HOME=str(scratch))
    import wandb

    artifact = wandb.Artifact("benchmark", type="dataset")
    return lambda: artifact.add_dir(str(folder))


def warm(folder: Path, scratch: Path) -> Work:
    """Read all files once, so that all subjects have the same page cache."""
    return all_cores(folder, scratch)


SUBJECTS = {
    "warm": warm,
    "walk": walk_and_stat,
    "loop": plain_loop,
    "cores": all_cores,
    "cores-file": all_cores_a_file,
    "ours-hash": ours_hash,
    "ours-version": ours_version,
    "dvc": dvc_add,
    "wandb": wandb_add_dir,
}


def main(name: str, folder: str, scratch: str) -> dict[str, object]:
    """Measure one subject once."""
    try:
        work = SUBJECTS[name](Path(folder), Path(scratch))
    except ModuleNotFoundError as error:
        return {"absent": (error.name or "?").split(".")[0]}
    start = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    output = os.dup(1)
    os.dup2(2, 1)  # the peers' own output goes to standard error
    try:
        result = main(*sys.argv[1:])
    except Exception as error:  # noqa: BLE001  (a peer may raise anything; the report states it)
        result = {"error": f"{type(error).__name__}: {error}"}
    os.write(output, json.dumps(result).encode())
    os._exit(0)
