"""The provider: Shelf's API by the HTTP kit of mlflow-dsver."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dsver_shelf.info import DRAFTS
from mlflow_dsver import Capability, DatasetRef, DatasetVersion, Provider, settings
from mlflow_dsver.errors import NotFound
from mlflow_dsver.providers.http.session import Session
from mlflow_dsver.providers.http.wire import ApiError, ApiProfile


def read_error(status: int, body: Any) -> ApiError | None:
    return ApiError(str(body["error"])) if isinstance(body, dict) and "error" in body else None


PROFILE = ApiProfile("shelf", "Bearer", "SHELF_TOKEN", read_error)


class ShelfProvider(Provider):
    """Versions at Shelf; a branch of a version is a tag here."""

    name = "shelf"
    capabilities = frozenset({Capability.TAGS})

    def get(self, dataset: str, version: str) -> DatasetVersion:
        ref = DatasetRef(self.name, dataset, version)
        found = next((each for each in self.call(dataset) if each["id"] == version), None)
        if found is None:
            raise NotFound("no such version", provider=self.name, reference=ref)
        branches, created = tuple(found["branches"]), datetime.fromisoformat(found["created"])
        return DatasetVersion(ref=ref, tags=branches, created=created, immutable=True, raw=found)

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        for found in self.call(dataset):
            if (DRAFTS.get() or not found.get("draft")) and tag in (None, *found["branches"]):
                yield self.get(dataset, found["id"])

    def call(self, *path: str) -> Any:
        base = settings.text("SHELF_URL") or "https://shelf.invalid"
        with Session(base, PROFILE, settings.secret("SHELF_TOKEN"), base_name="SHELF_URL") as session:
            return session.call("GET", ("datasets", *path), "read", reference="/".join(path))
