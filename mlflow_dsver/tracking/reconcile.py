"""Checks a link that was made offline, now that its provider can be reached; decides, and writes nothing.

The recorded version is the one that the run used, whatever is found here. Two things can be wrong with it: the
provider does not have it, or has different content under its name (contradicted); or it exists and was not what the
reference meant when the run started (moved before). Where a tag points later is not a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlflow_dsver.errors import InvalidReference, NotFound
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.refs import LATEST, parse_recorded
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record import schema
from mlflow_dsver.resolution.resolver import OFFLINE

CONTRADICTED = Grade("D", (OFFLINE, "contradicted"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for a role. error: for the tag `dsver.R.error`; None for none. detail: for a person."""

    state: Literal["confirmed", "contradicted", "moved before"]
    grade: Grade
    detail: str
    error: str | None = None


def confirm(link: Link, standing: Grade) -> Outcome:
    """Query the link's provider, with at most three calls. standing: the grade that the run has now.

    Raises the provider's errors but NotFound, and UnknownProvider: then nothing is known.
    """
    ref = link.version.ref
    provider = get_provider(ref.provider)
    try:
        now = provider.get(ref.dataset, ref.selector or "")
    except NotFound:
        return _contradicted(link, "that its provider has no such version")
    other = _difference(link.version, now)
    if other is not None:
        return _contradicted(link, other)
    kept = [note for note in standing.notes if note not in CONTRADICTED.notes]
    return _timely(link, provider.grade(now).with_notes(*kept), _meaning(provider, link))


def _contradicted(link: Link, found: str) -> Outcome:
    text = f"expected {link.version.ref} as this host knew it when the run began; found {found}"
    return Outcome("contradicted", CONTRADICTED, text, schema.OFFLINE_FINDING + text)


def _difference(then: DatasetVersion, now: DatasetVersion) -> str | None:
    """The evidence that the two versions differ; None when there is none."""
    if now.ref != then.ref:
        return f"{now.ref} in its place"
    pairs = {
        "content digest": (then.content_digest, now.content_digest),
        "size in bytes": (then.usage_bytes, now.usage_bytes),
    }
    for name, (before, after) in pairs.items():
        if before is not None and after is not None and before != after:
            return f"another {name}: {after} instead of {before}"
    return None


def _meaning(provider: Provider, link: Link) -> DatasetVersion | None:
    """What the reference means now; None when it names the version itself, or means nothing any more."""
    try:
        requested = parse_recorded(link.requested)
        if requested == link.version.ref or requested.provider != provider.name:
            return None
        return provider.resolve(requested)
    except (InvalidReference, NotFound):
        return None


def _timely(link: Link, grade: Grade, meaning: DatasetVersion | None) -> Outcome:
    """Of a version that is there: whether it was what was asked for when the run began, as far as that is known."""
    confirmed = f"{link.version.ref} is there, grade {grade}"
    if meaning is None or meaning.ref == link.version.ref:
        return Outcome("confirmed", grade, confirmed)
    moved = f"{link.requested} means {meaning.ref} by now"
    if meaning.created is None:
        return Outcome("confirmed", grade, f"{confirmed}; {moved}, made at a time that its provider does not tell")
    if meaning.created >= link.linked:
        return Outcome("confirmed", grade, f"{confirmed}; {moved}, made later")
    moving = parse_recorded(link.requested).selector or LATEST
    certain = "" if moving == LATEST else f", as far as is known: nobody tells when the tag {moving} moved"
    text = (
        f"the run used {link.version.ref}, and {moved}, made {date_text(meaning.created)}, "
        f"which was before the run was linked ({date_text(link.linked)}){certain}"
    )
    return Outcome("moved before", grade, text, schema.OFFLINE_FINDING + text)
