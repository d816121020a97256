"""What every test may use: a world of its own, a tracking store, a real tracking server, and small folders.

Each test gets an empty `MLFLOW_DSVER_HOME` and no setting of the person who runs it. MLflow is touched only by tests
that ask for `tracking` (SQLite file) or `server` (a real `mlflow server` on loopback, one for the whole session).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from prepared import Prepared
from servers import Tracking, free_port, tracking_server

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A fit on small data takes twenty times as long with threads that wait for each other, more on a busy machine."""

hypothesis.settings.register_profile("laws", deadline=None)  # laws are tested, not the speed of this machine
hypothesis.settings.load_profile("laws")

pytest_plugins = ("processes",)  # the command line

SHARED = pytest.StashKey[tuple[Path, Prepared]]()

FOREIGN_WARNINGS = (
    "ignore:The ``noload`` loader strategy is deprecated",  # MLflow 3.17 under SQLAlchemy 2.1
    "ignore:Starting with pandas version 4.0 all arguments",  # its inference of a frame's schema
    # a thread of a former test whose server is gone still tries, and its waits are random: no strategy did that
    "ignore:Do not use the `random` module inside strategies",
)


SLOW_FIRST = (
    "training_code/test_training_code.py",
    "browser/test_lineage_pages.py",
    "browser/test_lineage_behind_a_login.py",
    "faults/test_kill.py",
    "docs/test_notebooks.py",
    "docs/test_readme.py",
    "tracking/test_sweeps_and_ranks.py",
    "tracking/test_failure_modes.py",
    "tracking/test_every_way.py",
    "browser/test_pages_say_only_what_records_say.py",
    "contract/test_clarifai_contract.py",
    "tracking/test_on_a_server.py",
    "tracking/test_sync.py",
    "tracking/test_source.py",
    "tracking/test_bulk_attach.py",
    "tracking/test_mlflow_private.py",
    "tracking/test_linking_troubles.py",
    "cli/test_cli_terminal.py",
    "cli/test_cli_run.py",
    "faults/test_flipped_bits.py",
)
"""Files that take longest: begun last, one of them would keep one process busy while the others are idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, all others in their order."""
    order = {Path(__file__).parent / name: number for number, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for those that MLflow's own code gives off or leaves behind.

    SIGINT has its usual meaning, for the processes that tests start and interrupt as well: nohup, `&` in a script and
    some CI runners start programs with it ignored, and that is inherited.
    """
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files that have most tests
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for warning in FOREIGN_WARNINGS:
        config.addinivalue_line("filterwarnings", warning)


def pytest_sessionstart() -> None:
    """Stop where the editable install is older than pyproject.toml and lacks entry points."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    wanted = {
        (group, name)
        for group, points in tomllib.loads(text)["project"].get("entry-points", {}).items()
        for name in points
    }
    missing = wanted - {(point.group, point.name) for point in distribution("mlflow-dsver").entry_points}
    if missing:
        pytest.exit(f"entry points are missing: {sorted(missing)}. Install again: pip install --no-deps -e .", 4)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Each process of pytest-xdist is told the folder of what they share, and the prepared Python starts in it."""
    if SHARED not in node.config.stash:
        folder = Path(tempfile.mkdtemp(prefix="tests-shared-"))
        node.config.stash[SHARED] = folder, Prepared(folder)
    node.workerinput["shared"] = str(node.config.stash[SHARED][0])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the processes shared."""
    if SHARED in config.stash:
        folder, prepared = config.stash[SHARED]
        prepared.close()
        shutil.rmtree(folder, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite-golden` writes the files in tests/golden anew from what is rendered now; look at the difference."""
    parser.addoption("--rewrite-golden", action="store_true", help="write tests/golden anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("cli/help.txt", text)`: the text is that of the file in tests/golden, or is written there if asked."""
    folder = Path(__file__).parent / "golden"

    def compare(name: str, text: str) -> None:
        path = folder / name
        if request.config.getoption("--rewrite-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{name} is missing; pytest --rewrite-golden writes it"
        assert text == path.read_text(encoding="utf-8"), "changed; pytest --rewrite-golden writes it anew"

    return compare


_NOT_OURS = (
    "MLFLOW_", "PAPERSPACE_", "CLARIFAI_", "_MLFLOW_", "AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST",
    "HF_", "HUGGING_FACE_", "HUGGINGFACE_",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting, key or store of the person who runs the tests; MLflow forgets what a test told it."""
    for name in list(os.environ):
        if name.startswith(_NOT_OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path / "dsver-home"))
    monkeypatch.setenv("MLFLOW_DSVER_CONFIG", str(tmp_path / "no-such-config.toml"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    yield
    if "mlflow.tracking.fluent" in sys.modules:
        _forget()


def _forget() -> None:
    import mlflow
    from mlflow.tracking import fluent

    while mlflow.active_run():
        try:
            mlflow.end_run()
        except Exception:
            continue  # its server is gone; the run is off the stack all the same
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)  # which a server in this process sets
    os.environ.pop("MLFLOW_REGISTRY_URI", None)
    fluent._active_experiment_id = None
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def session_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test session see."""
    given = getattr(request.config, "workerinput", {}).get("shared")
    return Path(given) if given else tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def prepared(session_folder: Path) -> Iterator[Prepared]:
    """A Python that has imported MLflow already; see `prepared.py`."""
    server = Prepared(session_folder, start=not (session_folder / "socket").exists())
    yield server
    server.close()


@pytest.fixture(scope="session")
def empty_database(session_folder: Path, prepared: Prepared) -> Path:
    """A tracking database with MLflow's tables and nothing in them; making one takes seconds, copying does not."""
    path = session_folder / "empty.db"
    with (session_folder / "empty.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = session_folder / "unfinished.db"
            command = [*prepared.python, "-m", "mlflow", "db", "upgrade", f"sqlite:///{made}"]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            made.rename(path)
    return path


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """A fresh SQLite store as MLflow's tracking store, with an active experiment whose artifacts lie in tmp_path."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return _activate(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")


@pytest.fixture(scope="session")
def server_address(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """The address of a real `mlflow server` on loopback with SQLite and proxied artifacts."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    with tracking_server(folder, f"sqlite:///{folder}/mlflow.db") as (address, _):
        yield address


@pytest.fixture
def server(server_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tracking:
    """The real server as MLflow's tracking store, with an active experiment of this test's own."""
    monkeypatch.chdir(tmp_path)
    return _activate(server_address, None)


@pytest.fixture
def digits_folder(tmp_path: Path) -> Path:
    """A small folder of five files in two levels; `relabelled` changes it in place."""
    folder = tmp_path / "digits"
    for index in range(4):
        (folder / str(index % 2)).mkdir(parents=True, exist_ok=True)
        (folder / str(index % 2) / f"{index}.txt").write_text(f"digit {index}\n" * 10)
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{i % 2}/{i}.txt,{i}\n" for i in range(4)))
    return folder


@pytest.fixture(scope="session")
def start_server() -> type[tracking_server]:
    """How to start a tracking server of one's own; see `tracking_server`."""
    return tracking_server


@pytest.fixture
def unused_port() -> int:
    """A port of the loopback address that nothing listens on."""
    return free_port()


def _activate(uri: str, artifacts: Path | None) -> Tracking:
    import secrets

    import mlflow

    mlflow.set_tracking_uri(uri)
    location = artifacts.as_uri() if artifacts else None
    experiment_id = mlflow.create_experiment(f"test {secrets.token_hex(6)}", artifact_location=location)
    mlflow.set_experiment(experiment_id=experiment_id)
    return Tracking(uri, experiment_id)
