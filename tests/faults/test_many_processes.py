"""Fifty processes create, resolve, give out, tag, delete and collect at once: nothing is lost, nothing unexpected."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.providers.local.maintenance import check, collect

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]

PROCESSES = 50
WORKER = """
import json, random, sys
from pathlib import Path
from mlflow_dsver.errors import NotFound
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.providers.local.maintenance import collect
from mlflow_dsver.model.refs import DatasetRef
number, root, work, mutant = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
if mutant == "no lock":
    import time
    from mlflow_dsver.providers.local import log, store
    store.wait_for_lock = lambda *_, **__: time.sleep(0.001) or True
chance = random.Random(number)
local = LocalProvider(root)
data = work / f"data-{number}"
(data / "own").mkdir(parents=True)
(data / "shared.txt").write_text("the same in all")
kept = []
for turn in range(3):
    (data / "own" / "file.txt").write_text(f"{number} {turn}")
    made = local.create("digits", data, tags=(f"of-{number}",), message=f"{number} {turn}")
    assert local.get("digits", made.id) == made, "what was created is there"
    assert local.resolve(DatasetRef("local", "digits", f"of-{number}")) == made
    assert local.resolve(DatasetRef("local", "digits")).id
    if chance.random() < 0.4:
        local.delete(made)
        try:
            local.get("digits", made.id)
        except NotFound:
            pass
        else:
            raise AssertionError("deleted and still there")
    else:
        kept.append(made.id)
        folder = local.path(made)
        assert (folder / "own" / "file.txt").read_text() == f"{number} {turn}"
    if number % 10 == 0:
        collect(local.store, dry_run=False, min_age=0)
local.update(local.create("common", work / "common"), add_tags=("moving",))
if kept:
    local.update(local.get("digits", kept[-1]), add_tags=("moving",))
print(json.dumps(kept))
"""


def run_all(tmp_path: Path, mutant: str, processes: int) -> tuple[list[str], list[str]]:
    """What the processes kept, and what they complained of."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "a.txt").write_text("the same for everybody")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(number), str(tmp_path / "store"), str(tmp_path), mutant],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    kept: list[str] = []
    errors = []
    for process in started:
        out, error = process.communicate(timeout=240)
        if process.returncode == 0:
            kept += json.loads(out)
        else:
            errors.append(error[-1500:])
    return kept, errors


@pytest.mark.slow
def test_fifty_processes_lose_nothing(tmp_path: Path) -> None:
    """Every version that a process kept is there, whole, with its message; the store checks clean."""
    kept, errors = run_all(tmp_path, "none", PROCESSES)
    assert errors == []
    local = LocalProvider(tmp_path / "store")
    assert check(local.store)
    assert sorted(version.id for version in local.versions("digits")) == sorted(kept)
    assert len(list(local.versions("common"))) == 1
    assert len(list(local.versions("digits", tag="moving"))) <= 1
    collect(local.store, dry_run=False, min_age=0)
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert check(local.store)
    for version_id in kept[::10]:
        version = local.get("digits", version_id)
        assert hash_folder(local.path(version)).digest == version.content_digest


@pytest.mark.slow
def test_without_locks_something_is_lost(tmp_path: Path) -> None:
    """The mutant: locks that are not taken. The processes step on each other, and it is noticed."""
    kept, errors = run_all(tmp_path, "no lock", 20)
    local = LocalProvider(tmp_path / "store")
    damaged = not check(local.store)
    assert errors or damaged or len(list(local.versions("digits"))) != len(kept)
