"""Inputs that come from outside a script: from variables that a person sets, and from the launcher.

A person writes `training=local://digits@latest;validation=local://digits-test`; a line break separates as well as a
semicolon does, blanks around each part are passed over. A reference may contain `=`; a semicolon inside a name is
written `%3B`, as in the canonical form of a reference. In place of a reference a part may ask for a version to be
made (see `new_versions`). The launcher, `mlflow-dsver run`, hands what it resolved to the processes below it as JSON
in one variable. Nothing here asks a provider.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InvalidArgument, InvalidReference, SettingsError
from mlflow_dsver.model.new_versions import parse_new
from mlflow_dsver.model.refs import LATEST, check_role, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.text import one_line

MAX_HANDED_DOWN = 100_000
"""Characters of the launcher's variable at most; Linux takes 131,071 for one variable with its name."""

_FORM = "role=reference;role=reference, such as training=local://digits@latest"
_BLANKS = " \t\r\n"
_LEFT_OUT: tuple[tuple[str, Any], ...] = (("raw", {}), ("metadata", {}), ("message", None))
"""What a version can do without when the variable would become too long, in this order."""


def parse_inputs(text: str, where: str) -> dict[str, str]:
    """Role to reference as it was written; {} for an empty text.

    where: the variable or option that the text comes from, for the error. Raises SettingsError for a variable
    (`MLFLOW_DSVER_…`), else InvalidArgument: for a part that is not `role=reference`, a role or a reference that is
    none, and a role that is named twice.
    """
    found: dict[str, str] = {}
    for part in (piece.strip(_BLANKS) for piece in text.replace("\n", ";").replace("\r", ";").split(";")):
        if not part:
            continue
        role, equals, reference = part.partition("=")
        role, reference = role.rstrip(_BLANKS), reference.lstrip(_BLANKS)
        if not equals or "://" in role:
            raise _refused(where, "a part without its role", part)
        if role in found:
            raise _refused(where, f"the role {role} is named twice", part)
        try:
            check_role(role)
            parse_new(reference) or parse(reference)
        except InvalidReference as error:
            raise _refused(where, error.what, part, error.tip) from error
        found[role] = reference
    return found


def written(inputs: Mapping[str, str]) -> str:
    """The way back: `parse_inputs` reads the same roles from it, each with a reference that means the same.

    The reference's words stay as they are, but for blanks around it and semicolons, which become `%3B`.
    """
    return ";".join(f"{role}={text.strip(_BLANKS).replace(';', '%3B')}" for role, text in inputs.items())


def wanted() -> dict[str, str]:
    """Role to reference of the setting INPUTS: what every run of this process is to be linked to."""
    return parse_inputs(settings.setting("INPUTS") or "", settings.PREFIX + "INPUTS")


def overrides() -> dict[str, str]:
    """Role to reference of the setting OVERRIDE: what is used in place of what the script asks for."""
    return parse_inputs(settings.setting("OVERRIDE") or "", settings.PREFIX + "OVERRIDE")


def spellings(text: str) -> tuple[str, ...]:
    """The words without blanks around them, and other words for the same: canonical, with `latest` or without.

    What asks for a new version has no other words. Raises InvalidReference.
    """
    if parse_new(text) is not None:
        return (text.strip(_BLANKS),)
    ref = parse(text)
    plain = [ref.at(None), ref.at(LATEST)] if ref.selector in (None, LATEST) else [ref]
    return tuple(dict.fromkeys([text.strip(_BLANKS), *map(str, plain)]))


def hand_down(answers: Mapping[str, DatasetVersion], offline: Collection[str] = ()) -> str:
    """The text for MLFLOW_DSVER_RESOLVED: what was asked for, and which version that is; ASCII, bounded.

    answers: by the reference as it was asked for. offline: those of them that were not confirmed by the provider.
    An answer is found by other spellings of the words as well (see `spellings`), unless they have an answer of their
    own, and by the version's canonical reference. So that the text fits into a variable, the largest parts
    that a version can do without are left out: first of `raw`, then of metadata, then messages. Raises
    InvalidArgument when it does not fit even then.
    """
    asked = {text.strip(_BLANKS): version for text, version in answers.items()}
    unsure = {text.strip(_BLANKS) for text in offline}
    for text in list(asked):
        for other in spellings(text):
            if other not in asked:
                asked[other] = asked[text]
                unsure |= {other} if text in unsure else set()
    versions = {str(version.ref): version.to_json() for version in asked.values()}
    meaning = {text: str(version.ref) for text, version in asked.items() if text != str(version.ref)}
    told = {"schema": 1, "versions": list(versions.values()), "meaning": meaning}
    if unsure:
        told["offline"] = sorted(unsure)
    length = len(_compact(told))
    for field, nothing in _LEFT_OUT:
        sizes = {reference: len(_compact(version[field])) for reference, version in versions.items()}
        for reference in sorted(sizes, key=lambda each: -sizes[each]):
            if length > MAX_HANDED_DOWN and versions[reference][field] != nothing:
                versions[reference][field] = nothing
                length -= sizes[reference] - len(_compact(nothing))
    if length > MAX_HANDED_DOWN:
        raise InvalidArgument(
            "too many inputs for one command", expected=f"at most {MAX_HANDED_DOWN} characters", got=length
        )
    return _compact(told)


def handed_down() -> dict[str, DatasetVersion]:
    """What the launcher resolved: by the reference as it was asked for, and by the canonical one. {} without one.

    Raises SettingsError when the variable is not what `hand_down` writes.
    """
    told = _told()
    try:
        versions = [DatasetVersion.from_json(each) for each in told.get("versions", ())]
        found = {str(version.ref): version for version in versions}
        return found | {text: found[reference] for text, reference in told.get("meaning", {}).items()}
    except (ValueError, LookupError, TypeError, AttributeError, DsverError) as error:
        raise _not_ours(f"{type(error).__name__}: {error}") from error


def handed_down_offline() -> frozenset[str]:
    """The references, as they were asked for, whose answer the launcher had from this host and not from the provider.

    Raises SettingsError when the variable is not what `hand_down` writes.
    """
    offline = _told().get("offline", [])
    if not isinstance(offline, list) or not all(isinstance(text, str) for text in offline):
        raise _not_ours("offline is no list of texts")
    return frozenset(offline)


def _told() -> dict[str, Any]:
    text = settings.text(settings.PREFIX + "RESOLVED")
    if text is None:
        return {}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_ours("not JSON") from error
    if not isinstance(told, dict) or told.get("schema") != 1:
        raise _not_ours("not of schema 1")
    return told


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _refused(where: str, what: str, part: str, tip: str | None = None) -> DsverError:
    kind = SettingsError if where.startswith(settings.PREFIX) else InvalidArgument
    return kind(f"{where}: {one_line(what, 100)}", expected=_FORM, got=f"'{one_line(part, 80)}'", tip=tip)


def _not_ours(why: str) -> SettingsError:
    return SettingsError(
        f"{settings.PREFIX}RESOLVED is not what mlflow-dsver run hands down",
        got=one_line(why, 100),
        tip=f"unset {settings.PREFIX}RESOLVED",
    )
