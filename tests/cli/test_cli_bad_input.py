"""Wrong input on purpose: each gives one clear line on standard error, the right exit code, and changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from processes import Run
from servers import Tracking

from mlflow_dsver import settings
from mlflow_dsver.cli import demo


def refused(run: Run, *arguments: str, code: int = 2, **variables: str) -> str:
    """The one line of a refusal; the store is as it was."""
    before = everything()
    done = run(*arguments, **variables)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("mlflow-dsver: ")
    assert done.stderr[:-1].isprintable()
    assert "Traceback" not in done.stderr
    assert everything() == before
    return done.stderr


def everything() -> dict[str, bytes]:
    """All files of the store, but for locks, by their path."""
    store = settings.home() / "store"
    return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nope://digits", "local"),
        ("digits", "provider://dataset"),
        ("", "provider://dataset"),
        ("local://", "empty"),
        ("local://x" + "y" * 5000, "too long"),
        ("local://digits\x1b[31m", "character"),
        ("local://digits\n", "no such dataset"),
        ("local://../../etc", "dot"),
        ("local://a@b@c", "%40"),
        ("local://digits@", "empty"),
    ],
)
def test_what_is_no_reference(run: Run, reference: str, says: str) -> None:
    assert says in refused(run, "versions", "show", reference)


def test_what_does_not_exist_gets_near_names(run: Run, made: str) -> None:
    assert "local://digits" in refused(run, "versions", "show", "local://digit").partition("Try:")[2]
    assert "local://digits@raw" in refused(run, "versions", "show", "local://digits@row").partition("Try:")[2]
    near = made[:-1] + ("0" if made[-1] != "0" else "1")
    assert made in refused(run, "versions", "show", near).partition("Try:")[2]


def test_folders_that_cannot_be_a_version(run: Run, tmp_path: Path, made: str) -> None:
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refused(run, "versions", "create", "local://x", "missing")
    assert "is a file" in refused(run, "versions", "create", "local://x", str(tmp_path / "digits" / "labels.csv"))
    assert "file" in refused(run, "versions", "create", "local://x", "empty")
    assert "store" in refused(run, "versions", "create", "local://x", str(tmp_path))
    assert "folder" in refused(run, "versions", "create", "local://x")
    os.mkfifo(tmp_path / "digits" / "pipe")
    assert "pipe" in refused(run, "versions", "create", "local://x", "digits")


def test_words_that_cannot_be_kept(run: Run, tmp_path: Path, made: str) -> None:
    create = ("versions", "create", "local://digits", "digits")
    assert "comma" in refused(run, *create, "--tag", "a,b")
    assert "latest" in refused(run, *create, "--tag", "latest")
    for metadata in ("{", "[1]", "7", '"text"', "null", '{"a": NaN}'):
        assert "JSON" in refused(run, *create, "--metadata", metadata)
    assert "comma" in refused(run, "versions", "tag", made, "a,b")
    assert "JSON" in refused(run, "versions", "update", made, "--metadata", "nonsense")
    assert "message" in refused(run, "versions", "update", made)
    assert "this names one version" in refused(run, "versions", "create", made, "digits")


def test_a_folder_with_files_is_not_written_into(run: Run, tmp_path: Path, made: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    refused(run, "versions", "materialise", made, "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


def test_a_damaged_object_is_named_and_not_served(run: Run, tmp_path: Path, made: str) -> None:
    file = next(path for path in (settings.home() / "store" / "objects").rglob("*") if path.is_file())
    file.chmod(0o644)
    file.write_bytes(b"X" + file.read_bytes()[1:])
    assert file.name in refused(run, "versions", "materialise", made, "copy", code=3)
    assert not (tmp_path / "copy").exists()
    checked = run("store", "check", "--json")
    report = json.loads(checked.stdout)
    assert (checked.returncode, report["ok"], len(report["findings"])) == (1, False, 1)
    assert report["findings"][0]["versions"] == [made]
    table = run("store", "check")
    assert (table.returncode, "1 finding" in table.stdout, made in table.stdout) == (1, True, True)


def test_a_settings_file_that_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("home = [")
    done = run("versions", "list", MLFLOW_DSVER_HOME="", MLFLOW_DSVER_CONFIG=str(tmp_path / "config.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "config.toml is not TOML" in done.stderr


def test_runs_that_do_not_exist(run: Run, tracking: Tracking, made: str) -> None:
    assert "no run" in refused(run, "inputs", "0" * 32, MLFLOW_TRACKING_URI=tracking.uri)
    assert "no run" in refused(run, "attach", "0" * 32, made, MLFLOW_TRACKING_URI=tracking.uri)


def test_roles_that_mlflow_would_refuse(run: Run, tracking: Tracking, made: str) -> None:
    import mlflow

    with mlflow.start_run() as active:
        pass
    for role in ("", "a/b", "a:b", "x" * 65, "tränen"):
        said = refused(run, "attach", active.info.run_id, made, "--role", role, MLFLOW_TRACKING_URI=tracking.uri)
        assert "not a role" in said
    assert not mlflow.get_run(active.info.run_id).data.params


def test_a_second_version_for_a_role_is_refused(
    run: Run, tracking: Tracking, made: str, tmp_path: Path, digits_folder: Path
) -> None:
    import mlflow

    with mlflow.start_run() as active:
        pass
    uri = tracking.uri
    first = run("attach", active.info.run_id, made, "--json", MLFLOW_TRACKING_URI=uri)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["inputs"][0]["grade"] == "A (attached later)"
    (digits_folder / "labels.csv").write_text("file,label\n")
    second = run("versions", "create", "local://digits", str(digits_folder)).stdout.split()[1]
    before = mlflow.get_run(active.info.run_id).to_dictionary()
    assert made in refused(run, "attach", active.info.run_id, second, MLFLOW_TRACKING_URI=uri)
    assert mlflow.get_run(active.info.run_id).to_dictionary() == before

    used = json.loads(run("runs", made, "--json", MLFLOW_TRACKING_URI=uri).stdout)["runs"]
    assert [(each["run_id"], each["role"], each["reference"]) for each in used] == [
        (active.info.run_id, "training", made)
    ]
    assert "no run used this" in run("runs", second, MLFLOW_TRACKING_URI=uri).stdout
    assert made in run("inputs", active.info.run_id, MLFLOW_TRACKING_URI=uri).stdout


def test_a_tracking_server_that_is_down_is_a_bounded_wait(run: Run, made: str) -> None:
    done = run("inputs", "0" * 32, MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_DSVER_TRACKING_TIMEOUT="2")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "2 seconds" in done.stderr


def test_a_store_that_cannot_be_written(run: Run, digits_folder: Path, tmp_path: Path) -> None:
    """A file stands where the store's folder would be: one line, and the doctor finds it."""
    (tmp_path / "file").write_text("x")
    done = run("versions", "create", "local://x", str(digits_folder), MLFLOW_DSVER_HOME=str(tmp_path / "file"))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    doctor = run("doctor", "--json", MLFLOW_DSVER_HOME=str(tmp_path / "file"))
    assert doctor.returncode == 1
    checks = {each["check"]: each for each in json.loads(doctor.stdout)["checks"]}
    assert checks["local store"]["ok"] is False


def test_programs_that_are_missing_for_the_demo(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-learn the demo says what to install, before it does anything."""
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "sklearn" else name)
    done = run("demo")
    assert done.returncode == 2
    assert "pip install 'mlflow-dsver[demo]'" in done.stderr
    assert not (tmp_path / ".demo").exists()
