"""What a link becomes on a run, schema 1: params, tags, the dataset input, artifacts; and which of them are there.

Pure; no request is made. `reader` reads the record back. This is the one place that decides whether it is complete.

For a role R there are the labels `dsver.R.version`, `.requested`, `.tags`, `.usage_bytes` and, where it is known,
`.content_digest`, and counts that the provider names for it, such as `.inputs_count`. They are params, or as many of
them as the setting PARAMS says (`full`, `short`: the version, `none`); those that are no params are tags of the same
name. There are the tags `dsver.R.version`,
`dsver.R.grade` and `dsver.schema`, and `dsver.R.overridden` where a person put another version in place of the
script's, `dsver.R.created` where the version was made for the run, `dsver.R.dataset_name` where the reference has an
id in the place of a name, and `dsver.R.artifacts` with the sums of the role's artifacts; one dataset input with R as
its context; and the artifacts
`dsver/R.json`, `dsver/R.manifest.jsonl.gz` and `dsver/card.md`. All of it can be read without this package. It is a
promise to users: what it says changes only together with the schema number.

MLflow truncates long values silently, so they are cut here first, with a mark that can be seen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import is_role
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.settings import LoggedParams
from mlflow_dsver.text import human_bytes, one_line

SCHEMA = "1"
SCHEMA_TAG = "dsver.schema"
ERROR_TAG = "dsver.error"
VERDICT_TAG = "dsver.verdict"
"""What the last check of the run found, and when."""
NO_INPUTS = "this tracking server takes no dataset inputs"
"""How the error begins that a run gets from a server without dataset inputs; `runs_using` searches for it."""
OFFLINE_FINDING = "offline: "
"""How the error of a role begins that `mlflow-dsver sync` found: a later record does not take it back."""
CHANGED_NOTE = "changed during the run"
"""Note of a grade: the data was other at the end of the run than at its start."""
FOLDER = "dsver"
"""Where the artifacts of the record are."""
FILES_READ_TAG = "dsver.files_read"
"""How many files the process of a run read, and how many of them belong to no linked version."""
FILES_READ_NAME = "files.read.json"
"""The artifact with these files, inside FOLDER; no role has a dot in its name."""

VALUE_LIMIT = 5000
"""Characters of a param or tag at most. MLflow takes 6000 in a param and 8000 in a tag, older servers 5000."""
SHORT_LIMIT = 250
"""Characters of a label at most on servers that refuse longer ones: Azure ML and MLflow before 2.8 take 500."""
ERROR_LIMIT = 1000
PROFILE_LINE, PROFILE_LINES = 80, 10
"""Characters of a profile's value at most, as MLflow's pages show no more; and its lines."""
NAME_LENGTH = 200
"""Characters of a dataset's name for people at most."""
UNKNOWN = "unknown"
COUNT_NAME = re.compile(r"[a-z][a-z0-9_]{0,60}_count\Z")
"""Names that a provider's count may have as a param, so that none is the name of another thing."""
MORE = "… "
"""Starts the mark of what was cut off."""

MANIFEST_SUM = "manifest_sha256"
"""Key of a link's artifact: SHA-256 of the artifact with the manifest, as it is compressed."""
_SUM = re.compile(r"([0-9a-f]{64}) ([A-Za-z0-9_.-]{1,100})\Z")

Input = tuple[str, str, str | None]
"""Name, digest and role of a dataset input."""


def key(role: str, what: str) -> str:
    """The name of a param or tag: `dsver.training.version`."""
    return f"dsver.{role}.{what}"


def role_of_key(name: str) -> str | None:
    """The role R of a param or tag `dsver.R.version`; None for any other."""
    role = name.removeprefix("dsver.").removesuffix(".version")
    return role if name == key(role, "version") and is_role(role) else None


def roles_in(names: Iterable[str]) -> set[str]:
    """The roles of which there is a version among the names of params and tags."""
    return {role for role in map(role_of_key, names) if role is not None}


def labels(link: Link, limit: int = VALUE_LIMIT) -> dict[str, str]:
    """The labels of a link. limit: characters of one at most; the version and its digest are never cut."""
    version = link.version
    fields = {
        "version": str(version.ref),
        "requested": one_line(link.requested, limit),
        "tags": tags_text(version.tags, limit),
        "usage_bytes": UNKNOWN if version.usage_bytes is None else str(version.usage_bytes),
    }
    if version.content_digest is not None:
        fields["content_digest"] = version.content_digest
    for name in version.count_params:
        if COUNT_NAME.match(name) and name in version.counts:
            fields[name] = str(version.counts[name])
    return {key(link.role, name): value for name, value in fields.items()}


def params(link: Link, limit: int = VALUE_LIMIT, logged: LoggedParams = "full") -> dict[str, str]:
    """The labels of a link that are logged as params."""
    short = key(link.role, "version")
    return {
        name: value
        for name, value in labels(link, limit).items()
        if logged == "full" or (logged == "short" and name == short)
    }


