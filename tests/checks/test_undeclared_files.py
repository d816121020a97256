"""Training scripts as processes under MLFLOW_DSVER_WATCH: what their runs say about the files that they read."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.checks import undeclared_files
from mlflow_dsver.checks.undeclared_files import judge
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link, now
from mlflow_dsver.providers.interface import LocalCopy
from mlflow_dsver.tracking.opened_files import OpenedFiles

WATCHED = {"MLFLOW_DSVER_WATCH": "yes"}
INPUTS = {"MLFLOW_DSVER_INPUTS": "training=local://digits"}


@dataclass(frozen=True)
class Trained:
    """A script that ended well: what it wrote, and the tags and artifacts of its runs, oldest first."""

    out: str
    err: str
    tags: list[dict[str, str]]
    files: list[dict[str, Any]]

    @property
    def undeclared(self) -> list[str]:
        return self.files[-1]["undeclared"]["paths"]

    def read(self, role: str = "training") -> int:
        return next(each["files_read"] for each in self.files[-1]["versions"] if each["role"] == role)


Train = Callable[..., Trained]


@pytest.fixture
def train(tracking: Any, tmp_path: Path, prepared: Any) -> Train:
    def call(script: str, variables: dict[str, str] = WATCHED | INPUTS, command: tuple[str, ...] = ()) -> Trained:
        (tmp_path / "train.py").write_text(textwrap.dedent(script))
        done = subprocess.run(
            [*command, *prepared.python, "-W", "ignore", str(tmp_path / "train.py")],
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_EXPERIMENT_ID": tracking.experiment_id, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        runs = mlflow.search_runs([tracking.experiment_id], output_format="list", order_by=["start_time"])
        assert {run.info.status for run in runs} == {"FINISHED"}
        folders = [Path(run.info.artifact_uri.removeprefix("file://")) / "dsver" for run in runs]
        files = [folder / "files.read.json" for folder in folders]
        return Trained(
            done.stdout,
            done.stderr,
            [dict(run.data.tags) for run in runs],
            [json.loads(file.read_text()) for file in files if file.exists()],
        )

    return call


@pytest.fixture
def extra(tmp_path: Path, digits_folder: Path) -> Path:
    """`local://digits` is the digits folder; beside it is a folder that nobody declared."""
    dsver.create_version("local://digits", digits_folder)
    folder = tmp_path / "extra"
    folder.mkdir()
    for name in ("a.csv", "b.csv", "c.bin", "d.bin", "e.bin"):
        (folder / name).write_text("x,y\n1,2\n")
    return folder


def test_files_of_no_linked_version_are_told_however_python_reads_them(train: Train, extra: Path) -> None:
    import numpy

    numpy.save(extra / "f.npy", numpy.zeros(3))
    done = train(
        """
        import os, pathlib, mlflow, numpy, pandas
        with mlflow.start_run():
            assert pandas.read_csv("extra/a.csv").shape == (1, 2)
            assert pathlib.Path("extra", "b.csv").read_text()
            os.chdir("extra")
            assert open(b"c.bin", "rb").read()
            os.chdir("..")
            os.close(os.open("extra/d.bin", os.O_RDONLY))
            assert numpy.load("extra/f.npy", mmap_mode="r").shape == (3,)
            pandas.read_csv("digits/labels.csv")
            open("digits/0/0.txt").close()
        """
    )
    assert done.undeclared == ["extra/a.csv", "extra/b.csv", "extra/c.bin", "extra/d.bin", "extra/f.npy"]
    assert done.read() == 2
    assert done.tags[0]["dsver.files_read"] == "2 files of linked versions read, 5 undeclared"
    assert "5 files read belong to no linked version (extra/a.csv, extra/b.csv, extra/c.bin, …)" in done.err
    [version] = done.files[0]["versions"]
    assert (version["files"], version["seen_to_be_read"], version["compared_by_path_only"]) == (5, True, 0)


@pytest.mark.parametrize("reference", [False, True], ids=["kept", "referred to"])
@pytest.mark.parametrize(
    "folder",
    ["run.datasets['training'].path()", "pathlib.Path('digits')", "pathlib.Path('elsewhere')"],
    ids=["path", "source", "link"],
)
def test_files_of_a_linked_version_are_known_in_each_place_where_they_are(
    train: Train, digits_folder: Path, tmp_path: Path, folder: str, reference: bool
) -> None:
    (digits_folder / "notes.bak").write_text("no file of the version")
    (digits_folder / ".dsverignore").write_text("*.bak\n")
    dsver.create_version("local://digits", digits_folder, reference=reference)
    (tmp_path / "elsewhere").symlink_to(digits_folder)
    done = train(
        f"""
        import pathlib, mlflow_dsver as dsver
        with dsver.start_run(inputs={{"training": "local://digits"}}) as run:
            for path in {folder}.rglob("*.*"):
                path.read_bytes()
        """,
        WATCHED,
    )
    assert done.read() == 5
    assert [Path(path).name for path in done.undeclared] == ([] if ".path()" in folder else ["notes.bak"])


def test_a_version_that_was_not_seen_to_be_read_is_told_and_not_called_unused(train: Train, extra: Path) -> None:
    done = train(
        """
        import mlflow
        with mlflow.start_run():
            pass
        """
    )
    assert done.tags[0]["dsver.files_read"] == (
        "0 files of linked versions read, 0 undeclared; not seen to be read: training"
    )
    assert "not seen to be read: training; see dsver/files.read.json" in done.err
    assert "unused" not in json.dumps(done.files)
    assert any("without Python's open" in each for each in done.files[0]["cannot_be_seen"])


def test_checks_of_this_package_are_no_reading_by_the_training(train: Train, extra: Path) -> None:
    done = train(
        """
        import os
        os.chdir("digits")
        import mlflow_dsver as dsver
        with dsver.start_run(inputs={"training": "local://digits"}) as run:
            run.datasets["training"].path()
            dsver.create_version("local://other", ".")
        """,
        WATCHED | {"MLFLOW_DSVER_SEAL": "hash"},
    )
    assert done.read() == 0
    assert done.undeclared == []


def test_a_file_that_was_changed_after_its_version_was_made_is_undeclared(train: Train, extra: Path) -> None:
    (extra.parent / "digits" / "labels.csv").write_text("edited since")
    done = train(
        """
        import pathlib, mlflow
        with mlflow.start_run():
            for path in pathlib.Path("digits").rglob("*.*"):
                path.read_bytes()
        """
    )
    assert done.undeclared == ["digits/labels.csv"]
    assert done.files[0]["undeclared"]["differing"] == {"digits/labels.csv": "training"}
    assert done.read() == 4


def test_code_configuration_and_what_the_process_made_itself_is_left_out(train: Train, extra: Path) -> None:
    (extra / ".hidden").write_text("x")
    (extra / "model.yaml").write_text("x")
    (extra / "helper.py").write_text("x")
    (extra / "resumed.bin").write_text("from an earlier run")
    done = train(
        """
        import os, pathlib, subprocess, sys, tempfile, mlflow
        sys.path.insert(0, "extra")
        with mlflow.start_run():
            for name in (".hidden", "model.yaml", "helper.py", "nothing.csv"):
                path = pathlib.Path("extra", name)
                path.exists() and path.read_text()
            try:
                open("extra/nothing.csv")
            except OSError:
                pass
            os.close(os.open("extra", os.O_RDONLY))
            pathlib.Path("checkpoint.bin").write_text("1")
            pathlib.Path("checkpoint.bin").read_text()
            pathlib.Path("epoch.tmp").mkdir()
            pathlib.Path("epoch.tmp/model.bin").write_text("1")
            os.rename("epoch.tmp", "epoch-1")
            pathlib.Path("epoch-1/model.bin").read_text()
            subprocess.run(["sh", "-c", "echo 1 > derived.bin"], check=True)
            pathlib.Path("derived.bin").read_text()
            mlflow.log_artifact("checkpoint.bin")
            mlflow.artifacts.download_artifacts(artifact_uri=mlflow.get_artifact_uri("checkpoint.bin"))
            with open("extra/resumed.bin", "r+") as stream:  # read and changed: what it was is gone
                stream.read()
            pathlib.Path("extra/a.csv").read_text()
            pathlib.Path("extra/a.csv").write_text("read first, then replaced")
        """
    )
    assert done.undeclared == []
    made = done.files[0]["created_here"]["paths"]
    assert {"checkpoint.bin", "derived.bin", "epoch-1/model.bin", "extra/a.csv"} <= set(made)


def test_files_that_threads_and_forked_workers_read_are_seen(train: Train, extra: Path) -> None:
    done = train(
        """
        import multiprocessing, os, signal, threading, time, mlflow

        def read(path):
            return len(open(path).read())

        def read_and_die(path):
            read(path)
            os.kill(os.getpid(), signal.SIGKILL)

        with mlflow.start_run():
            thread = threading.Thread(target=read, args=["extra/a.csv"])
            thread.start(), thread.join()
            context = multiprocessing.get_context("fork")
            with context.Pool(2) as pool:
                assert pool.map(read, ["extra/b.csv", "digits/0/0.txt", "digits/1/1.txt"])
            killed = context.Process(target=read_and_die, args=["extra/c.bin"])
            killed.start(), killed.join()
        """
    )
    assert done.undeclared == ["extra/a.csv", "extra/b.csv", "extra/c.bin"]
    assert done.read() == 2
    assert done.files[0]["children"] == 3
    assert done.files[0]["children_cut"] is False


def test_a_forked_child_goes_on_with_its_own_files(train: Train, extra: Path) -> None:
    done = train(
        """
        import multiprocessing, mlflow

        def trial(name):
            open(f"extra/{name}").close()
            with mlflow.start_run():
                pass

        open("extra/a.csv").close()
        context = multiprocessing.get_context("fork")
        for name in ("b.csv", "c.bin"):
            child = context.Process(target=trial, args=[name])
            child.start(), child.join()
            assert child.exitcode == 0
        """
    )
    found = [each["undeclared"]["paths"] for each in done.files]
    assert found[0] == ["extra/a.csv", "extra/b.csv"]
    assert found[1] in (["extra/a.csv", "extra/c.bin"], ["extra/a.csv", "extra/b.csv", "extra/c.bin"])


def test_files_of_a_version_that_another_run_of_the_process_has_are_not_undeclared(train: Train, extra: Path) -> None:
    dsver.create_version("local://extra", extra)
    done = train(
        """
        import pathlib, mlflow_dsver as dsver
        for name, folder in (("extra", "extra"), ("digits", "digits")):
            with dsver.start_run(inputs={"training": f"local://{name}"}):
                for path in pathlib.Path(folder).rglob("*.*"):
                    path.read_text()
        """,
        WATCHED,
    )
    assert [each["undeclared"]["count"] for each in done.files] == [0, 0]
    assert [each["of_other_runs"] for each in done.files] == [0, 5]
    assert done.err == ""


def test_the_runs_of_a_search_are_judged_once_while_nothing_new_is_read(train: Train, extra: Path) -> None:
    done = train(
        """
        import mlflow
        from mlflow_dsver.checks import undeclared_files
        judge = undeclared_files.judge
        def told(*arguments):
            print("judged")
            return judge(*arguments)
        undeclared_files.judge = told
        with mlflow.start_run():
            for name in ("a.csv", "a.csv", "b.csv"):
                with mlflow.start_run(nested=True):
                    open(f"extra/{name}").close()
        """
    )
    assert done.out == "judged\n" * 2
    assert sorted(each["undeclared"]["count"] for each in done.files) == [1, 1, 2, 2]
    assert len({each["run_id"] for each in done.files}) == 4
    assert done.err.count("belong") == 2  # the same warning is given once


def test_a_run_of_the_client_says_what_was_read(train: Train, extra: Path) -> None:
    done = train(
        """
        import os
        from mlflow import MlflowClient
        client = MlflowClient()
        run = client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"])
        open("extra/a.csv").close()
        open("digits/labels.csv").close()
        client.set_terminated(run.info.run_id)
        """
    )
    assert done.undeclared == ["extra/a.csv"]
    assert done.read() == 1


FLUENT = """
    import mlflow
    mlflow.log_metric("begun", 1)
    open("extra/a.csv").close()
    mlflow.end_run()
