"""A provider that answers what a test wants, under the scheme `fake`; and looks at what a run was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from mlflow import MlflowClient

from mlflow_dsver.errors import DsverError, NotFound
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider


class FakeProvider(Provider):
    name = "fake"
    known: ClassVar[dict[str, DatasetVersion]] = {}
    failure: ClassVar[DsverError | None] = None
    manifest_of: ClassVar[Manifest | None] = None

    @classmethod
    def has(cls, version: DatasetVersion) -> DatasetVersion:
        """From now on this version is there, as the newest."""
        cls.known[version.id] = version
        return version

    def get(self, dataset: str, version: str) -> DatasetVersion:
        if self.failure is not None:
            raise self.failure
        found = self.known.get(version)
        if found is None or found.ref.dataset != dataset:
            raise NotFound("no such version", provider=self.name, operation="get", reference=f"{dataset}@{version}")
        return found

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        if self.failure is not None:
            raise self.failure
        newest_first = reversed(self.known.values())
        return (each for each in newest_first if each.ref.dataset == dataset and (tag is None or tag in each.tags))

    def manifest(self, version: DatasetVersion) -> Manifest | None:
        return self.manifest_of


def version(dataset: str = "cats", name: str = "v1", **fields: object) -> DatasetVersion:
    """A version with a page on the web, no bytes, and a date that is the same everywhere."""
    plain = DatasetVersion(
        DatasetRef("fake", dataset, name),
        tags=("clean",),
        usage_bytes=4096,
        immutable=True,
        created=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        web_url=f"https://data.example/{dataset}/{name}",
        raw={"id": name, "isCommitted": True},
    )
    return replace(plain, **fields)


def run_of(run_id: str) -> Any:
    """The run as the tracking store has it."""
    return MlflowClient().get_run(run_id)


def dsver_part(fields: dict[str, str]) -> dict[str, str]:
    """Those params or tags that are ours."""
    return {key: value for key, value in fields.items() if key.startswith("dsver.")}


def artifact(run_id: str, name: str) -> bytes:
    """An artifact of the record, of a run whose artifacts lie in a folder."""
    return Path(run_of(run_id).info.artifact_uri.removeprefix("file://"), "dsver", name).read_bytes()


def all_runs() -> int:
    """How many runs the tracking store has."""
    client = MlflowClient()
    return len(client.search_runs([each.experiment_id for each in client.search_experiments()]))