def tags(
    link: Link, overridden: str | None = None, limit: int = VALUE_LIMIT, logged: LoggedParams = "full"
) -> dict[str, str]:
    """The tags of a link, the one with the schema's number included, and the labels that are not logged as params.

    overridden: what the script requested, when a person overrode it with another version.
    """
    fields = {
        **({} if logged == "full" else labels(link, limit)),
        SCHEMA_TAG: SCHEMA,
        key(link.role, "version"): str(link.version.ref),
        key(link.role, "grade"): str(link.grade),
    }
    if link.created is not None:
        fields[key(link.role, "created")] = one_line(link.created, VALUE_LIMIT)
    if link.version.dataset_name:
        fields[key(link.role, "dataset_name")] = one_line(link.version.dataset_name, NAME_LENGTH)
    if overridden is not None:
        fields[key(link.role, "overridden")] = one_line(overridden, limit)
    return fields


def logged_params(names: Collection[str], role: str) -> LoggedParams:
    """How much of a link in that role is logged as params, by the names of a run's params."""
    if key(role, "requested") in names:
        return "full"
    return "short" if key(role, "version") in names else "none"


def tags_text(tags: Iterable[str], limit: int = VALUE_LIMIT) -> str:
    """Tags separated by commas, sorted; `parse_tags` reads them back.

    A comma inside a tag is written `%2C`, so that a tag `%2C` is written `%252C`. What does not fit is left out tag
    by tag, and a last entry `… 12 more` says so.
    """
    written = [_comma_free(one_line(tag, 10 * limit)) for tag in sorted(tags)]
    text = ",".join(written)
    if len(text) <= limit:
        return text
    room = limit - len(f",{MORE}{len(written)} more")
    kept: list[str] = []
    for tag in written:
        room -= len(tag) + 1
        if room < 0:
            break
        kept.append(tag)
    return ",".join([*kept, f"{MORE}{len(written) - len(kept)} more"])


def parse_tags(text: str) -> tuple[str, ...]:
    """What `tags_text` wrote, without the mark of what was left out."""
    parts = [part for part in text.split(",") if part and not part.startswith(MORE)]
    return tuple(re.sub("%(2C|25)", lambda found: "," if found[1] == "2C" else "%", part) for part in parts)


def digest(version: DatasetVersion, role: str | None = None) -> str:
    """The dataset's digest for MLflow: 16 hex digits of the canonical reference and the content digest, if known.

    role: given when the run has the version in another role already. MLflow knows a dataset by experiment, name and
    digest, keeps one input of each on a run, and drops a second role silently.
    """
    parts = [str(version.ref), version.content_digest or ""]
    if role is not None:
        parts.append(role)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def plan_digests(links: Iterable[Link], present: Collection[Input]) -> dict[str, str]:
    """Role to the digest that its dataset input has or gets.

    present: (name, digest, context) of the inputs that the run has already; a role among them keeps its digest.
    """
    taken = {(name, known): context for name, known, context in present}
    plan = {}
    for link in links:
        name, plain, salted = str(link.version.ref), digest(link.version), digest(link.version, link.role)
        if taken.get((name, salted)) == link.role:
            plan[link.role] = salted
            continue
        holder = taken.setdefault((name, plain), link.role)
        plan[link.role] = plain if holder == link.role else salted
        taken.setdefault((name, plan[link.role]), link.role)
    return plan


def profile(
    version: DatasetVersion,
    requested: str | None = None,
    grade: Grade | None = None,
    files: int | None = None,
    changes: str | None = None,
) -> dict[str, str]:
    """What MLflow's pages show of a dataset: at most 10 short lines, those that are known.

    MLflow keeps the first profile of a dataset in an experiment, so each line must stay true for all later runs: the
    grade is the letter alone, as how one link came about is on its run; changes name the version that they are from.
    """
    lines = {
        "provider": version.ref.provider,
        "dataset_name": version.dataset_name,
        "version": version.id,
        "grade": grade.letter if grade else None,
        "size": human_bytes(version.usage_bytes),
        "files": None if files is None else f"{files:,}",
        "tags": tags_text(version.tags, PROFILE_LINE) or "none",
        "created": date_text(version.created),
        "requested": requested,
        "changes": changes,
        "message": version.message,
        "content_digest": version.content_digest,
    }
    known = {name: one_line(value, PROFILE_LINE) for name, value in lines.items() if value}
    for least in ("message", "requested"):
        if len(known) > PROFILE_LINES:
            known.pop(least, None)
    return known


def file_count(version: DatasetVersion, manifest: Manifest | None = None) -> int | None:
    """How many files a version has: by its manifest, else as its provider counts them; None when unknown."""
    return len(manifest) if manifest is not None else version.counts.get("files")


def link_json(link: Link, manifest: bytes | None = None) -> bytes:
    """The artifact `dsver/R.json`: the whole link, with the provider's untouched answer.

    manifest: the artifact with the manifest, whose SHA-256 is stored as `manifest_sha256`; None where there is none.
    """
    data = link.to_json()
    if manifest is not None:
        data[MANIFEST_SUM] = hashlib.sha256(manifest).hexdigest()
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    return (text + "\n").encode("utf-8", "backslashreplace")


