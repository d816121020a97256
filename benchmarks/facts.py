"""Describes the machine, so that results of different machines are not mixed up, and measures import times."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
_IMPORT = "import time; start = time.perf_counter(); import {0}; print(time.perf_counter() - start)"


def machine(folder: Path, peer_python: str) -> dict[str, str]:
    """Processor, cores, memory, system, Python, file system, and the versions of all compared packages."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file system": _file_system(folder),
    }
    for package in ("mlflow-dsver", "blake3", "mlflow", "mlflow-skinny"):
        facts[package] = _version(sys.executable, package)
    for package in ("dvc", "wandb"):
        facts[package] = _version(peer_python, package)
    return facts


def load() -> str:
    """The load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def import_times(repeat: int) -> dict[str, float | None]:
    """Median seconds of importing this package, and its share of importing MLflow; None without MLflow."""
    own = [_import_seconds("mlflow_dsver") for _ in range(repeat)]
    shares = [_share_of_mlflow() for _ in range(repeat)]
    known = [share for share in shares if share is not None]
    return {
        "import mlflow_dsver": statistics.median(own),
        "our share of import mlflow": statistics.median(known) if known else None,
    }


def _import_seconds(module: str) -> float:
    command = [sys.executable, "-c", _IMPORT.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _share_of_mlflow() -> float | None:
    """The cumulative time of this package's outermost modules, as `python -X importtime` reports it."""
    completed = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import mlflow"], capture_output=True, text=True, check=False
    )
    if completed.returncode:
        return None
    lines = re.findall(r"import time:\s+\d+ \|\s+(\d+) \|( +)(mlflow_dsver\S*)", completed.stderr)
    outermost = min((len(indent) for _, indent, _ in lines), default=0)
    return sum(int(microseconds) for microseconds, indent, _ in lines if len(indent) == outermost) / 1e6


def _version(python: str, package: str) -> str:
    completed = subprocess.run([python, "-c", _VERSION, package], capture_output=True, text=True, check=False)
    return completed.stdout.strip() or "not installed"


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [(len(path), kind) for path, kind in mounts if folder.resolve().is_relative_to(path)]
    return max(above)[1] if above else "unknown"
