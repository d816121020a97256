"""Whether links stand on a run already, as far as params, tags and dataset inputs show it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_dsver.model.versions import Link
from mlflow_dsver.record import schema


def is_recorded(run: Any, links: Sequence[Link], overridden: Mapping[str, str] | None = None) -> bool:
    """Whether all that is recorded of the links is on MLflow's run entity, and no error tells that some is missing.

    Their versions are taken to be those of the run: `writing.refuse_conflicts` asks that. Artifacts are not seen.
    """
    tags, present = run.data.tags, schema.inputs_present(run)
    if not all(tags.get(key, schema.OFFLINE_FINDING).startswith(schema.OFFLINE_FINDING) for key in error_keys(links)):
        return False
    digests = schema.plan_digests(links, present)
    return all(
        schema.params(link).keys() <= run.data.params.keys()
        and schema.tags(link, (overridden or {}).get(link.role)).keys() <= tags.keys()
        and (str(link.version.ref), digests[link.role], link.role) in present
        for link in links
    )


def error_keys(links: Sequence[Link]) -> set[str]:
    """The tags that tell of errors in recording these links."""
    return {schema.ERROR_TAG, *(schema.key(link.role, "error") for link in links)}
