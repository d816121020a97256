"""The inputs that a run recorded, assembled from every place where they are recorded.

A link is written in params, tags, the dataset input, the link's artifact and the manifest's; `record_consistency`
compares them. Artifacts are also compared with the SHA-256 sums in the run's tags. A missing part is noted, as
the rest still identifies the version. A bounded number of bytes is read of each artifact; a larger one is not
checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO

from mlflow_dsver.checks.manifest_stream import ManifestStream
from mlflow_dsver.checks.record_consistency import Agreement, Parts
from mlflow_dsver.checks.reports import Finding, Note, Record, Subject, Verdict
from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.manifests import InvalidManifest, ManifestLimits, ManifestTooLarge
from mlflow_dsver.model.refs import DatasetRef, is_role, parse
from mlflow_dsver.model.versions import DatasetVersion, Link
from mlflow_dsver.record import schema as written
from mlflow_dsver.record.facts import InputFacts, Run
from mlflow_dsver.text import one_line


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """How much of a run's artifacts is read: of a manifest, and bytes of a link's JSON."""

    manifest: ManifestLimits = field(default_factory=ManifestLimits)
    link: int = 32 << 20


COMMAND_LINE = RecordLimits()
"""The limits at a terminal; server pages use lower ones."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A role's record, and the recorded manifest's file when it is there and is the one that was recorded."""

    record: Record
    manifest: bytes | None = None


def roles_of(run: Run) -> list[str]:
    """The roles in which the run says that it used something, sorted."""
    return sorted({*written.roles_in([*run.params, *run.tags]), *filter(is_role, run.sources)})


def records_of(
    run: Run,
    files: Mapping[str, bytes] | None,
    unread: str | None = None,
    *,
    manifests: bool = True,
    limits: RecordLimits = COMMAND_LINE,
) -> Iterator[Recorded]:
    """The record of each role.

    files: the record's artifacts by name; None when they could not be read, and `unread` says why. manifests: False
    when manifests were not asked for, so that their absence says nothing. limits: how much of each is read.
    A role whose every reference is unreadable gives nothing; `unreadable_roles` names it.
    """
    roles = roles_of(run)
    for role in roles:
        gathered = _Gathered(run, role, files, limits)
        if gathered.ref is not None:
            yield gathered.recorded(unread, manifests)
    for name in sorted(files or ()):
        role = name.removesuffix(".json")
        if role != name and role not in roles and is_role(role):
            gathered = _Gathered(run, role, files, limits)
            if gathered.link is not None:
                gathered.told_by_the_artifact_alone()
                yield gathered.recorded(unread, manifests)


def unreadable_roles(run: Run) -> list[str]:
    """Roles for which the run has no text that is a reference of a version."""
    return [role for role in roles_of(run) if _Gathered(run, role, None, COMMAND_LINE).ref is None]


