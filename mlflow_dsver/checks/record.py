"""What a run says that it used, put together from every place where it says so, and whether these agree.

A link is written in params, tags, the dataset input's source, the link's artifact and the manifest's. Whoever changes
one of them leaves the others behind: a disagreement is a finding (CHANGED), whichever of them is right. The param
counts first, since MLflow lets nobody change a param. What is gone is noted, as the rest still says what was used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from mlflow_dsver.checks.evidence import Finding, Note, Record, Subject, Verdict
from mlflow_dsver.checks.manifest_lines import ManifestLines
from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.manifests import InvalidManifest
from mlflow_dsver.refs import DatasetRef, parse
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import record as written
from mlflow_dsver.tracking.queries import RunFacts
from mlflow_dsver.versions import DatasetVersion, Grade, Link

_ROLE = re.compile(r"dsver\.([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.version\Z")
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A role's record, and the recorded manifest's file when it is there and is the one that was recorded."""

    record: Record
    manifest: bytes | None = None


def roles_of(run: RunFacts) -> list[str]:
    """The roles in which the run says that it used something, sorted."""
    keys = [found[1] for found in map(_ROLE.match, [*run.params, *run.tags]) if found]
    return sorted({*keys, *(role for role in run.sources if _ROLE.match(written.key(role, "version")))})


def records_of(
    run: RunFacts, files: Mapping[str, bytes] | None, unread: str | None = None, *, manifests: bool = True
) -> Iterator[Recorded]:
    """The record of each role.

    files: the record's artifacts by name; None when they could not be read, and `unread` says why. manifests: False
    when manifests were not asked for, so that their absence says nothing.
    A role whose every reference is unreadable gives nothing; `unreadable_roles` names it.
    """
    for role in roles_of(run):
        gathered = _Gathered(run, role, files)
        if gathered.ref is not None:
            yield gathered.recorded(unread, manifests)


def unreadable_roles(run: RunFacts) -> list[str]:
    """Roles for which the run has no text that is a reference of a version."""
    return [role for role in roles_of(run) if _Gathered(run, role, None).ref is None]


