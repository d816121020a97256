"""A client of Clarifai's API for datasets and their versions: one method for each endpoint, named after it.

A call succeeded only if the status in the response's body is 10000, whatever the HTTP status. Listings fetch their
numbered pages as they are needed (see `polling`). Deletions and changes are requests to the collection with a body;
deletions return the response unchanged. Requests that create or change something are never retried.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.providers.clarifai import models
from mlflow_dsver.providers.clarifai.info import API_BASE, API_KEY, PAT, Account
from mlflow_dsver.providers.clarifai.models import (
    AnnotationFilter,
    Dataset,
    DatasetInput,
    DatasetVersion,
    Export,
    MetricsGroup,
    Model,
    Status,
)
from mlflow_dsver.providers.clarifai.polling import Item, Listing
from mlflow_dsver.providers.http.session import Session
from mlflow_dsver.providers.http.wire import ApiError, ApiProfile

log = logging.getLogger(__name__)

GOING_WELL = (
    models.SUCCESS,
    models.VersionStatus.PENDING,
    models.VersionStatus.IN_PROGRESS,
    models.VersionStatus.READY,
)
"""Statuses of items that did not fail, in an answer of mixed success."""
OVERWRITE = "overwrite"
"""The only action on versions and filters; datasets know `merge` and `remove` as well."""

Made = TypeVar("Made", bound=Model)
Bodies = Sequence[Mapping[str, Any]]


def read_error(status: int, body: Any) -> ApiError | None:
    """The error that a response body describes; None for success, which is status 10000 within a 2xx response."""
    found = body.get("status") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        return ApiError("an answer without a status") if status < 400 else None
    try:
        api_status = Status.read(found)
    except UnexpectedResponse as error:
        return ApiError(error.what)
    if api_status.code == models.SUCCESS and status < 300:
        return None
    items = "; ".join(f"{name}: {item}" for name, item in _failed_items(body))
    return ApiError(
        api_status.description or "refused without a word",
        code=str(api_status.code if api_status.code is not None else "no code"),
        details=", ".join(part for part in (api_status.details, items) if part),
        status=models.HTTP_OF.get(api_status.code) if isinstance(api_status.code, int) else None,
    )


API_PROFILE = ApiProfile("clarifai", "Key", f"{PAT} or {API_KEY}", read_error)


class Client:
    """A client for the datasets of one app. Use it in a `with` block.

    user, app: the owner of the datasets; ignored with an app's key, which determines its app. reference: for errors.
    """

    def __init__(
        self,
        account: Account,
        user: str | None,
        app: str | None,
        *,
        reference: object = None,
        timeout: float | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._prefix = account.prefix(user, app)
        self._reference = reference
        self._session = Session(
            account.base, API_PROFILE, account.key, base_name=API_BASE, timeout=timeout, deadline=deadline
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def datasets(self) -> Iterator[Dataset]:
        """All datasets of the app, in the service's order."""
        return self._all(("datasets",), "datasets", Dataset, "list datasets")

    def get_dataset(self, dataset: str) -> Dataset:
        """One dataset. Raises NotFound."""
        return self._one(("datasets", dataset), "dataset", Dataset, "get the dataset", dataset)

    def post_datasets(self, datasets: Bodies) -> list[Dataset]:
        """Create datasets."""
        return self._batch("POST", ("datasets",), "datasets", Dataset, {"datasets": list(datasets)})

    def patch_datasets(self, datasets: Bodies, action: str = OVERWRITE) -> list[Dataset]:
        """Change datasets; action: `overwrite`, `merge`, or `remove`, which clears the cover image only."""
        body = {"datasets": list(datasets), "action": action}
        return self._batch("PATCH", ("datasets",), "datasets", Dataset, body)

    def delete_datasets(self, datasets: Sequence[str]) -> dict[str, Any]:
        """Delete datasets by id; return the response."""
        return self._call("DELETE", ("datasets",), "delete datasets", body={"dataset_ids": list(datasets)})

    def dataset_inputs(self, dataset: str) -> Iterator[DatasetInput]:
        """The current inputs of the dataset; a version keeps those it was created from."""
        return self._all(("datasets", dataset, "inputs"), "dataset_inputs", DatasetInput, "list the inputs")

    def get_dataset_input(self, dataset: str, input_id: str) -> DatasetInput:
        """One input of a dataset. Raises NotFound."""
        path = ("datasets", dataset, "inputs", input_id)
        return self._one(path, "dataset_input", DatasetInput, "get the input")

    def post_dataset_inputs(self, dataset: str, input_ids: Sequence[str]) -> list[DatasetInput]:
        """Add inputs of the app to a dataset."""
        body = {"dataset_inputs": [{"input": {"id": input_id}} for input_id in input_ids]}
        return self._batch("POST", ("datasets", dataset, "inputs"), "dataset_inputs", DatasetInput, body)

    def delete_dataset_inputs(self, dataset: str, input_ids: Sequence[str]) -> dict[str, Any]:
        """Remove inputs from a dataset, not from the app; return the response."""
        body = {"input_ids": list(input_ids)}
        return self._call("DELETE", ("datasets", dataset, "inputs"), "take inputs out", body=body)

    def dataset_versions(self, dataset: str, request_origins: Sequence[str] = ()) -> Iterator[DatasetVersion]:
        """All versions of a dataset in the service's order, which is not documented.

        request_origins: names of `models.Origin`; the service leaves out all others; empty for all.
        Raises ListingChanged when the listing moved while it was read.
        """
        return iter(self._versions(dataset, request_origins))

    def dataset_versions_page(
        self, dataset: str, page: int = 1, per_page: int = 128, request_origins: Sequence[str] = ()
    ) -> list[DatasetVersion]:
        """One page of a dataset's versions; page from 1, per_page from 1 to 1000. Empty after the last page.

        Raises InvalidArgument for other numbers.
        """
        return self._versions(dataset, request_origins).page(page, per_page)

    def _versions(self, dataset: str, request_origins: Sequence[str]) -> Listing[DatasetVersion]:
        query = {"request_origins": list(request_origins)} if request_origins else {}
        path = ("datasets", dataset, "versions")
        return self._listing(path, "dataset_versions", DatasetVersion, "list versions", query)

    def get_dataset_version(self, dataset: str, version: str) -> DatasetVersion:
        """One version. Raises NotFound."""
        path = ("datasets", dataset, "versions", version)
        return self._one(path, "dataset_version", DatasetVersion, "get the version", version)

    def post_dataset_versions(self, dataset: str, versions: Bodies) -> list[DatasetVersion]:
        """Create versions of the dataset's current inputs; bodies of 2021 are converted, see `today`."""
        body = {"dataset_versions": [today(version) for version in versions]}
        return self._batch("POST", ("datasets", dataset, "versions"), "dataset_versions", DatasetVersion, body)

    def patch_dataset_versions(self, dataset: str, versions: Bodies) -> list[DatasetVersion]:
        """Change versions by `overwrite`, the only action. Whether metadata is replaced or merged is not documented,
        so send all of it and check the response.
        """
        body = {"dataset_versions": [today(version) for version in versions], "action": OVERWRITE}
        return self._batch("PATCH", ("datasets", dataset, "versions"), "dataset_versions", DatasetVersion, body)

    def delete_dataset_versions(self, dataset: str, versions: Sequence[str]) -> dict[str, Any]:
        """Delete versions by id; return the response."""
        body = {"dataset_version_ids": list(versions)}
        return self._call("DELETE", ("datasets", dataset, "versions"), "delete versions", body=body)

    def put_dataset_version_exports(
        self, dataset: str, version: str, formats: Sequence[models.Format]
    ) -> list[Export]:
        """Create exports, or return the existing ones; repeating the call creates none twice."""
        path = ("datasets", dataset, "versions", version, "exports")
        body = {"exports": [{"format": format_.value.upper()} for format_ in formats]}
        return self._batch("PUT", path, "exports", Export, body)

    def dataset_version_metrics_groups(
        self, dataset: str, version: str, *, parent_paths: Sequence[str] = (), types: Sequence[str] = ()
    ) -> Iterator[MetricsGroup]:
        """Counts by part of a version; empty while they are being computed."""
        query = {"parent_paths": list(parent_paths), "types": list(types)}
        path = ("datasets", dataset, "versions", version, "metrics")
        key = "dataset_version_metrics_groups"
        return self._all(path, key, MetricsGroup, "list metrics", {k: v for k, v in query.items() if v})

    def annotation_filters(self) -> Iterator[AnnotationFilter]:
        """All annotation filters of the app."""
        return self._all(("annotation_filters",), "annotation_filters", AnnotationFilter, "list filters")

    def get_annotation_filter(self, filter_id: str) -> AnnotationFilter:
        """One annotation filter. Raises NotFound."""
        path = ("annotation_filters", filter_id)
        return self._one(path, "annotation_filter", AnnotationFilter, "get the filter", filter_id)

    def post_annotation_filters(self, filters: Bodies) -> list[AnnotationFilter]:
        """Create annotation filters."""
        body = {"annotation_filters": list(filters)}
        return self._batch("POST", ("annotation_filters",), "annotation_filters", AnnotationFilter, body)

    def patch_annotation_filters(self, filters: Bodies) -> list[AnnotationFilter]:
        """Change annotation filters by `overwrite`, the only action."""
        body = {"annotation_filters": list(filters), "action": OVERWRITE}
        return self._batch("PATCH", ("annotation_filters",), "annotation_filters", AnnotationFilter, body)

    def delete_annotation_filters(self, filter_ids: Sequence[str]) -> dict[str, Any]:
        """Delete annotation filters by id; return the response."""
        body = {"annotation_filter_ids": list(filter_ids)}
        return self._call("DELETE", ("annotation_filters",), "delete filters", body=body)

    def _call(
        self,
        verb: str,
        path: tuple[str, ...],
        operation: str,
        *,
        query: Mapping[str, str | int | list[str] | None] | None = None,
        body: object = None,
    ) -> dict[str, Any]:
        response = self._session.call(
            verb, (*self._prefix, *path), operation, reference=self._reference, query=query, body=body
        )
        assert isinstance(response, dict)  # `read_error` lets nothing else pass
        return response

    def _one(
        self, path: tuple[str, ...], key: str, model: type[Made], operation: str, requested: str | None = None
    ) -> Made:
        response = self._call("GET", path, operation)
        made = model.read(response.get(key))
        got = getattr(made, "id", None)
        if requested is not None and got != requested:
            raise self._unexpected("the answer is about another one", operation, response, requested, got)
        return made

    def _batch(
        self, verb: str, path: tuple[str, ...], key: str, model: type[Made], body: Mapping[str, Any]
    ) -> list[Made]:
        operation = f"{verb.lower()} {key.replace('_', ' ')}"
        response = self._call(verb, path, operation, body=body)
        items, requested = response.get(key), len(body[key])
        if not isinstance(items, list) or len(items) != requested:
            got = len(items) if isinstance(items, list) else "none"
            raise self._unexpected(
                "the number of items differs from the request", operation, response, requested, got
            )
        return [model.read(item) for item in items]

    def _all(
        self,
        path: tuple[str, ...],
        key: str,
        model: type[Item],
        operation: str,
        query: Mapping[str, str | int | list[str] | None] | None = None,
    ) -> Iterator[Item]:
        return iter(self._listing(path, key, model, operation, query))

    def _listing(
        self,
        path: tuple[str, ...],
        key: str,
        model: type[Item],
        operation: str,
        query: Mapping[str, str | int | list[str] | None] | None = None,
    ) -> Listing[Item]:
        def fetch(page: int, per_page: int) -> list[Any]:
            response = self._call("GET", path, operation, query={**(query or {}), "page": page, "per_page": per_page})
            items = response.get(key, [])
            if not isinstance(items, list):
                raise self._unexpected(f"{key} is no list", operation, response)
            return items

        return Listing(fetch, model, operation, self._reference)

    def _unexpected(
        self, what: str, operation: str, response: Mapping[str, Any], expected: object = None, got: object = None
    ) -> UnexpectedResponse:
        return UnexpectedResponse(
            what,
            provider=API_PROFILE.provider,
            operation=operation,
            reference=self._reference,
            expected=expected,
            got=got,
            payload=response,
        )


def today(version: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a version for the current API; a body of the documents of 2021 is converted, with a warning.

    `name` was removed and becomes the description, unless there is one; `dataset_filter` becomes
    `annotation_filter_config`.
    """
    body = dict(version)
    if "name" in body:
        name = body.pop("name")
        kept = body.setdefault("description", name) == name
        log.warning("a dataset version no longer has a name: %s", "sent as description" if kept else "left out")
    if "dataset_filter" in body:
        chosen = {"annotation_filter": body.pop("dataset_filter")}
        body.setdefault("annotation_filter_config", chosen)
        log.warning("a dataset version no longer has a dataset_filter: sent as annotation_filter_config")
    return body


def _failed_items(body: Mapping[str, Any]) -> Iterator[tuple[str, Status]]:
    """Id and status of each failed item, at most 10; for responses of mixed success."""
    found = 0
    for value in body.values():
        for item in value if isinstance(value, list) else ():
            fields = item.get("status") if isinstance(item, dict) else None
            if not isinstance(fields, dict) or found == 10:
                continue
            try:
                status = Status.read(fields)
            except UnexpectedResponse:
                continue
            if status.code not in GOING_WELL:
                found += 1
                yield str(item.get("id", "?")), status
