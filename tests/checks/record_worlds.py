"""In-memory runs with a complete record, and a provider with its files in a folder, for tests of verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from mlflow_dsver.checks.byte_checks import ReadOptions
from mlflow_dsver.checks.reports import Depth, InputReport
from mlflow_dsver.checks.verify import Requirements, check_runs
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Letter, Link
from mlflow_dsver.providers.interface import Capability, LocalCopy, Provider
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import InputFacts, Run
from mlflow_dsver.tracking.dataset import VersionedDataset

WHEN = datetime(2026, 11, 22, 4, tzinfo=UTC)
REF = parse("fake://cats@v1")


class FolderProvider(Provider):
    """A provider of one version with the given description, whose files are in a folder or missing."""

    name = "fake"
    capabilities = frozenset({Capability.BYTES})

    def __init__(self, version: DatasetVersion, grade: Letter, folder: Path | None) -> None:
        self.version, self.letter, self.folder = version, grade, folder

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The version."""
        if (dataset, version) != (self.version.ref.dataset, self.version.id):
            raise NotFound("no such version")
        return self.version

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """The version."""
        yield self.version

    def grade(self, version: DatasetVersion) -> Grade:
        """B where the version is described as immutable, else as it is told."""
        return Grade(self.letter if self.letter != "D" or not version.immutable else "B")

    def local_copy(self, version: DatasetVersion) -> LocalCopy | None:
        """The folder."""
        return None if self.folder is None else LocalCopy(self.folder)


@dataclass(frozen=True)
class World:
    """A run's record, part by part, and the provider as it is now."""

    params: Mapping[str, str]
    tags: Mapping[str, str]
    inputs: tuple[InputFacts, ...]
    files: Mapping[str, bytes] = field(repr=False)
    provider: FolderProvider = field(repr=False)

    def facts(self) -> Run:
        """The run as MLflow has it."""
        return Run(
            "a" * 32, "first", "1", "demo", "FINISHED", WHEN, WHEN, "x", self.params, self.tags, {},
            {each.role: each.source for each in self.inputs}, self.inputs,
        )  # fmt: skip

    def check(self, depth: Depth = Depth.DEFAULT, require: Letter | None = None) -> InputReport:
        """The report on the run's one input."""
        [run] = check_runs(
            [self.facts()],
            options=ReadOptions(depth),
            requirements=Requirements(require),
            providers=lambda _: self.provider,
            files=lambda _, manifests: {k: v for k, v in self.files.items() if manifests or k.endswith(".json")},
        ).runs
        [report] = run.inputs
        return report

    def with_link(self, **fields: object) -> World:
        """The same with other fields in the link's artifact; None takes a field away."""
        link = json.loads(self.files["training.json"])
        for name, value in fields.items():
            where = link if name in link else link["version"]
            where[name] = value
        return replace(self, files={**self.files, "training.json": json.dumps(link).encode()})


def world(
    grade: Letter,
    *,
    folder: Path | None,
    digest: bool,
    immutable: bool | None,
    now: DatasetVersion | None = None,
    sums: bool = True,
) -> World:
    """A whole record of the role training.

    digest: whether the content digest was known. now: the version as its provider describes it today, None for the
    same. sums: False for a record that was written before the sums of artifacts were.
    """
    manifest = hash_folder(folder) if folder is not None and digest else None
    version = DatasetVersion(
        REF,
        tags=("clean", "round-3"),
        message="relabelled",
        usage_bytes=20,
        content_digest=manifest.digest if manifest else None,
        immutable=immutable,
    )
    link = Link("training", "fake://cats@latest", version, Grade(grade), WHEN)
    files = schema.artifacts(link, manifest)
    if not sums:
        files = {**files, "training.json": schema.link_json(link)}
    tags = schema.tags(link) | ({"dsver.training.artifacts": schema.artifacts_text(files)} if sums else {})
    provider = FolderProvider(version if now is None else now, grade, folder)
    return World(schema.params(link), tags, (input_of(link, manifest),), files, provider)


def input_of(link: Link, manifest: Manifest | None) -> InputFacts:
    """The dataset input of the link."""
    made = VersionedDataset(
        link.version, requested=link.requested, grade=link.grade, files=manifest and len(manifest)
    )
    source = json.loads(made.to_dict()["source"])
    return InputFacts(link.role, made.name, made.digest, source, made.profile)
