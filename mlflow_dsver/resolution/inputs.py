"""Inputs from the environment: those that a user sets, and the versions that `mlflow-dsver run` resolved.

Users write `training=local://digits@latest;validation=local://digits-test`; inputs are separated by semicolons or
line breaks, and white space around them is ignored. A reference may contain `=`; a semicolon in a name is written
`%3B`, as in the canonical form of a reference. Instead of a reference, an input may be a version to be created (see
`new_versions`). The launcher, `mlflow-dsver run`, passes the versions that it resolved to its child processes as JSON
in one variable. Nothing here sends a request to a provider.
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

MAX_RESOLVED = 100_000
"""Maximum length of the launcher's variable; Linux limits a variable with its name to 131,071 bytes."""

_FORM = "role=reference;role=reference, such as training=local://digits@latest"
_WHITE_SPACE = " \t\r\n"
_DROPPABLE: tuple[tuple[str, Any], ...] = (("raw", {}), ("metadata", {}), ("message", None))
"""Fields of a version that are dropped, in this order, if the variable would be too long."""


def parse_inputs(text: str, where: str) -> dict[str, str]:
    """Parse inputs to role and reference, without changing the reference; {} for an empty text.

    where: name of the variable or option, for the error. Raises SettingsError for a variable (`MLFLOW_DSVER_…`), else
    InvalidArgument, for a part that is not `role=reference`, a malformed role or reference, and a duplicate role.
    """
    found: dict[str, str] = {}
    for part in (piece.strip(_WHITE_SPACE) for piece in text.replace("\n", ";").replace("\r", ";").split(";")):
        if not part:
            continue
        role, equals, reference = part.partition("=")
        role, reference = role.rstrip(_WHITE_SPACE), reference.lstrip(_WHITE_SPACE)
        if not equals or "://" in role:
            raise _input_error(where, "an input without a role", part)
        if role in found:
            raise _input_error(where, f"the role {role} occurs twice", part)
        try:
            check_role(role)
            parse_new(reference) or parse(reference)
        except InvalidReference as error:
            raise _input_error(where, error.what, part, error.tip) from error
        found[role] = reference
    return found


def format_inputs(inputs: Mapping[str, str]) -> str:
    """The inputs as text that `parse_inputs` parses to the same roles and equivalent references.

    References are not changed except for surrounding white space and semicolons, which become `%3B`.
    """
    return ";".join(f"{role}={text.strip(_WHITE_SPACE).replace(';', '%3B')}" for role, text in inputs.items())


def configured_inputs() -> dict[str, str]:
    """Role to reference of the setting INPUTS, to which every run of this process is linked."""
    return parse_inputs(settings.setting("INPUTS") or "", settings.PREFIX + "INPUTS")


def configured_overrides() -> dict[str, str]:
    """Role to reference of the setting OVERRIDE, which replaces the script's inputs."""
    return parse_inputs(settings.setting("OVERRIDE") or "", settings.PREFIX + "OVERRIDE")


def spellings(text: str) -> tuple[str, ...]:
    """The stripped reference and its equivalent spellings: canonical, and with or without `latest`.

    A new version has no other spelling. Raises InvalidReference.
    """
    if parse_new(text) is not None:
        return (text.strip(_WHITE_SPACE),)
    ref = parse(text)
    plain = [ref.at(None), ref.at(LATEST)] if ref.selector in (None, LATEST) else [ref]
    return tuple(dict.fromkeys([text.strip(_WHITE_SPACE), *map(str, plain)]))


def serialize_resolved(resolved: Mapping[str, DatasetVersion], offline: Collection[str] = ()) -> str:
    """The value of MLFLOW_DSVER_RESOLVED: requested references and the versions that they resolved to, in ASCII.

    resolved: requested reference to version. offline: those references that the provider did not confirm. A version
    is also stored under the other spellings of its reference (see `spellings`), unless these were resolved
    themselves, and under its canonical reference. To fit into a variable, optional fields are dropped, the largest
    first: `raw`, then metadata, then messages. Raises InvalidArgument if the value is still too long.
    """
    versions_by_text = {text.strip(_WHITE_SPACE): version for text, version in resolved.items()}
    unconfirmed = {text.strip(_WHITE_SPACE) for text in offline}
    for text in list(versions_by_text):
        for other in spellings(text):
            if other not in versions_by_text:
                versions_by_text[other] = versions_by_text[text]
                unconfirmed |= {other} if text in unconfirmed else set()
    versions = {str(version.ref): version.to_json() for version in versions_by_text.values()}
    meaning = {text: str(version.ref) for text, version in versions_by_text.items() if text != str(version.ref)}
    data = {"schema": 1, "versions": list(versions.values()), "meaning": meaning}
    if unconfirmed:
        data["offline"] = sorted(unconfirmed)
    length = len(_compact(data))
    for field, empty in _DROPPABLE:
        sizes = {reference: len(_compact(version[field])) for reference, version in versions.items()}
        for reference in sorted(sizes, key=lambda each: -sizes[each]):
            if length > MAX_RESOLVED and versions[reference][field] != empty:
                versions[reference][field] = empty
                length -= sizes[reference] - len(_compact(empty))
    if length > MAX_RESOLVED:
        raise InvalidArgument(
            "too many inputs for one command", expected=f"at most {MAX_RESOLVED} characters", got=length
        )
    return _compact(data)


def inherited_versions() -> dict[str, DatasetVersion]:
    """The versions that the launcher resolved, by requested and by canonical reference; {} without a launcher.

    Raises SettingsError if the variable is not a value of `serialize_resolved`.
    """
    data = _inherited()
    try:
        versions = [DatasetVersion.from_json(each) for each in data.get("versions", ())]
        found = {str(version.ref): version for version in versions}
        return found | {text: found[reference] for text, reference in data.get("meaning", {}).items()}
    except (ValueError, LookupError, TypeError, AttributeError, DsverError) as error:
        raise _invalid_variable(f"{type(error).__name__}: {error}") from error


def inherited_offline() -> frozenset[str]:
    """The requested references that the launcher resolved from a cache, without the provider's confirmation.

    Raises SettingsError if the variable is not a value of `serialize_resolved`.
    """
    offline = _inherited().get("offline", [])
    if not isinstance(offline, list) or not all(isinstance(text, str) for text in offline):
        raise _invalid_variable("offline is not a list of strings")
    return frozenset(offline)


def _inherited() -> dict[str, Any]:
    text = settings.text(settings.PREFIX + "RESOLVED")
    if text is None:
        return {}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid_variable("not JSON") from error
    if not isinstance(data, dict) or data.get("schema") != 1:
        raise _invalid_variable("not of schema 1")
    return data


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _input_error(where: str, what: str, part: str, tip: str | None = None) -> DsverError:
    kind = SettingsError if where.startswith(settings.PREFIX) else InvalidArgument
    return kind(f"{where}: {one_line(what, 100)}", expected=_FORM, got=f"'{one_line(part, 80)}'", tip=tip)


def _invalid_variable(why: str) -> SettingsError:
    return SettingsError(
        f"{settings.PREFIX}RESOLVED was not set by mlflow-dsver run",
        got=one_line(why, 100),
        tip=f"unset {settings.PREFIX}RESOLVED",
    )