def artifacts(link: Link, manifest: Manifest | None = None) -> dict[str, bytes]:
    """The artifacts of a role by their name inside FOLDER: the link, and the manifest where there is one."""
    content = manifest.to_bytes() if manifest is not None else None
    files = {json_name(link.role): link_json(link, content)}
    if content is not None:
        files[manifest_name(link.role)] = content
    return files


def artifacts_text(files: Mapping[str, bytes], before: str = "") -> str:
    """The tag `dsver.R.artifacts`: SHA-256 and name of each artifact of a role; `parse_artifacts` reads it back.

    before: the tag of an earlier attempt; artifacts of it that are not among the files stay as they are.
    """
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return "; ".join(f"{found} {name}" for name, found in ((parse_artifacts(before) or {}) | sums).items())


def parse_artifacts(text: str) -> dict[str, str] | None:
    """Name to SHA-256 of what `artifacts_text` wrote; None for anything else."""
    found = [_SUM.match(part) for part in text[:VALUE_LIMIT].split("; ")]
    return {each[2]: each[1] for each in found if each} if all(found) else None


def json_name(role: str) -> str:
    """The name of a link's artifact inside FOLDER."""
    return f"{role}.json"


def manifest_name(role: str) -> str:
    """The name of a manifest's artifact inside FOLDER."""
    return f"{role}.manifest.jsonl.gz"


LOADED_DIGEST = "loaded_digest"
"""The tag with the content digest of files that a run was given, where it was not known when the run started."""
CARD_NAME = "card.md"


def error_text(error: BaseException) -> str:
    """An error as the value of a tag."""
    return one_line(error, ERROR_LIMIT)


def context_of(dataset_input: Any) -> str | None:
    """The role of MLflow's dataset input; None when it has none."""
    return next((tag.value for tag in dataset_input.tags if tag.key == "mlflow.data.context"), None)


def inputs_present(run: Any) -> list[Input]:
    """(name, digest, role) of every dataset input of a run."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return [(each.dataset.name, each.dataset.digest, context_of(each)) for each in inputs]


def _comma_free(tag: str) -> str:
    return re.sub("%(?=2C|25)", "%25", tag).replace(",", "%2C")


# Which parts of a record are on a run: params, tags and dataset inputs as MLflow's run entity has them, artifacts by
# name. `record_writer.refuse_conflicts` has checked that the links have the run's versions.


def is_recorded(run: Any, links: Sequence[Link], overridden: Mapping[str, str] | None = None) -> bool:
    """Whether all params, tags and dataset inputs of the links are on the run, and no tag says that something failed.

    overridden: role to the requested reference, where another version replaced it.
    """
    present = run.data.tags
    if not all(present.get(name, OFFLINE_FINDING).startswith(OFFLINE_FINDING) for name in error_keys(links)):
        return False
    return not missing_inputs(run, links) and all(
        labels(link).keys() <= run.data.params.keys() | present.keys()
        and tags(link, (overridden or {}).get(link.role)).keys() <= present.keys()
        for link in links
    )


def has_artifacts(run: Any, link: Link) -> bool:
    """Whether the artifacts of a link were written, as far as the run entity shows it. run: None for a new run.

    They are written last, and an error tag is set when that fails.
    """
    if run is None or error_keys([link]) & set(run.data.tags):
        return False
    labelled = key(link.role, "usage_bytes") in run.data.params.keys() | run.data.tags.keys()
    return labelled and not missing_inputs(run, [link])


def missing_inputs(run: Any, links: Sequence[Link]) -> list[str]:
    """Roles whose dataset input is not on the run: MLflow drops one that lost a race, or is a second role."""
    present = inputs_present(run)
    digests = plan_digests(links, present)
    return [link.role for link in links if (str(link.version.ref), digests[link.role], link.role) not in present]


def differences(run: Any, links: Sequence[Link], *, inputs: bool) -> dict[str, tuple[str, str | None]]:
    """What of the versions and dataset inputs is not on the run as it was written: key to (expected, found).

    A version is no param where the labels of its role are tags. inputs: whether the server takes dataset inputs.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for link in links:
        name, expected = key(link.role, "version"), str(link.version.ref)
        param, tag = run.data.params.get(name), run.data.tags.get(name)
        as_tags = param is None and key(link.role, "requested") in run.data.tags
        for text in (tag,) if as_tags else (param, tag):
            if text != expected:
                found[name] = (expected, text)
    if inputs:
        found |= {f"dataset input {role}": ("present", "missing") for role in missing_inputs(run, links)}
    return found


def has_all_links(names: Collection[str], links: Iterable[Link]) -> bool:
    """Whether the artifacts that every record has, without manifests, are among these names of the folder `dsver`."""
    return {CARD_NAME, *(json_name(link.role) for link in links)} <= set(names)


def error_keys(links: Iterable[Link]) -> set[str]:
    """The error tags of these links."""
    return {ERROR_TAG, *(key(link.role, "error") for link in links)}
