"""Which parts of a record are on a run: the one place that decides whether it is complete. Pure; no request is made.

The record of a link is params, tags, a dataset input and artifacts. The first three are seen on MLflow's run entity,
artifacts in a list of their names. That the versions of the links are those of the run is taken for granted here:
`record_writer.refuse_conflicts` checks it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mlflow_dsver.model.versions import Link
from mlflow_dsver.record import schema


def is_recorded(run: Any, links: Sequence[Link], overridden: Mapping[str, str] | None = None) -> bool:
    """Whether all params, tags and dataset inputs of the links are on the run, and no tag says that something failed.

    overridden: role to the requested reference, where another version replaced it.
    """
    tags = run.data.tags
    if not all(tags.get(key, schema.OFFLINE_FINDING).startswith(schema.OFFLINE_FINDING) for key in error_keys(links)):
        return False
    return not missing_inputs(run, links) and all(
        schema.params(link).keys() <= run.data.params.keys()
        and schema.tags(link, (overridden or {}).get(link.role)).keys() <= tags.keys()
        for link in links
    )


def has_artifacts(run: Any, link: Link) -> bool:
    """Whether the artifacts of a link were written, as far as the run entity shows it. run: None for a new run.

    They are written last, and an error tag is set when that fails.
    """
    if run is None or error_keys([link]) & set(run.data.tags):
        return False
    return schema.key(link.role, "version") in run.data.params and not missing_inputs(run, [link])


def missing_inputs(run: Any, links: Sequence[Link]) -> list[str]:
    """Roles whose dataset input is not on the run: MLflow drops one that lost a race, or is a second role."""
    present = schema.inputs_present(run)
    digests = schema.plan_digests(links, present)
    return [link.role for link in links if (str(link.version.ref), digests[link.role], link.role) not in present]


def differences(run: Any, links: Sequence[Link], *, inputs: bool) -> dict[str, tuple[str, str | None]]:
    """What of the versions and dataset inputs is not on the run as it was written: key to (expected, found).

    inputs: whether the server takes dataset inputs.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for link in links:
        name, expected = schema.key(link.role, "version"), str(link.version.ref)
        for text in (run.data.params.get(name), run.data.tags.get(name)):
            if text != expected:
                found[name] = (expected, text)
    if inputs:
        found |= {f"dataset input {role}": ("present", "missing") for role in missing_inputs(run, links)}
    return found


def has_all_links(names: Collection[str], links: Iterable[Link]) -> bool:
    """Whether the artifacts that every record has, without manifests, are among these names of the folder `dsver`."""
    return {schema.CARD_NAME, *(schema.json_name(link.role) for link in links)} <= set(names)


def error_keys(links: Iterable[Link]) -> set[str]:
    """The error tags of these links."""
    return {schema.ERROR_TAG, *(schema.key(link.role, "error") for link in links)}
