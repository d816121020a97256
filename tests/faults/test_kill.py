"""A command that is killed at any of its changes to the store leaves the store as it was or as it should become.

strace stops the process for good as it enters the n-th call of a kind; this is done for every call that touches the
store. The mutants show that the checks below would notice an order of steps that is wrong.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.local import LocalProvider, Store
from mlflow_dsver.providers.local.maintenance import check, collect

CALLS = (
    "openat,write,pwrite64,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,"
    "syncfs,chmod,fchmod,fchmodat,?fchmodat2,ioctl,ftruncate,flock,symlink,symlinkat,copy_file_range"
)
CHILD = Path(__file__).with_name("kill_child.py")
LINE = re.compile(r"\d+ +(\w+)\((.*)")

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to kill at each system call"),
]


@dataclass(frozen=True)
class World:
    """A store with one version, the folder of a second, and what both are."""

    base: Path
    source: Path
    first: str
    first_digest: str
    second_digest: str

    def arguments(self, command: str) -> list[str]:
        return [str(self.source)] if command == "create" else [self.first]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DSVER_HOME", str(folder / "home"))
        yield make_world(folder)


@pytest.fixture
def killed() -> Iterator[Path]:
    """Where stores are killed; in memory where there is such a folder, because a kill loses nothing of it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder, "killed")


def make_world(folder: Path) -> World:
    source = folder / "data"
    (source / "images").mkdir(parents=True)
    (source / "labels.csv").write_text("a,1\n")
    (source / "images" / "a.bin").write_bytes(b"a" * 5000)
    (source / "images" / "large.bin").write_bytes(b"b" * (1 << 20) + b"c")
    local = LocalProvider(folder / "store")
    first = local.create("digits", source, tags=("clean",), message="first")
    os.utime(source / "images" / "a.bin")
    (source / "labels.csv").write_text("a,2\n")
    (source / "images" / "b.bin").write_bytes(b"b" * 3000)
    (source / "images" / "large.bin").write_bytes(b"d" * (1 << 20) + b"c")
    assert first.content_digest
    return World(folder / "store", source, first.id, first.content_digest, hash_folder(source).digest)


def run(world: World, store: Path, command: str, mutant: str, inject: str | None = None) -> str:
    """Run a command under strace and give the trace; with `inject` it must have been killed.

    Bytecode is in a folder of the test's own, complete after the first run: a module that another test compiles
    meanwhile would change the number of a later call.
    """
    trace = store.parent / "trace"
    bytecode = world.base.parent / "bytecode" / command
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": "", "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment["MLFLOW_DSVER_HOME"] = str(store.parent / "home")
    if bytecode.exists():
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    options = [f"-einject={inject}"] if inject else []
    strace = ["strace", "-f", "-y", "-qq", "-s0", "-o", trace, f"-etrace={CALLS}", *options]
    done = subprocess.run(
        [*strace, sys.executable, CHILD, mutant, command, str(store), *world.arguments(command)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0) is (inject is None), f"{command} {inject}: {done.returncode} {done.stderr[-2000:]}"
    return trace.read_text(errors="replace")


def points(trace: str, store: Path) -> list[str]:
    """`call:when=n` of each call that touches the store."""
    counts: dict[str, int] = {}
    found = []
    for line in trace.splitlines():
        parsed = LINE.match(line)
        if not parsed:
            continue
        call, arguments = parsed.groups()
        counts[call] = counts.get(call, 0) + 1
        if "TCGETS" in arguments:  # Python asks each file that it opens whether it is a terminal: nothing is changed
            continue
        if str(store) in arguments and (call != "openat" or "O_CREAT" in arguments):
            found.append(f"{call}:signal=KILL:when={counts[call]}")
    return found


def prepare(world: World, command: str, folder: Path) -> Path:
    """A fresh copy of the store, as the command needs it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    store = folder / "store"
    if command != "create in no store":
        shutil.copytree(world.base, store, copy_function=shutil.copy)
    if command == "collect":
        local = LocalProvider(store)
        local.create("digits", world.source)
        local.delete(local.get("digits", world.second_digest[7:23]))
        local.path(local.get("digits", world.first))
        (store / "tmp" / "left").write_bytes(b"left")
    return store


def state_after(world: World, store: Path) -> str:
    """`before` or `after` the creation; anything between is an assertion that fails."""
    local = LocalProvider(store)
    report = check(Store(store))
    assert report, report.findings
    found = "before"
    for version_id, digest in ((world.first, world.first_digest), (world.second_digest[7:23], world.second_digest)):
        try:
            version = local.get("digits", version_id)
        except NotFound:
            continue
        out = store.parent / f"out-{version_id}"
        local.materialise(version, out)
        assert hash_folder(out).digest == digest
        shutil.rmtree(out)
        if digest == world.second_digest:
            found = "after"
            assert version.tags == ("clean",)
            assert version.message == "second"
            assert local.resolve(DatasetRef("local", "digits")) == version
    return found


def kill_everywhere(world: World, command: str, folder: Path, mutant: str = "none") -> list[str]:
    """Kill the command at each of its calls, look at what is left, go on with it; what states were seen."""
    name = command.split(maxsplit=1)[0]
    run(world, prepare(world, command, folder), name, mutant)  # writes the bytecode
    store = prepare(world, command, folder)
    states = []
    for point in points(run(world, store, name, mutant), store):
        store = prepare(world, command, folder)
        run(world, store, name, mutant, inject=point)
        states.append(state_after(world, store))
        local = LocalProvider(store)
        first_there = command == "create in no store" or local.get("digits", world.first)
        assert first_there or command == "delete"
        created = local.create("digits", world.source, tags=("clean",), message="second")
        assert created.content_digest == world.second_digest
        collect(Store(store), dry_run=False, min_age=0)
        assert list((store / "tmp").iterdir()) == []
        assert state_after(world, store) == "after"
    return states


@pytest.mark.slow
@pytest.mark.parametrize("command", ["create", "create in no store"])
def test_killed_creation_is_whole_or_absent(world: World, killed: Path, command: str) -> None:
    """At every call: the store checks clean, the version is whole or absent, and creating again works."""
    states = kill_everywhere(world, command, killed)
    assert len(states) >= 15
    assert states[0] == "before"
    assert states[-1] == "after", "the last call that touches the store comes after the version exists"
    assert states == sorted(states, reverse=True), "once it exists it does not vanish again"


@pytest.mark.parametrize("command", [pytest.param("path", marks=pytest.mark.slow), "tag", "collect"])
def test_other_commands_killed_leave_a_sound_store(world: World, killed: Path, command: str) -> None:
    """Giving out, tagging and collecting garbage may be killed at every call as well."""
    assert kill_everywhere(world, command, killed)


@pytest.mark.parametrize("mutant", [pytest.param("name_first", marks=pytest.mark.slow), "in_place"])
def test_the_check_notices_a_wrong_order(world: World, killed: Path, mutant: str) -> None:
    """A store that names versions before their objects, or writes objects in place, fails the test above."""
    with pytest.raises(AssertionError, match="object"):
        kill_everywhere(world, "create", killed, mutant)
