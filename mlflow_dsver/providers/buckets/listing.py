"""Lists the objects below a prefix with what the store says of each.

Amazon S3 is listed by `s3_listing`, Google Cloud Storage by `gs_listing`. Any other store is listed by obstore, with
one HEAD for each object where the store keeps versions, since its listing has no version ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import NotFound
from mlflow_dsver.providers.buckets.connect import Location, object_store, storage_errors
from mlflow_dsver.providers.buckets.objects import Listing, ObjectState

AT_ONCE = 32
"""Requests at the same time."""


def list_objects(place: Location, *, checksums: bool | None = None, progress: Progress = SILENT) -> Listing:
    """The objects whose keys are below the prefix; the object with that very key when there are none.

    checksums: whether to ask for each object's, with one HEAD each; None: only where the bucket keeps no versions.
    progress: receives how many entries were listed.
    """
    progress.total(None, None)
    if place.provider == "s3":
        from mlflow_dsver.providers.buckets import s3_listing

        return s3_listing.list_objects(place, checksums=checksums, progress=progress)
    if place.provider == "gs":
        from mlflow_dsver.providers.buckets import gs_listing

        return gs_listing.list_objects(place)
    found = list(_listed(place))
    versioned = bool(found) and _head(place, found[0]).version is not None
    if versioned:
        with ThreadPoolExecutor(AT_ONCE, "mlflow-dsver-list") as pool:
            found = list(pool.map(lambda state: _head(place, state), found))
    return Listing(found, None, versioned, "objects")


def _listed(place: Location) -> Iterator[ObjectState]:
    import obstore

    below = place.key("")
    some = False
    with storage_errors(place, "list"):
        for batch in obstore.list(object_store(place), below or None):
            for meta in batch:
                if meta["path"].startswith(below):
                    some = True
                    yield _state(meta)
    if not some and place.prefix:
        try:
            with storage_errors(place, "list", place.prefix):
                yield _state(obstore.head(object_store(place), place.prefix))
        except NotFound:
            return


def _head(place: Location, state: ObjectState) -> ObjectState:
    import obstore

    with storage_errors(place, "list", state.key):
        return _state(obstore.head(object_store(place), state.key))


def _state(meta: Any) -> ObjectState:
    return ObjectState(meta["path"], meta["size"], meta.get("version"), meta.get("e_tag"), meta["last_modified"])
