"""Which dataset versions a registered model was made from, also where the run that made it is gone.

A model version says so in its tags when it was tagged with its data (`dsver.ROLE.version`, any role). Else its run
does, which may be deleted and still readable; else the model version that it was copied from. Nothing here is a
search by tag, since MLflow has none for a part of a key: all versions of all models are read, 1,000 a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import version_of
from mlflow_dsver.record.schema import role_of_key
from mlflow_dsver.tracking.queries import ModelVersion

Origins = Mapping[str, DatasetRef]
"""Role to the version that was used in it."""

_COPY = re.compile(r"models:/(?P<name>.+)/(?P<version>[0-9]{1,18})\Z")


def tagged(tags: Mapping[str, str]) -> Origins:
    """What the tags of a model version say that it was made from; {} for nothing."""
    found = {}
    for key, value in sorted(tags.items()):
        role, ref = role_of_key(key), version_of(value)
        if role and ref is not None:
            found[role] = ref
    return found


def origins(models: Iterable[ModelVersion], runs: Mapping[str, Origins]) -> dict[tuple[str, str], Origins]:
    """Name and version of each model to what it was made from; those of which nothing is known are left out.

    runs: run id to what it used, of the runs that can still be read.
    """
    known = {(model.name, model.version): model for model in models}
    found = {}
    for key, model in known.items():
        seen = {key}
        here: ModelVersion | None = model
        while here is not None:
            made_from = tagged(here.tags) or (runs.get(here.run_id) if here.run_id else None)
            if made_from:
                found[key] = made_from
                break
            copied = _COPY.match(here.source)
            place = (copied["name"], copied["version"]) if copied else None
            here = known.get(place) if place is not None and place not in seen else None
            seen |= {place} if place is not None else set()
    return found