class _Gathered:
    """Everything that one run says about one role."""

    def __init__(self, run: RunFacts, role: str, files: Mapping[str, bytes] | None) -> None:
        self.run, self.role, self.files = run, role, files
        self.findings: list[Finding] = []
        self.notes: list[Note] = []
        self.source = run.sources.get(role) or {}
        self.link = self._link()
        self.ref = self._reference()

    def recorded(self, unread: str | None, manifests: bool) -> Recorded:
        """The record, with what disagrees in it."""
        assert self.ref is not None
        digest = self._agreed(
            "content digest",
            {
                "param": _digest(self._param("content_digest")),
                "dataset input": _digest(self.source.get("content_digest")),
                f"{self.role}.json": self.link.version.content_digest if self.link else None,
            },
        )
        size = self._agreed(
            "usage bytes",
            {
                "param": _number(self._param("usage_bytes")),
                f"{self.role}.json": self.link.version.usage_bytes if self.link else None,
            },
        )
        manifest = self._manifest(digest) if manifests else None
        if unread is not None:
            what = "the record's artifacts could not be read"
            self.findings.append(Finding(Verdict.UNREACHABLE, Subject.RECORD, what, found=unread))
        if digest is None and manifest is not None:
            digest = ManifestLines(BytesIO(manifest)).content_digest
        version = self.link.version if self.link else self._thin_version(size, digest)
        version = replace(version, content_digest=digest)
        record = Record(
            role=self.role,
            requested=self._requested(),
            version=version,
            grade=self._grade(),
            findings=tuple(self.findings),
            notes=tuple(self.notes),
        )
        return Recorded(record, manifest)

    def _param(self, name: str) -> str | None:
        return self.run.params.get(written.key(self.role, name))

    def _tag(self, name: str) -> str | None:
        return self.run.tags.get(written.key(self.role, name))

    def _link(self) -> Link | None:
        name = written.json_name(self.role)
        if self.files is None:
            return None
        if name not in self.files:
            self.notes.append(
                Note(f"the artifact dsver/{name} is not on the run; the provider's answer went with it")
            )
            return None
        try:
            link = Link.from_json(json.loads(self.files[name]))
            if link.role == self.role:
                return link
            why = f"it is about the role {link.role}"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidReference) as error:
            why = one_line(error, 200)
        what = f"the artifact dsver/{name} is no link, so somebody changed it"
        self.findings.append(Finding(Verdict.CHANGED, Subject.RECORD, what, found=why))
        return None

    def _reference(self) -> DatasetRef | None:
        told = {
            "param": self._param("version"),
            "tag": self._tag("version"),
            "dataset input": _text(self.source.get("reference")),
            f"{self.role}.json": str(self.link.version.ref) if self.link else None,
        }
        for text in told.values():
            ref = _version_ref(text)
            if ref is not None:
                self._agreed("version", told)
                if self.link is not None and self.link.version.ref != ref:
                    self.link = None
                return ref
        return None

    def _agreed(self, what: str, told: Mapping[str, Any]) -> Any:
        """The first that is told; a finding when others tell otherwise."""
        known = {where: value for where, value in told.items() if value is not None}
        if len(set(known.values())) > 1:
            (first, expected), *others = known.items()
            found = ", ".join(f"{where}: {value}" for where, value in others if value != expected)
            title = f"the record disagrees with itself about the {what}, so somebody changed it"
            self.findings.append(
                Finding(Verdict.CHANGED, Subject.RECORD, title, f"{first}: {expected}", one_line(found, 600))
            )
        return next(iter(known.values()), None)

    def _thin_version(self, size: int | None, digest: str | None) -> DatasetVersion:
        assert self.ref is not None
        tags = written.parse_tags(self._param("tags") or "")
        return DatasetVersion(self.ref, tags=tags, usage_bytes=size, content_digest=digest)

    def _requested(self) -> str | None:
        return self._param("requested") or (self.link.requested if self.link else None)

    def _grade(self) -> Grade | None:
        """The lower of those recorded: a tag can be changed by anybody who may write to the run."""
        found = [_grade(self._tag("grade")), self.link.grade if self.link else None]
        known = [grade for grade in found if grade is not None]
        if len({grade.letter for grade in known}) > 1:
            self.notes.append(Note("the grade was changed after the link was made", str(known[1]), str(known[0])))
        return max(known, key=lambda grade: grade.letter, default=None)

    def _manifest(self, digest: str | None) -> bytes | None:
        if self.files is None:
            return None
        name = written.manifest_name(self.role)
        content = self.files.get(name)
        if content is None:
            if digest is not None:
                self.notes.append(Note(f"no manifest on the run (dsver/{name}); the content digest is"))
            return None
        try:
            lines = ManifestLines(BytesIO(content))
            for _ in lines:
                pass
            found = lines.content_digest
        except InvalidManifest as error:
            found = one_line(error, 200)
        if digest is None and _DIGEST.match(found):
            self.notes.append(Note("the content digest is known from the manifest on the run alone", found=found))
            return content
        if found == digest:
            return content
        what = f"the manifest on the run (dsver/{name}) is not the one that was recorded, so somebody changed it"
        self.findings.append(Finding(Verdict.CHANGED, Subject.RECORD, what, digest or "none was recorded", found))
        return None


def _version_ref(text: str | None) -> DatasetRef | None:
    try:
        ref = parse(text or "")
    except InvalidReference:
        return None
    return ref if ref.selector is not None else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _digest(value: object) -> str | None:
    return value if isinstance(value, str) and _DIGEST.match(value) else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


def _grade(text: str | None) -> Grade | None:
    try:
        return Grade.parse(text) if text else None
    except ValueError:
        return None
