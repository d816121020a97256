"""Python's search for reference cycles, paused where values come into being by the million and have none.

With MLflow loaded, each search goes through hundreds of thousands of objects: it was measured to double the time of
hashing or comparing large folders.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """No search for cycles in the block, in any thread; as it was afterwards. Not for blocks that wait."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
