"""What ordinary circumstances raise is told in one line with what to try; only what is our mistake is called one."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from mlflow.exceptions import MlflowException

from mlflow_dsver.cli import failures, main
from mlflow_dsver.cli.failures import COULD_NOT, STOPPED, guarded

SECRET = "Hq3-very.secret_Value9"


@pytest.fixture(autouse=True)
def _unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings and logging stay as this process has them."""
    monkeypatch.setattr(failures, "prepare", lambda debug: None)


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


def database_error() -> BaseException:
    from sqlalchemy.exc import OperationalError

    return OperationalError("SELECT 1", None, Exception(f"cannot connect to postgresql://u:{SECRET}@db/mlflow"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/data/digits"), "/data/digits: no permission"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"/gone"), "/gone: no such file or folder"),
        (OSError(errno.ENOSPC, "No space left on device", "/store/x"), "/store/x: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.EBUSY, "Device or resource busy", "a", None, "b\n"), "a and b\\n: Device or resource busy"),
        (BlockingIOError(errno.EAGAIN, "again"), "no more threads"),
        (ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy.orm"), "pip install mlflow"),
        (ModuleNotFoundError("No module named 'obstore'", name="obstore"), "pip install 'mlflow-dsver[s3]'"),
        (MemoryError(), "not enough memory"),
        (MlflowException("no such scheme"), "MLFLOW_TRACKING_URI"),
        (database_error(), "the tracking database"),
    ],
)
def test_ordinary_failures_say_what_to_try(
    error: BaseException, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(error)) == COULD_NOT
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert says in shown.err
    assert "unexpected" not in shown.err
    assert "please report" not in shown.err
    assert SECRET not in shown.err


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyError("x"), OSError("without a number")])
def test_mistakes_of_ours_are_called_so(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(error)) == COULD_NOT
    assert f"unexpected {type(error).__name__}" in capsys.readouterr().err


def test_an_interruption_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(KeyboardInterrupt())) == STOPPED


def test_the_trace_for_debugging_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_DEBUG", "1")
    assert guarded(raising(ValueError(f"GET https://user:{SECRET}@host/"))) == COULD_NOT
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:////proc/none/mlflow.db", "http://127.0.0.1:1"])
def test_a_tracking_address_that_is_none_is_told(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "3")
    assert main.run(["inputs", "0" * 32]) == COULD_NOT
    shown = capsys.readouterr().err
    assert shown.count("mlflow-dsver: ") == 1
    assert "unexpected" not in shown
