"""Paperspace's v1 endpoints for datasets, their versions, storage providers and the session, with all their
parameters, under the vendor's names.

    with connect(Account.from_settings()) as client:
        for version in client.versions("dst364npcw6ccok", tags=["clean"]): ...

Listings are iterators over pages of 120; `client.versions(…).page(5)` returns some entries, with the token of the
next page. Only reads are retried. The response to a change is compared with the request, because the service ignores
a misspelt field without an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import (
    AuthenticationFailed,
    InvalidArgument,
    NotFound,
    ProviderError,
    SettingsError,
    UnexpectedResponse,
)
from mlflow_dsver.model.refs import tag_list
from mlflow_dsver.providers.http.session import Session
from mlflow_dsver.providers.http.wire import ApiError, ApiProfile
from mlflow_dsver.providers.paperspace.info import BASE_NAME, KEY_NAME, Account
from mlflow_dsver.providers.paperspace.models import (
    AnyModel,
    Dataset,
    DeletedDataset,
    DeletedVersion,
    SessionInfo,
    StorageProvider,
    Utilization,
    Version,
)
from mlflow_dsver.providers.paperspace.paging import Listing, Page, read_page
from mlflow_dsver.text import one_line

MAX_METADATA = 80_000
"""Maximum bytes of metadata as JSON; the service probably refuses a body above 100 kB."""
Order = Literal["asc", "desc"]

STATUS_OF = {
    "PARSE_ERROR": 400,
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_SUPPORTED": 405,
    "TIMEOUT": 408,
    "CONFLICT": 409,
    "PRECONDITION_FAILED": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "TOO_MANY_REQUESTS": 429,
    "CLIENT_CLOSED_REQUEST": 499,
    "INTERNAL_SERVER_ERROR": 500,
}
"""The vendor's error codes and their statuses (from the sources of its own command line)."""


@dataclass(frozen=True, slots=True)
class _Keep:
    """The type of the default of arguments where None is a value: leave the value unchanged."""


KEEP: Final = _Keep()


def read_error(status: int, body: Any) -> ApiError | None:
    """The error that a response body describes, also with status 200: `message`, `code` and few other keys."""
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("message"), str)
        or not isinstance(body.get("code"), str)
    ):
        return None
    if status < 400 and len(body) > 4:
        return None  # a version that happens to have such keys
    status_meant = STATUS_OF.get(body["code"], 500) if status < 400 else None
    return ApiError(
        body["message"], body["code"], _details(body), status_meant, body.get("issues") or body.get("details")
    )


API_PROFILE = ApiProfile("paperspace", "Bearer", KEY_NAME, read_error)


@contextmanager
def connect(account: Account, *, deadline: Deadline | None = None) -> Iterator[PaperspaceClient]:
    """A client for one operation. deadline: over all its requests; None gives each request the account's time-out."""
    session = Session(
        account.base, API_PROFILE, account.key, base_name=BASE_NAME, timeout=account.timeout, deadline=deadline
    )
    with session:
        yield PaperspaceClient(session)


