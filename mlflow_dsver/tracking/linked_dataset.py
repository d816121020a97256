"""What a training script holds of an input: the linked version, and the way to its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import schema
from mlflow_dsver.resolution.version_files import path_of
from mlflow_dsver.tracking import autolog_patch
from mlflow_dsver.tracking.async_logging import RecordedElsewhere, Recording
from mlflow_dsver.tracking.dataset import VersionedDataset


@dataclass(frozen=True, slots=True)
class LinkedDataset:
    """A dataset version in a role of a run; prints as its canonical reference, and is a path where one is wanted.

    role: what the run uses it for. requested: the reference as written.
    made: the link; None when the reference could not be resolved and the policy was to go on.
    unresolved: why not. recording: the link on its way to the run; None when it does not go there.
    Where there is no link, everything that needs it raises `error`. It can be pickled, and has path, version and the
    rest in the other process as well.
    """

    role: str
    requested: str
    made: Link | None
    unresolved: DsverError | None = field(default=None, compare=False)
    recording: Recording | RecordedElsewhere | None = field(default=None, compare=False, repr=False)

    @property
    def error(self) -> DsverError | None:
        """What went wrong and was passed over, in resolving or, as far as is known, in recording."""
        return self.unresolved or (self.recording.failure if self.recording is not None else None)

    @property
    def link(self) -> Link:
        """The link. Raises the error that kept it from being made."""
        if self.made is None:
            raise self.error or DsverError("not linked", reference=self.requested)
        return self.made

    @property
    def version(self) -> DatasetVersion:
        """The version that the reference was resolved to."""
        return self.link.version

    @property
    def ref(self) -> DatasetRef:
        """The version's canonical reference."""
        return self.version.ref

    @property
    def grade(self) -> Grade:
        """How much the link proves."""
        return self.link.grade

    @property
    def dataset(self) -> VersionedDataset:
        """As MLflow's kind of dataset, such as `mlflow.log_metric(…, dataset=…)` wants.

        It is an input of the run by then: this waits until it is recorded. Raises TrackingError when it cannot be.
        """
        link = self.link
        digests = self.recording.digests() if self.recording is not None else {}
        digest = digests.get(self.role) or schema.digest(link.version)
        return VersionedDataset(link.version, requested=link.requested, grade=link.grade, digest=digest)

    def path(self) -> Path:
        """A folder that holds exactly the version's files, fetched and checked when needed; not to be written to.

        Where their content digest was not known when the run started, as with an export that is fetched only now, it
        is put on the run when that ends. Raises CorruptObject when the bytes are not those of the version, and the
        provider's errors.
        """
        folder = path_of(self.version)
        autolog_patch.watch_ends()
        if self.version.content_digest is None and isinstance(self.recording, Recording):
            self.recording.files_given(self.role, self.version)
        return folder

    def load(self) -> str:
        """The same folder as text, as MLflow's own sources give it."""
        return str(self.path())

    def __str__(self) -> str:
        return self.requested if self.made is None else str(self.made.version.ref)

    def __fspath__(self) -> str:
        return self.load()
