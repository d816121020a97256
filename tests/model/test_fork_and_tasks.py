"""A process that forks while a task of ours is at work: the child does not inherit a lock that nobody releases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

IMPORTED = """
import os, signal, sys, threading
from mlflow_dsver.deadlines import BoundedTask, Deadline

entered, go_on = threading.Event(), threading.Event()
sys.path.insert(0, sys.argv[1])
sys.modules["gate"] = type(sys)("gate")
sys.modules["gate"].__dict__.update(entered=entered, go_on=go_on)

task = BoundedTask(lambda: __import__("slow_module"))
entered.wait()  # the task holds the lock of that module now
threading.Timer(0.1, go_on.set).start()
child = os.fork()
if child == 0:
    signal.alarm(20)
    import slow_module
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), task.result(Deadline(20)).__name__)
"""

ENDLESS = """
import os, threading
from mlflow_dsver import deadlines

entered, go_on = threading.Semaphore(0), threading.Event()

def work():
    entered.release()
    go_on.wait()
    return "done"

tasks = [deadlines.BoundedTask(work) for _ in range(3)]
for _ in tasks:
    entered.acquire()
waits = []
join = threading.Thread.join
threading.Thread.join = lambda self, timeout=None: (waits.append(timeout), join(self, timeout))
for number in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert len(waits) == 3, waits  # each task once, by the first fork
assert max(waits) <= deadlines.FORK_WAIT, waits
assert sum(waits) < 1.5 * deadlines.FORK_WAIT, waits  # the first task took all the time that the fork had
threading.Thread.join = join
go_on.set()
print({task.result(deadlines.Deadline(20)) for task in tasks})
"""

INSIDE = """
import os
from mlflow_dsver import deadlines

def work():
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1]

print(deadlines.BoundedTask(work).result(deadlines.Deadline(20)))
"""


def ran(script: str, *arguments: str) -> str:
    return subprocess.check_output([sys.executable, "-W", "ignore", "-c", script, *arguments], text=True, timeout=60)


def test_a_child_can_import_what_a_task_imported_at_the_moment_of_the_fork(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text("from gate import entered, go_on\nentered.set()\ngo_on.wait()\n")
    assert ran(IMPORTED, str(tmp_path)) == "0 slow_module\n"


def test_tasks_that_do_not_end_hold_up_one_fork_once_and_share_its_wait() -> None:
    assert ran(ENDLESS) == "{'done'}\n"


def test_a_task_may_fork() -> None:
    assert ran(INSIDE) == "0\n"
