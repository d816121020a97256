"""Checks that all parts of a run's record of a role agree. Pure.

Params, tags, the dataset input, the link's artifact and the manifest's repeat each other. Whoever changes one of them
leaves the others behind: a disagreement is a finding (CHANGED), whichever of them is right. So is a value that one
place has and another, which always has it, does not. The param counts first, since MLflow lets nobody change a param.
A content digest that stands in the artifacts alone proves nothing, and a grade is never better than the weakest that
is recorded.

What differs for other reasons is no finding: labels that were cut for a server that takes only short ones, a record
without params or without a dataset input, an input whose source and profile are those of the first run of the
experiment that used the version (MLflow keeps the first), a grade that a later check of the data lowered or that
`mlflow-dsver sync` confirmed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_dsver.checks.reports import Finding, Note, Subject, Verdict
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import InputFacts
from mlflow_dsver.resolution.resolver import OFFLINE
from mlflow_dsver.text import one_line

LOWERED = frozenset({schema.CHANGED_NOTE, "contradicted"})
"""Notes of a grade on the tag that explain why it is worse than that of the link."""
COMPARED = frozenset({"version", "usage_bytes", "content_digest", "grade"})
"""Keys that are compared one by one."""
NONE = "none"

_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")
_LIMITS = (schema.VALUE_LIMIT, schema.SHORT_LIMIT)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the parts of a run's record say of one role.

    params, tags: by the end of their key (`version`, `grade`, …). inputs: the dataset inputs of the role that have
    the version's reference as their name. link: what the link's artifact says, None when it is not there or no link.
    confirmed: names of the artifacts whose sums the run's tags have, and which are as these say.
    """

    role: str
    ref: DatasetRef
    params: Mapping[str, str]
    tags: Mapping[str, str]
    inputs: tuple[InputFacts, ...] = ()
    link: Link | None = None
    confirmed: Collection[str] = ()

    @property
    def labels(self) -> tuple[str, Mapping[str, str]]:
        """`param` or `tag`, wherever the labels of the link are, and those; empty when the run has none."""
        if "version" in self.params and not ("requested" in self.tags and "requested" not in self.params):
            return "param", self.params
        return ("tag", self.tags) if "requested" in self.tags else ("param", {})

    @property
    def artifact(self) -> str:
        """The name of the link's artifact."""
        return schema.json_name(self.role)


