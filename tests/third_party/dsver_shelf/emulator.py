"""Shelf on loopback: `mlflow-dsver emulator shelf`."""

from collections.abc import Mapping
from typing import Any

from mlflow_dsver.emulators.serving import Emulator, Reply, Request, Switch

DEMO = [
    {"id": "c0ffee1", "created": "2026-11-01T00:00:00Z", "branches": ["main"]},
    {"id": "beefed2", "created": "2026-10-01T00:00:00Z", "branches": ["feature/x"]},
]


class ShelfEmulator(Emulator):
    name = "shelf"
    SWITCHES = (Switch("empty", "Has the shelf no dataset?", ("no", "yes")),)

    def __init__(self, *, seed: bool = False, **options: Any) -> None:
        self.datasets: dict[str, Any] = {"cats": DEMO} if seed else {}
        super().__init__(**options)

    @property
    def variables(self) -> Mapping[str, str]:
        return {"SHELF_URL": self.address, "SHELF_TOKEN": self.good_key or "any-token"}

    def answer(self, request: Request) -> Reply:
        if len(request.path) == 1:
            return Reply(200, sorted(self.datasets) if self.switches["empty"] == "no" else [])
        found = self.datasets.get(request.path[-1])
        return Reply(200, found) if found is not None else self.error_reply(404)

    def error_reply(self, status: int) -> Reply:
        return Reply(status, {"error": f"HTTP {status}"})

    def snapshot(self) -> dict[str, Any]:
        return self.datasets

    def restore(self, state: Mapping[str, Any]) -> None:
        self.datasets = dict(state)