class _Gathered:
    """Everything that one run recorded about one role."""

    def __init__(self, run: Run, role: str, files: Mapping[str, bytes] | None, limits: RecordLimits) -> None:
        self.run, self.role, self.files, self.limits = run, role, files, limits
        self.findings: list[Finding] = []
        self.notes: list[Note] = []
        self.params, self.tags = _of_role(run.params, role), _of_role(run.tags, role)
        self.source = run.sources.get(role) or {}
        self.manifest_sum: str | None = None
        self.sums = self._sums()
        self.link = self._link()
        self.ref = self._reference()

    def told_by_the_artifact_alone(self) -> None:
        """Only the artifact records this role: no param, tag or input does."""
        what = f"only the artifact dsver/{written.json_name(self.role)} says that the run used this"
        self.findings.append(Finding(Verdict.CHANGED, Subject.RECORD, what))

    def recorded(self, unread: str | None, manifests: bool) -> Recorded:
        """The record, with what disagrees in it."""
        assert self.ref is not None
        if unread is not None:
            what = "the record's artifacts could not be read"
            self.findings.append(Finding(Verdict.UNREACHABLE, Subject.RECORD, what, found=unread))
        schema = self.run.tags.get(written.SCHEMA_TAG, written.SCHEMA)
        if schema != written.SCHEMA:
            what = f"the run says that its record has another form than this version reads ({written.SCHEMA})"
            self.findings.append(Finding(Verdict.UNVERIFIABLE, Subject.RECORD, what, found=one_line(schema, 60)))
        name = str(self.ref)
        inputs = tuple(each for each in self.run.inputs if (each.role, each.name) == (self.role, name))
        if not inputs and "version" not in self.params | self.tags and self.source.get("reference") == name:
            inputs = (InputFacts(self.role, name, "", self.source, {}),)  # logged in MLflow's own way, under any name
        parts = Parts(self.role, self.ref, self.params, self.tags, inputs, self.link, self._confirmed())
        agreement = Agreement(parts, self.findings, self.notes)
        agreement.dataset_input()
        digest, size, grade = agreement.content_digest(), agreement.usage_bytes(), agreement.grade()
        agreement.labels()
        agreement.changed_while_used()
        manifest = self._manifest(digest) if manifests else None
        if digest is None and manifest is not None:
            digest = ManifestStream(BytesIO(manifest)).content_digest
        version = self.link.version if self.link else self._thin_version(size)
        record = Record(
            role=self.role,
            requested=self._requested(),
            version=replace(version, content_digest=digest),
            grade=grade,
            findings=tuple(self.findings),
            notes=tuple(self.notes),
            host=self.link.host if self.link else None,
        )
        return Recorded(record, manifest)

    def _sums(self) -> Mapping[str, str] | None:
        """Name to SHA-256 of the role's artifacts as the run's tag has them; None where it has none."""
        text = self.tags.get("artifacts")
        if text is None:
            return None
        sums = written.parse_artifacts(text)
        if sums is None:
            what = "the tag with the sums of the artifacts cannot be read, so somebody changed it"
            self.findings.append(Finding(Verdict.CHANGED, Subject.RECORD, what, found=one_line(text, 200)))
        return sums

    def _other_sum(self, name: str) -> tuple[str | None, str] | None:
        """The SHA-256 that was recorded of an artifact and the one that it has, where these differ."""
        assert self.files is not None
        found = hashlib.sha256(self.files[name]).hexdigest()
        if self.sums is not None and self.sums.get(name) != found:
            return self.sums.get(name), found
        if name == written.manifest_name(self.role) and self.manifest_sum not in (None, found):
            return self.manifest_sum, found
        return None

    def _confirmed(self) -> frozenset[str]:
        """The names of the artifacts that are there and are what the run's tag says."""
        if self.files is None or self.sums is None:
            return frozenset()
        names = (written.json_name(self.role), written.manifest_name(self.role))
        return frozenset(name for name in names if name in self.files and self._other_sum(name) is None)

    def _not_as_recorded(self, name: str, expected: str | None, found: str) -> None:
        what = f"the artifact dsver/{name} is not the one that was recorded, so somebody changed it"
        recorded = "no such artifact" if expected is None else f"SHA-256 {expected}"
        self.findings.append(Finding(Verdict.CHANGED, Subject.RECORD, what, recorded, f"SHA-256 {found}"))

    def _link(self) -> Link | None:
        name = written.json_name(self.role)
        if self.files is None:
            return None
        if name not in self.files:
            self.notes.append(
                Note(f"the artifact dsver/{name} is not on the run; the provider's answer went with it")
            )
            return None
        if other := self._other_sum(name):
            self._not_as_recorded(name, *other)
        if len(self.files[name]) > self.limits.link:
            self._too_large(name, f"more than {self.limits.link:,} bytes")
            return None
        try:
            fields = json.loads(self.files[name])
            link = Link.from_json(fields)
            if link.role == self.role:
                self.manifest_sum = _text(fields.get(written.MANIFEST_SUM))
                return link
            why = f"it is about the role {link.role}"
        except (ValueError, RecursionError) as error:
            why = one_line(error, 200)
        what = f"the artifact dsver/{name} is no link, so somebody changed it"
        self.findings.append(Finding(Verdict.CHANGED, Subject.RECORD, what, found=why))
        return None

    def _too_large(self, name: str, limit: str) -> None:
        what = f"the artifact dsver/{name} is larger than is read, so it was not checked"
        self.findings.append(Finding(Verdict.UNVERIFIABLE, Subject.RECORD, what, found=limit))

    def _reference(self) -> DatasetRef | None:
        references = {
            "param": self.params.get("version"),
            "tag": self.tags.get("version"),
            "dataset input": _text(self.source.get("reference")),
            written.json_name(self.role): str(self.link.version.ref) if self.link else None,
        }
        for text in references.values():
            ref = _version_ref(text)
            if ref is not None:
                Agreement(Parts(self.role, ref, {}, {}), self.findings, self.notes).same("version", references)
                if self.link is not None and self.link.version.ref != ref:
                    self.link = None
                return ref
        return None

    def _thin_version(self, size: int | None) -> DatasetVersion:
        assert self.ref is not None
        return DatasetVersion(self.ref, tags=written.parse_tags(self._label("tags") or ""), usage_bytes=size)

    def _requested(self) -> str | None:
        return self._label("requested") or (self.link.requested if self.link else None)

    def _label(self, name: str) -> str | None:
        return self.params.get(name) or self.tags.get(name)

    def _manifest(self, digest: str | None) -> bytes | None:
        """The manifest, if it is the recorded one, or no other part names a different one."""
        if self.files is None:
            return None
        name = written.manifest_name(self.role)
        content = self.files.get(name)
        if content is None:
            if digest is not None or self.manifest_sum is not None:
                self.notes.append(Note(f"no manifest on the run (dsver/{name}); the content digest is"))
            return None
        other, found = self._other_sum(name), ""
        try:
            found = _content_digest(content, self.limits.manifest)
        except ManifestTooLarge as error:
            if other is None:
                self._too_large(name, str(error))
                return None
        except InvalidManifest as error:
            found, other = one_line(error, 200), None
        else:
            if other is None and digest is None:
                return self._unclaimed(name, found, content)
        if other is not None and (not found or digest in (None, found)):
            self._not_as_recorded(name, *other)
            return None
        if found == digest:
            return content
        what = f"the manifest on the run (dsver/{name}) is not the one that was recorded, so somebody changed it"
        self.findings.append(Finding(Verdict.CHANGED, Subject.RECORD, what, digest or "none was recorded", found))
        return None

    def _unclaimed(self, name: str, found: str, content: bytes) -> bytes | None:
        """A manifest of which no other part has the content digest: it counts where the run has its sum."""
        if name in self._confirmed():
            self.notes.append(Note("the content digest is known from the manifest on the run alone", found=found))
            return content
        what = f"the manifest on the run (dsver/{name}) proves nothing: no other part of the record tells of it"
        self.notes.append(Note(what, found=found))
        return None


def _content_digest(content: bytes, limits: ManifestLimits) -> str:
    """The content digest of a manifest that was read to its end. Raises InvalidManifest."""
    lines = ManifestStream(BytesIO(content), limits)
    count = sum(1 for _ in lines)
    if lines.header.get("files") != count:
        raise InvalidManifest(f"the header promises {lines.header.get('files')!r} files; there are {count}")
    return lines.content_digest


def _of_role(texts: Mapping[str, str], role: str) -> dict[str, str]:
    """Params or tags of a role by the end of their key."""
    prefix = written.key(role, "")
    return {key.removeprefix(prefix): text for key, text in texts.items() if key.startswith(prefix)}


def _version_ref(text: str | None) -> DatasetRef | None:
    try:
        ref = parse(text or "")
    except InvalidReference:
        return None
    return ref if ref.selector is not None else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
