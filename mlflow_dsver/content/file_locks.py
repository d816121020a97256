"""Advisory locks on open files (`flock`), which the kernel releases when their process ends, however it ends.

Python's `filelock` was measured and not taken: it has no shared locks on a descriptor, creates the locked file itself
(entries of the outbox are locked before they get their name), and takes 0.1 s to import.
"""

from __future__ import annotations

import errno
import random
from contextlib import suppress

from mlflow_dsver.deadlines import Deadline

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


def has_locks() -> bool:
    """Whether this system has `flock`; a file system of its own may still have none."""
    return fcntl is not None


def try_lock(descriptor: int, *, exclusive: bool = True) -> bool:
    """Lock an open file without waiting; False when another process has it locked.

    Raises OSError where there are no locks: on Windows, and on some network file systems.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this system has no file locks")
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(descriptor: int, seconds: float, *, exclusive: bool = True) -> bool:
    """As `try_lock`, again and again for so many seconds; False when another process had it all the time."""
    deadline, pause = Deadline(seconds), _FIRST_PAUSE
    while not try_lock(descriptor, exclusive=exclusive):
        if deadline.left() <= 0:
            return False
        deadline.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  (spreads waiters, guards nothing)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return True


def unlock(descriptor: int) -> None:
    """Release a lock; closing the descriptor is not enough when a forked child has inherited it."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
