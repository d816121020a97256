"""One command on a store, in a process of its own that the tests kill: `kill_child.py MUTANT COMMAND ARGUMENTS`.

All work is done in the main thread, so that the n-th system call is the same one each time. A mutant is a deliberate
mistake in the store, which the tests must notice; `none` is the store as it is.
"""

import concurrent.futures
import os
import sys
from pathlib import Path


class Inline:
    """An executor that works at once, in the thread that asks."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function, *iterables):
        return map(function, *iterables)

    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        future.set_result(function(*arguments))
        return future

    def shutdown(self, **_: object) -> None:
        pass


concurrent.futures.ThreadPoolExecutor = Inline

from mlflow_dsver.providers.local import LocalProvider, maintenance, objects, provider  # noqa: E402


def name_first() -> None:
    """The version is named before its objects are."""
    late = []
    publish, append = objects.Ingest.publish, provider.append
    objects.Ingest.publish = lambda self: late.append(self)

    def append_then_publish(*arguments):
        state = append(*arguments)
        for arrival in late:
            publish(arrival)
        return state

    provider.append = append_then_publish


def in_place() -> None:
    """Objects are written under their own names, in two pieces."""
    from blake3 import blake3

    def take(self, descriptor, status, path):
        content = os.read(descriptor, 1 << 20)
        target = Path(self._store.object(blake3(content).hexdigest()))
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            with target.open("wb", buffering=0) as stream:
                stream.write(content[:1])
                stream.write(content[1:])
        return target.name

    objects.Ingest.take = take


def main() -> None:
    mutant, command, root, *arguments = sys.argv[1:]
    if mutant != "none":
        globals()[mutant]()
    local = LocalProvider(Path(root))
    if command == "create":
        local.create("digits", Path(arguments[0]), tags=("clean",), message="second")
    elif command == "path":
        local.path(local.get("digits", arguments[0]))
    elif command == "tag":
        local.update(local.get("digits", arguments[0]), add_tags=("moved",), message="renamed")
    elif command == "delete":
        local.delete(local.get("digits", arguments[0]))
    elif command == "collect":
        maintenance.collect(local.store, dry_run=False, min_age=0)


if __name__ == "__main__":
    main()