"""
OF_THE_CLIENT = """
    import os
    from mlflow import MlflowClient
    client = MlflowClient()
    run = client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"])
    open("extra/a.csv").close()
    client.set_terminated(run.info.run_id)
"""


@pytest.mark.parametrize("script", [FLUENT, OF_THE_CLIENT], ids=["fluent", "client"])
def test_a_script_that_links_nothing_is_told_what_it_reads(train: Train, extra: Path, script: str) -> None:
    done = train(script, WATCHED)
    assert done.undeclared == ["extra/a.csv"]
    assert done.tags[0]["dsver.files_read"] == "0 files of linked versions read, 1 undeclared"


def test_the_setting_may_name_the_folders(train: Train, extra: Path) -> None:
    (extra.parent / "other.csv").write_text("1")
    script = """
        import mlflow
        with mlflow.start_run():
            open("extra/a.csv").close()
            open("other.csv").close()
    """
    assert train(script).undeclared == ["extra/a.csv", "other.csv"]
    assert train(script, {"MLFLOW_DSVER_WATCH": "./extra:/mnt/none"}).undeclared == ["extra/a.csv"]


def test_a_value_that_is_no_setting_harms_no_training(train: Train, extra: Path) -> None:
    done = train("import mlflow\nmlflow.start_run()\nmlflow.end_run()", {"MLFLOW_DSVER_WATCH": "perhaps"})
    assert "MLFLOW_DSVER_WATCH; expected yes, no, or folders" in done.err
    assert done.files == []


def test_without_the_setting_nothing_is_watched(train: Train, extra: Path) -> None:
    for off in ({}, {"MLFLOW_DSVER_WATCH": "no"}):
        done = train(
            """
            import sys, mlflow
            with mlflow.start_run():
                open("extra/a.csv").close()
            assert "mlflow_dsver.checks.undeclared_files" not in sys.modules
            """,
            INPUTS | off,
        )
        assert done.files == []
        assert "dsver.files_read" not in done.tags[0]


def test_names_of_files_cannot_write_to_a_terminal_or_hold_a_secret(train: Train, extra: Path) -> None:
    hostile = [
        b"new\nline.bin",
        b"\x1b[31mred.bin",
        b"\xff\xfe.bin",
        "\u202egnp.bin".encode(),
        b"token=hunter2hunter2",
    ]
    for name in hostile:
        Path(os.fsdecode(os.fsencode(extra) + b"/" + name)).write_text("x")
    done = train(
        """
        import os, mlflow
        with mlflow.start_run():
            for name in os.listdir(b"extra"):
                open(b"extra/" + name, "rb").close()
        """
    )
    assert len(done.undeclared) == 10
    text = json.dumps(done.files) + done.err + done.tags[0]["dsver.files_read"]
    assert all(path.isprintable() for path in done.undeclared)
    assert "hunter2" not in text
    assert "\x1b" not in text
    assert "\\u202e" in json.dumps(done.undeclared)


def test_many_files_are_bounded_in_memory_and_in_the_artifact(train: Train, extra: Path) -> None:
    for number in range(100):
        (extra / f"{number:03}.bin").write_text("x")
    done = train(
        """
        import pathlib, mlflow
        from mlflow_dsver.checks import undeclared_files
        from mlflow_dsver.tracking import opened_files
        opened_files.MAX_FILES = opened_files._watch.batch = 40
        undeclared_files.MAX_PATHS = 10
        with mlflow.start_run():
            for path in sorted(pathlib.Path("extra").glob("*.bin")):
                path.read_text()
            assert len(opened_files._watch.read) <= 40
        """
    )
    [told] = done.files
    assert len(told["undeclared"]["paths"]) <= 10
    assert 0 < told["undeclared"]["count"] <= 40
    assert told["not_kept"] >= 60
    assert f"; {told['not_kept'] + told['not_judged']:,} not judged" in done.tags[0]["dsver.files_read"]


@pytest.mark.parametrize(
    "sabotage",
    [
        "undeclared_files.judge = None",
        "clients.put_files = None",
        "opened_files._Watch.merge = None",
        "opened_files._watch.recent = None",
        "run_end.FILES_SECONDS = 0.0",
    ],
)
def test_training_goes_on_whatever_fails(train: Train, extra: Path, sabotage: str) -> None:
    done = train(
        f"""
        import os, mlflow
        from mlflow_dsver.checks import run_end, undeclared_files
        from mlflow_dsver.tracking import clients, opened_files
        {sabotage}
        with mlflow.start_run():
            assert open("extra/a.csv").read()
            os.close(os.open("extra/b.csv", os.O_RDONLY))
            open("made.bin", "w").close()
            os.rename("made.bin", "renamed.bin")
            os.chdir("extra")
            if os.fork() == 0:
                os._exit(0)
            os.wait()
        print("trained")
        """
    )
    assert done.out == "trained\n"
    assert "the files that were read are not on run" in done.err
    assert "Traceback" not in done.err


def test_the_launcher_watches_and_the_command_line_shows_it(
    train: Train, extra: Path, run: Any, tracking: Any
) -> None:
    import sys

    program = (sys.executable, "-m", "mlflow_dsver", "run", "--watch", "--quiet", "--")
    done = train(
        """
        import mlflow
        with mlflow.start_run():
            open("extra/a.csv").close()
        """,
        {},
        program,
    )
    assert done.undeclared == ["extra/a.csv"]
    [found] = mlflow.search_runs([tracking.experiment_id], output_format="list")
    told = "0 files of linked versions read, 1 undeclared"
    assert run("inputs", found.info.run_id).stdout.splitlines()[-1] == told
    assert json.loads(run("inputs", found.info.run_id, "--json").stdout)["files_read"] == told


# Without a process


def linked(reference: str) -> Link:
    version = DatasetVersion(parse(reference), counts={"files": 3})
    return Link("training", reference, version, Grade("B"), now())


def test_files_below_the_mount_of_a_provider_belong_to_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mounted:
        remote = True

        def local_copy(self, version: DatasetVersion) -> LocalCopy:
            return LocalCopy(tmp_path / "mnt" / version.id)

    monkeypatch.setattr(undeclared_files, "get_provider", lambda _: Mounted())
    monkeypatch.chdir(tmp_path)
    for name in ("mnt/v1/a.bin", "mnt/v2/a.bin"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    opened = OpenedFiles(frozenset({f"{tmp_path}/mnt/v1/a.bin", f"{tmp_path}/mnt/v2/a.bin"}), frozenset(), 4e9)
    found = judge("0", opened, {"training": linked("cats://set@v1")})
    assert [(each.files_read, each.files) for each in found.versions] == [(1, 3)]
    assert found.undeclared.paths == ("mnt/v2/a.bin",)


def test_what_cannot_be_judged_in_time_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.bin").write_text("x")
    opened = OpenedFiles(frozenset({f"{tmp_path}/a.bin", f"{tmp_path}/train.py"}), frozenset(), 4e9)
    found = judge("0", opened, {}, seconds=0.0)
    assert found.not_judged == 1
    assert found.summary() == "0 files of linked versions read, 0 undeclared; 1 not judged"