class PaperspaceClient:
    """The endpoints. Every method raises errors of `mlflow_dsver.errors` only."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def session(self) -> SessionInfo:
        """The owner of the key; raises AuthenticationFailed for an invalid key.

        The service answers such a key with 200 and null.
        """
        response = self._call("GET", ("auth", "session"), "check the key")
        if response is None:
            raise AuthenticationFailed(
                "the key is not accepted", provider="paperspace", operation="check the key", tip=f"check {KEY_NAME}"
            )
        return SessionInfo.read(response, "check the key")

    # Datasets

    def datasets(
        self,
        *,
        team: str | None = None,
        privacy: Literal["PRIVATE", "PUBLIC"] | None = None,
        after: str | None = None,
        limit: int | None = None,
        order_by: str | None = None,
        order: Order | None = None,
    ) -> Listing[Dataset]:
        """Datasets, newest first unless ordered otherwise. team: its id or namespace. after: a page's mark.

        limit: entries a page, 1 to 120. An entry without an id is left out with a warning.
        """
        query = {"teamId": team, "privacy": privacy, "orderBy": order_by, "order": order}
        return self._listing(Dataset, ("datasets",), "list datasets", query, (after, limit))

    def create_dataset(
        self,
        name: str,
        *,
        is_public: bool = False,
        description: str | None = None,
        storage_provider: str | None = None,
    ) -> Dataset:
        """Create a dataset. `isPublic` is always sent, since sources disagree on whether it must be."""
        body = _fields(name=name, isPublic=is_public, description=description, storageProviderId=storage_provider)
        made = Dataset.read(self._call("POST", ("datasets",), "create a dataset", body=body), "create a dataset")
        _check_kept("create a dataset", made.id, name=(name, made.name), isPublic=(is_public, made.isPublic))
        return made

    def dataset(self, dataset: str, *, seconds: float | None = None) -> Dataset:
        """One dataset. seconds: a time-out for this request, in addition to the client's."""
        response = self._call("GET", ("datasets", dataset), "get the dataset", reference=dataset, seconds=seconds)
        found = Dataset.read(response, "get the dataset", dataset)
        _check_kept("get the dataset", dataset, id=(dataset, found.id))
        return found

    def update_dataset(
        self, dataset: str, *, name: str | None = None, description: str | _Keep | None = KEEP
    ) -> Dataset:
        """Change a dataset's name or description; a description of None removes it."""
        body: dict[str, Any] = _fields(name=name)
        if not isinstance(description, _Keep):
            body["description"] = description
        response = self._call("PUT", ("datasets", dataset), "update the dataset", reference=dataset, body=body)
        found = Dataset.read(response, "update the dataset", dataset)
        updated = {"name": found.name, "description": found.description}
        _check_kept("update the dataset", dataset, **{key: (value, updated[key]) for key, value in body.items()})
        return found

    def delete_dataset(self, dataset: str) -> DeletedDataset:
        """Delete a dataset; whether its versions are deleted too is up to the service. Returns its response."""
        response = self._call("DELETE", ("datasets", dataset), "delete the dataset", reference=dataset)
        return DeletedDataset.read(response, "delete the dataset", dataset)

    # Versions

    def versions(
        self,
        dataset: str,
        *,
        tags: str | Iterable[str] = (),
        after: str | None = None,
        limit: int | None = None,
        order_by: str | None = None,
        order: Order | None = None,
    ) -> Listing[Version]:
        """A dataset's versions, newest first unless ordered otherwise, committed or not.

        tags: sent as the service's filter, whose meaning for several tags is not documented; check `tags` of the
        results. after: a page's cursor. limit: entries a page, 1 to 120. A version without an id is left out with a
        warning.
        """
        query = {"tags": joined(tags) or None, "orderBy": order_by, "order": order}
        path = ("datasets", dataset, "versions")
        return self._listing(Version, path, "list versions", query, (after, limit), dataset)

    def create_version(
        self,
        dataset: str,
        *,
        message: str | None = None,
        tags: str | Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: object = None,
    ) -> Version:
        """Create a version, which is not committed yet. Never retried."""
        body = _fields(message=message, tags=joined(tags) or None, metadata=checked_metadata(metadata))
        return self._version(
            "POST", ("datasets", dataset, "versions"), "create a version", reference or dataset, body
        )

    def version(self, dataset: str, version: str, *, reference: object = None) -> Version:
        """One version, by its id. Whether the service accepts a tag here is not documented: check the result."""
        path = ("datasets", dataset, "versions", version)
        return self._version("GET", path, "get the version", reference or f"{dataset}:{version}")

    def update_version(
        self,
        dataset: str,
        version: str,
        *,
        message: str | None = None,
        tags: str | Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        is_committed: bool | None = None,
        reference: object = None,
    ) -> Version:
        """Change the given values; None leaves a value unchanged. tags: the complete new set.

        Whether metadata is replaced or merged is not documented: check the result.
        """
        body = _fields(
            message=message,
            tags=None if tags is None else joined(tags),
            metadata=checked_metadata(metadata),
            isCommitted=is_committed,
        )
        path = ("datasets", dataset, "versions", version)
        return self._version("PUT", path, "update the version", reference or f"{dataset}:{version}", body)

    def delete_version(self, dataset: str, version: str, *, reference: object = None) -> DeletedVersion:
        """Delete a version; returns the service's response."""
        path, message = ("datasets", dataset, "versions", version), reference or f"{dataset}:{version}"
        response = self._call("DELETE", path, "delete the version", reference=message)
        return DeletedVersion.read(response, "delete the version", message)

    # Storage

    def storage_providers(self, *, after: str | None = None, limit: int | None = None) -> Listing[StorageProvider]:
        """The team's storage providers; the keys in these responses are dropped unread."""
        path = ("storage-providers",)
        return self._listing(StorageProvider, path, "list storage providers", {}, (after, limit))

    def storage_provider(self, provider: str) -> StorageProvider:
        """One storage provider, without its keys."""
        path = ("storage-providers", provider)
        response = self._call("GET", path, "get the storage provider", confidential=True)
        return StorageProvider.read(response, "get the storage provider", provider)

    def utilization(self) -> Utilization:
        """How much storage the team uses."""
        response = self._call("GET", ("storage-providers", "utilization"), "get the utilization")
        return Utilization.read(response, "get the utilization")

    def _version(
        self, verb: str, path: tuple[str, ...], operation: str, reference: object, body: object = None
    ) -> Version:
        response = self._call(verb, path, operation, reference=reference, body=body)
        return Version.read(response, operation, reference)

    def _listing(
        self,
        model: type[AnyModel],
        path: tuple[str, ...],
        operation: str,
        query: Mapping[str, str | None],
        place: tuple[str | None, int | None],
        reference: object = None,
    ) -> Listing[AnyModel]:
        """place: the cursor to start after, and the page size."""

        def fetch(mark: str | None, size: int) -> Page[AnyModel]:
            response = self._call(
                "GET",
                path,
                operation,
                reference=reference,
                query={**query, "limit": size, "after": mark},
                confidential=model.CONFIDENTIAL,
            )
            return read_page(
                response,
                lambda item: model.read_listed(item, operation, reference),
                operation,
                reference,
                confidential=model.CONFIDENTIAL,
            )

        return Listing(fetch, lambda item: item.key, operation, reference, after=place[0], page_size=place[1])

    def _call(self, verb: str, path: tuple[str, ...], operation: str, **options: Any) -> Any:
        """One request. Raises SettingsError where nothing at all is found because the address lacks the version."""
        try:
            return self._session.call(verb, path, operation, **options)
        except (NotFound, UnexpectedResponse) as error:
            if error.status == 404 and not self._session.base.endswith("/v1") and self._is_no_api():
                raise SettingsError(
                    f"the address of {BASE_NAME} lacks /v1: nothing of the API is there",
                    expected=f"{self._session.base}/v1",
                    got=self._session.base,
                ) from error
            raise

    def _is_no_api(self) -> bool:
        """Whether even the session is not found, which exists for every key, valid or not."""
        try:
            self._session.call("GET", ("auth", "session"), "check the key")
        except (NotFound, UnexpectedResponse) as error:
            return error.status == 404
        except ProviderError:
            return False
        return False


