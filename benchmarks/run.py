"""Measures this package, its peers and the machine on the same folders; prints times, ratios and the machine's data.

Each measurement runs in a separate process, after all files were read once, so that all have the same page cache;
"first" starts with empty caches, "unchanged" with those that "first" left. Each repetition runs all subjects, so that
temporary load affects all of them. Peers that are not installed are reported as such.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.facts import import_times, load, machine
from benchmarks.folders import Shape, make, shapes
from benchmarks.table import GOALS, ratio_of, ratios, times

SETTLE = 3.5
"""Seconds to wait after files were changed: the stat cache rejects younger files."""

ONCE = {
    "walk": "walk and stat",
    "loop": "plain loop",
    "cores": "read + BLAKE3, a core a file",
    "cores-file": "read + BLAKE3, all cores a file",
}
TWICE = {"ours-hash": "ours: hash", "ours-version": "ours: version", "wandb": "wandb add_dir", "dvc": "dvc add"}
"""dvc is last, since it replaces the files by links to its cache."""

PEERS = ("dvc", "wandb")
SUBJECTS = Path(__file__).with_name("subjects.py")


def measure(subject: str, folder: Path, scratch: Path, python: str) -> float | str:
    """Seconds of one subject in a new process, or why it was not measured."""
    command = [python, str(SUBJECTS), subject, str(folder), str(scratch)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        result = json.loads(completed.stdout)
    except ValueError:
        return f"failed: {completed.stderr.strip()[-200:] or completed.returncode}"
    if "absent" in result:
        return "not installed"
    return result["seconds"] if "seconds" in result else f"failed: {result['error'][:200]}"


def measure_round(folder: Path, work: Path, peer_python: str) -> dict[str, float | str]:
    """Measure every subject once."""
    seconds: dict[str, float | str] = {}
    for subject, title in ONCE.items():
        seconds[title] = measure(subject, folder, work, sys.executable)
    for subject, title in TWICE.items():
        python = peer_python if subject in PEERS else sys.executable
        with scratch_in(work, folder) as scratch:
            measure("warm", folder, scratch, sys.executable)
            seconds[f"{title}, first"] = measure(subject, folder, scratch, python)
            seconds[f"{title}, unchanged"] = measure(subject, folder, scratch, python)
    return seconds


@contextmanager
def scratch_in(work: Path, folder: Path) -> Iterator[Path]:
    """A new folder for a subject's output; it and DVC's files beside the data are removed before and after."""
    remove_repository(folder.parent)
    with tempfile.TemporaryDirectory(dir=work) as name:
        yield Path(name)
    remove_repository(folder.parent)


def remove_repository(parent: Path) -> None:
    """Remove DVC's files beside the data, also those of an interrupted run."""
    for beside in (".dvc", ".dvcignore", ".gitignore", "data.dvc", "tmp"):
        path = parent / beside
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def measure_all(
    chosen: list[Shape], work: Path, repeat: int, peer_python: str
) -> dict[str, dict[str, list[float] | str]]:
    """Folder's title -> row -> seconds of each repetition, or why it was not measured."""
    measured: dict[str, dict[str, list[float] | str]] = {}
    for shape in chosen:
        log(f"creating {shape.title}")
        folder = make(shape, work)
        rows = measured.setdefault(shape.title, {})
        for number in range(1, repeat + 1):
            log(f"{shape.title}, round {number} of {repeat}, load {load()}")
            time.sleep(SETTLE)
            measure("warm", folder, work, sys.executable)
            for row, seconds in measure_round(folder, work, peer_python).items():
                before = rows.setdefault(row, [])
                if isinstance(seconds, str):
                    rows[row] = seconds
                elif isinstance(before, list):
                    before.append(seconds)
    return measured


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--small", action="store_true", help="1 %% of the files, for a quick try")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="repetitions of everything (5)")
    parser.add_argument("--only", choices=["small", "mixed", "large"], help="only one of the three folders")
    parser.add_argument("--folder", type=Path, help="create the folders there and keep them (default: temporary)")
    parser.add_argument(
        "--peer-python", default=sys.executable, metavar="PATH", help="a Python that has dvc and wandb"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all results to this file")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    chosen = [shape for shape in shapes(options.small) if options.only in (None, shape.name)]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as temporary:
        work = (options.folder or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        facts = {**machine(work, options.peer_python), "load at the start": load()}
        measured = measure_all(chosen, work, options.repeat, options.peer_python)
        facts["load at the end"] = load()
    imports = import_times(options.repeat)
    titles = {shape.name: shape.title for shape in shapes(options.small)}
    print("\n".join(f"{key:18} {value}" for key, value in facts.items()), end="\n\n")
    print(times(measured), end="\n\n")
    print(ratios(measured, titles), end="\n\n")
    for what, seconds in imports.items():
        print(f"{what:28} {'not installed' if seconds is None else f'{seconds * 1000:.1f} ms'}")
    if options.json:
        outcome = [
            {
                "goal": goal.text,
                "folder": name,
                "bound": goal.bound,
                "ratio": ratio_of(goal, measured.get(titles[name], {})),
            }
            for goal in GOALS
            for name in goal.folders
        ]
        results = {"machine": facts, "seconds": measured, "ratios": outcome, "imports": imports}
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
