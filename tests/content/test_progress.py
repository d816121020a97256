"""A bar for a person at a terminal, and silence everywhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlflow_dsver.content.progress import SILENT, terminal

CODE = """
import sys, time
from mlflow_dsver.content.progress import SILENT, terminal
with terminal("hash\\x1b[31m digits") as progress:
    progress.total(1200, 3 << 20)
    progress.advance(1000, 1 << 20)
    time.sleep(0.3)
    progress.advance(200, 2 << 20)
print("rich" in sys.modules, progress is SILENT)
"""


def in_terminal(**environment: str) -> tuple[str, str]:
    """What the code writes to a terminal's standard error, and to standard output, which is a pipe."""
    controller, terminal_end = pty.openpty()
    world = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **environment}
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=terminal_end, text=True, env=world
    ) as process:
        os.close(terminal_end)
        shown = b""
        while True:
            try:
                part = os.read(controller, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(controller)
        assert process.stdout is not None
        said = process.stdout.read()
    return shown.decode(), said


def test_a_terminal_shows_files_bytes_rate_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown, said = in_terminal()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "1,000/1,200 files" in plain
    assert "1.0/3.0 MiB" in plain
    assert re.search(r"\d:\d\d:\d\d", plain)
    assert "\x1b[38;5;" in shown or "\x1b[3" in shown
    assert said == "True False\n"


def test_control_characters_in_the_label_do_nothing() -> None:
    shown, _ = in_terminal()
    assert r"hash\x1b" in shown


def test_no_color_is_respected() -> None:
    shown, _ = in_terminal(NO_COLOR="1")
    assert "1,000/1,200 files" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)


def test_a_pipe_gets_nothing_and_rich_is_not_loaded() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    assert (ran.stdout, ran.stderr) == ("False True\n", "")


def test_the_setting_silences_a_terminal() -> None:
    assert in_terminal(MLFLOW_DSVER_PROGRESS="no") == ("", "False True\n")


def test_a_process_without_standard_error_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with terminal("label") as progress:
        assert progress is SILENT


def test_an_error_inside_reaches_the_caller() -> None:
    with pytest.raises(KeyError), terminal("label"):
        raise KeyError


def test_silence_takes_any_report() -> None:
    SILENT.total(None, None)
    SILENT.advance(1, 2)


def test_several_threads_lose_no_count() -> None:
    from rich.console import Console
    from rich.progress import Progress as Display

    from mlflow_dsver.content.progress import ProgressBar

    with Path(os.devnull).open("w") as nowhere:
        bar = ProgressBar(Display(console=Console(file=nowhere), auto_refresh=False), "label")
        threads = [threading.Thread(target=lambda: [bar.advance(1, 3) for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (task,) = bar._display.tasks
    assert (task.completed, task.fields["counted"]) == (6000, "2,000 files")
