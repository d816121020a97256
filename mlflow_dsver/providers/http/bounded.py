"""A call that may hang, bounded by a deadline.

The call runs in a thread of its own, which is left behind when the time is over: it is a daemon, so it keeps no
process alive, and it should look at the deadline itself so that it ends and writes nothing afterwards.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from mlflow_dsver.deadlines import Deadline, DeadlineExceeded

Result = TypeVar("Result")


def within(deadline: Deadline, work: Callable[[], Result]) -> Result:
    """What `work` gives, or its exception; DeadlineExceeded when it takes longer, and its thread is left behind."""
    outcome: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # noqa: BLE001 (handed over to the thread that waits)
            outcome.put((None, error))

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="mlflow-dsver-http", daemon=True).start()
    left = deadline.left()
    try:
        result, error = outcome.get(timeout=None if left == float("inf") else left)
    except queue.Empty:
        raise DeadlineExceeded("the time was over") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # of the pair, one is there