@dataclass(slots=True)
class Agreement:
    """Compares parts, and collects what disagrees."""

    parts: Parts
    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def same(self, what: str, values: Mapping[str, Any]) -> Any:
        """The first value that is not None; a finding when another differs. None: a part without the value."""
        known = {where: value for where, value in values.items() if value is not None}
        if len(set(known.values())) > 1:
            (first, expected), *others = known.items()
            found = ", ".join(f"{where}: {value}" for where, value in others if value != expected)
            self.disagree(what, f"{first}: {expected}", found)
        return next(iter(known.values()), None)

    def disagree(self, what: str, expected: str, found: str) -> None:
        """Add a finding."""
        title = f"the record disagrees with itself about the {what}, so somebody changed it"
        self.findings.append(
            Finding(Verdict.CHANGED, Subject.RECORD, title, one_line(expected, 600), one_line(found, 600))
        )

    def labels(self) -> None:
        """Every param and tag that is written of a link and that no other method compares; it may have been cut."""
        link = self.parts.link
        if link is None:
            return
        start = schema.key(self.parts.role, "")
        for where, there, write in (("param", self.parts.params, schema.labels), ("tag", self.parts.tags, _tags)):
            written = [write(link, limit) for limit in _LIMITS]
            for key in written[0]:
                name = key.removeprefix(start)
                text = there.get(name)
                if text is None or name in COMPARED or text in [each[key] for each in written]:
                    continue
                self.disagree(name, f"{where}: {text}", f"{self.parts.artifact}: {written[0][key]}")
        created = self.parts.tags.get("created")
        if created is not None and link.created is None:
            self.disagree("created", f"tag: {created}", f"{self.parts.artifact}: {NONE}")

    def usage_bytes(self) -> int | None:
        """The size: `unknown` and a number disagree."""
        where, labels = self.parts.labels
        link, text = self.parts.link, labels.get("usage_bytes")
        size = _number(text)
        self.same(
            "usage bytes", {"param": self.parts.params.get("usage_bytes"), "tag": self.parts.tags.get("usage_bytes")}
        )
        if text is not None and size is None and text != schema.UNKNOWN:
            self.disagree("usage bytes", f"a number or {schema.UNKNOWN}", f"{where}: {text}")
        if link is None:
            return size
        recorded = link.version.usage_bytes
        if text is not None and recorded != size:
            self.disagree("usage bytes", f"{where}: {text}", f"{self.parts.artifact}: {_or_none(recorded)}")
        return size if text is not None else recorded

    def content_digest(self) -> str | None:
        """The content digest, where another part than the artifacts says it, or the run has the artifact's sum."""
        parts = self.parts
        where, labels = parts.labels
        parts_by_name = {"param": parts.params, "tag": parts.tags}
        recorded = {each: self._digest(each, has.get("content_digest")) for each, has in parts_by_name.items()}
        label = recorded[where]
        sources = [self._digest("dataset input", each.source.get("content_digest")) for each in parts.inputs]
        recorded |= {f"dataset input {number}": each for number, each in enumerate(sources, 1)}
        linked = self._digest(parts.artifact, parts.link.version.content_digest) if parts.link else None
        known: str | None = self.same("content digest", {**recorded, parts.artifact: linked})
        digest = label or next((each for each in sources if each), None)
        if labels and label is None and digest is not None:
            self.disagree("content digest", f"{where}: {NONE}", f"dataset input: {digest}")
        if label is not None and sources and not any(sources):
            self.disagree("content digest", f"{where}: {label}", f"dataset input: {NONE}")
        if digest is not None:
            if parts.link is not None and linked is None:
                self.disagree("content digest", f"recorded: {digest}", f"{parts.artifact}: {NONE}")
            return digest
        if known is None or (parts.artifact in parts.confirmed and not self._others):
            return known
        if self._others:
            self.disagree("content digest", f"{self._others}: {NONE}", f"{parts.artifact}: {known}")
        else:
            what = "the content digest stands in an artifact alone, and nothing else on the run confirms it"
            self.notes.append(Note(what, found=known))
        return None

    def dataset_input(self) -> None:
        """Whether name, digest, source and profile of the dataset input belong together."""
        ref = self.parts.ref
        for each in self.parts.inputs:
            fields = {"provider": ref.provider, "dataset": ref.dataset, "version": ref.selector or ""}
            fields["reference"] = str(ref)
            for name, expected in fields.items():
                found = each.source.get(name)
                if found is not None and found != expected:
                    self.disagree(name, f"dataset input's name: {expected}", f"its source: {found}")
            if not each.profile:
                continue  # logged without this package, under a digest of another kind
            for name in ("provider", "version"):
                found, expected = each.profile.get(name), one_line(fields[name], schema.PROFILE_LINE)
                if found is not None and found != expected:
                    self.disagree(name, f"dataset input's name: {expected}", f"its profile: {found}")
            digest = _digest(each.source.get("content_digest"))
            version = DatasetVersion(ref, content_digest=digest)
            profile = self._digest("profile", each.profile.get("content_digest"))
            self.same("content digest", {"dataset input's source": digest, "its profile": profile})
            if each.digest not in (schema.digest(version), schema.digest(version, self.parts.role)):
                self.disagree("dataset input", f"digest {schema.digest(version)}", f"digest {each.digest}")

    def grade(self) -> Grade | None:
        """The weakest grade that is recorded, with all notes on how the link came about."""
        link, text = self.parts.link, self.parts.tags.get("grade")
        tag = _grade(text)
        if text is not None and tag is None:
            self.disagree("grade", "A, B, C or D", f"tag: {text}")
        if link is None:
            return self._grade_without_link(tag)
        if tag is None:
            if self.parts.tags:
                self.notes.append(Note("the tag with the grade is not on the run", found=str(link.grade)))
            return link.grade
        if link.grade.letter == "B" and link.version.immutable is False:
            self.disagree("promise of the provider", "grade B: it cannot change", f"{self.parts.artifact}: it can")
        if tag == link.grade:
            return tag
        worst = max(tag, link.grade, key=lambda each: each.letter).with_notes(*tag.notes)
        if OFFLINE in link.grade.notes:
            worst = tag  # `mlflow-dsver sync` asked the provider later, whatever it said
        elif not LOWERED & set(tag.notes) or tag.letter < link.grade.letter:
            self.disagree("grade", f"{self.parts.artifact}: {link.grade}", f"tag: {tag}")
            return worst.with_notes(*link.grade.notes)
        self.notes.append(Note("the grade was changed after the link was made", str(link.grade), str(tag)))
        return worst

    def changed_while_used(self) -> None:
        """The result of the check at the end of the run."""
        text, grade = self.parts.tags.get("sealed", ""), _grade(self.parts.tags.get("grade"))
        seen = re.match(r"\S+ changed: ", text)
        if seen or (grade is not None and schema.CHANGED_NOTE in grade.notes):
            what = "the data changed while the run used it"
            found = one_line(text, 600) if seen else None
            self.findings.append(Finding(Verdict.CHANGED, Subject.BYTES, what, found=found))

    def _grade_without_link(self, tag: Grade | None) -> Grade | None:
        """The tag's grade, unless the dataset input says a worse one: a better one may be that of an older run."""
        letters = [each.profile.get("grade") for each in self.parts.inputs]
        known = [grade for grade in (_grade(each) for each in letters if isinstance(each, str)) if grade is not None]
        worst = max(known, key=lambda each: each.letter, default=None)
        if tag is None or worst is None or worst.letter <= tag.letter:
            return tag or worst
        self.disagree("grade", f"dataset input: {worst}", f"tag: {tag}")
        return worst.with_notes(*tag.notes)

    @property
    def _others(self) -> str:
        """Which parts beside the artifacts would have a content digest if one had been known."""
        where, labels = self.parts.labels
        named = {where: bool(labels), "dataset input": bool(self.parts.inputs)}
        return " and ".join(name for name, there in named.items() if there)

    def _digest(self, where: str, value: object) -> str | None:
        digest = _digest(value)
        if digest is None and value is not None:
            self.disagree("content digest", "blake3: and 64 hex digits", f"{where}: {value}")
        return digest


def _tags(link: Link, limit: int) -> dict[str, str]:
    return schema.tags(link, None, limit, "none")


def _digest(value: object) -> str | None:
    return value if isinstance(value, str) and _DIGEST.match(value) else None


def _grade(text: str | None) -> Grade | None:
    try:
        return Grade.parse(text) if text else None
    except ValueError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


def _or_none(value: object) -> str:
    return NONE if value is None else str(value)
