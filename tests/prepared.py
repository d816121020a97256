"""A Python that has imported MLflow already: a script starts in it within a tenth of a second, not in two.

One server is for all processes of a test session. The
fixture `prepared` gives two ways to it: `[*prepared.python, "train.py"]` where a test would say
`[sys.executable, "train.py"]`, and `prepared.bin`, a folder with `python` and `mlflow-dsver` for the front of PATH.

A server process imports what scripts import, and forks a child for each. The process that was started in Python's
place hands its folder, environment, streams and arguments over, passes SIGINT and SIGTERM on, and ends as the child
ends; when it is killed, so is the child. The child imports this package anew, as `import mlflow` would have done it
there: what is read from the environment at that time is the child's. Python's own start is not: a test of that, of
locales, terminals or process groups starts `sys.executable`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

PRELOADED = (
    "mlflow",
    "mlflow.artifacts",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "mlflow.store.tracking.rest_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.artifact.local_artifact_repo",
    "mlflow.store.artifact.mlflow_artifacts_repo",
    "click",
    "pandas",
    "rich.table",
    "sklearn.datasets",
    "sklearn.linear_model",
)
"""What scripts import, and none of ours."""

PASSED_ON = (signal.SIGINT, signal.SIGTERM)


class Prepared:
    """A server of prepared interpreters; `close` ends it. `start=False`: one that another process started."""

    def __init__(self, folder: Path, *, start: bool = True) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        if not hasattr(os, "pidfd_open"):  # not on Linux: Python as it is
            self.python: tuple[str, ...] = (sys.executable,)
            self.bin = Path(sys.executable).parent
            return
        self.address = str(folder / "socket")
        self.python = (sys.executable, "-I", "-S", __file__, "hand-over", self.address)
        self.bin = folder / "bin"
        if not start:
            return
        self.bin.mkdir()
        for name, more in (("python", ""), ("mlflow-dsver", "-m mlflow_dsver"), ("mlflow", "-m mlflow")):
            program = self.bin / name
            program.write_text(f'#!/bin/sh\nexec {" ".join(self.python)} {more} "$@"\n')
            program.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(64)  # who comes before the server has imported all waits here
            environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
            self._server = subprocess.Popen(
                [sys.executable, __file__, "serve", str(listener.fileno())],
                env={**environment, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def close(self) -> None:
        """End the server."""
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()
            self._server.wait(30)


def serve(listener: socket.socket) -> None:
    """Fork a child for each that connects, until standard input is closed."""
    for name in PRELOADED:
        importlib.import_module(name)
    _forget_ours()
    gc.collect()
    gc.freeze()  # children do not copy what they do not change
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> NoReturn:
    """Fork the child, tell how it ended, and end."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    (size,) = struct.unpack("I", head)
    request = b""
    while len(request) < size:
        request += connection.recv(size - len(request))
    child = os.fork()
    if child == 0:
        connection.close()
        _become(json.loads(request), streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    watched: list[Any] = [ended, connection]
    while ended not in select.select(watched, [], [])[0]:
        signals = connection.recv(16)
        for number in signals or (signal.SIGKILL,):  # nothing: who asked for it was killed
            os.kill(child, number)
        if not signals:
            watched.remove(connection)
    with suppress(OSError):  # who asked for it may be gone
        connection.sendall(struct.pack("i", os.waitpid(child, 0)[1]))
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Take over the environment, folder and streams, run what the arguments of Python say, and end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    buffering = 1 if request["environment"].get("PYTHONUNBUFFERED") else -1
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", buffering, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    arguments = request["arguments"]
    if arguments[:2] == ["-W", "ignore"]:
        warnings.simplefilter("ignore")
        del arguments[:2]
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    importlib.invalidate_caches()
    _register_ours()
    _end(_exit_code(arguments))


def _exit_code(arguments: list[str]) -> int:
    """Run it; below 0: the signal it ends by, as Python does when nobody handles an interrupt."""
    try:
        _run(arguments)
    except SystemExit as asked:
        if asked.code is None or isinstance(asked.code, int):
            return asked.code or 0
        print(asked.code, file=sys.stderr)
        return 1
    except BaseException as error:
        traceback.print_exc()
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _end(code: int) -> NoReturn:
    """As Python ends, but for taking modules apart: that writes to all memory, which is copied then (0.2 s)."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _run(arguments: list[str]) -> None:
    what, *rest = arguments
    if what == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    main = ModuleType("__main__")
    if what == "-c":
        code, sys.argv, sys.path[0] = compile(rest[0], "<string>", "exec"), ["-c", *rest[1:]], ""
    else:
        main.__file__ = what
        code = compile(Path(what).read_bytes(), what, "exec")
        sys.argv, sys.path[0] = arguments, str(Path(what).resolve().parent)
    sys.modules["__main__"] = main
    exec(code, vars(main))


def _forget_ours() -> None:
    """MLflow loads our dataset source when it is imported; the child shall do that with its own environment."""
    from mlflow.data.dataset_source_registry import _dataset_source_registry as registry

    registry.sources = [source for source in registry.sources if not source.__module__.startswith("mlflow_dsver")]
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow_dsver"]:
        del sys.modules[name]


def _register_ours() -> None:
    from mlflow.data.dataset_source_registry import _dataset_source_registry as registry

    registry.register_entrypoints()


def hand_over(address: str, arguments: list[str]) -> None:
    """Let a child of the server do what this process was started for, and end as it ends."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    request = {"folder": str(Path.cwd()), "environment": dict(os.environ), "arguments": arguments}
    sent = json.dumps(request).encode()
    socket.send_fds(connection, [struct.pack("I", len(sent))], [0, 1, 2])
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    connection.sendall(sent)
    code = os.waitstatus_to_exitcode(struct.unpack("i", connection.recv(4))[0])
    if code < 0:
        with suppress(OSError):  # SIGKILL cannot be handled anyway
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        hand_over(sys.argv[2], sys.argv[3:])