def joined(tags: str | Iterable[str]) -> str:
    """Tags as the service reads them, separated by commas, which one text of several tags has already.

    Raises InvalidReference for what is no tag.
    """
    return ",".join(tag_list(tags))


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Metadata that is JSON and not too large, or InvalidArgument."""
    if metadata is None:
        return None
    try:
        text = json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument("metadata is not a JSON object", got=one_line(error, 80)) from error
    if len(text) > MAX_METADATA:
        raise InvalidArgument("metadata is too large", expected=f"at most {MAX_METADATA} bytes", got=len(text))
    return dict(json.loads(text))


def _fields(**values: Any) -> dict[str, Any]:
    """Only values that are not None: the service rejects null in their place."""
    return {key: value for key, value in values.items() if value is not None}


def _check_kept(operation: str, reference: object, **pairs: tuple[object, object]) -> None:
    """Raise UnexpectedResponse when the response has another value than the request."""
    for key, (requested, actual) in pairs.items():
        if requested != actual:
            raise UnexpectedResponse(
                f"the service said yes, and its {key} is another",
                provider="paperspace",
                operation=operation,
                reference=reference,
                expected=one_line(requested, 100),
                got=one_line(actual, 100),
            )


def _details(body: Mapping[str, Any]) -> str:
    """Texts of `issues` (as documented) or `details` (as the service's library sends them)."""
    found = []
    for each in (body.get("issues"), body.get("details")):
        listed = each.get("issues", [each]) if isinstance(each, dict) else each
        for issue in listed if isinstance(listed, list) else [listed]:
            text = issue.get("message", issue) if isinstance(issue, dict) else issue
            if text is not None:
                found.append(text if isinstance(text, str) else json.dumps(text)[:200])
    return "; ".join(found[:5])
