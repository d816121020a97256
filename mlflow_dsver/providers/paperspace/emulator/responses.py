"""Bodies of Paperspace's API: pages, errors, parsed requests, the session, a storage provider; and the switches.

The functions depend on their arguments and the switches only; the emulator has the state.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from mlflow_dsver.emulators.serving import Request, Switch

CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_SUPPORTED",
    408: "TIMEOUT",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "PAYLOAD_TOO_LARGE",
    429: "TOO_MANY_REQUESTS",
}
MAX_LIMIT = 120
MAX_BODY = 100_000
"""Maximum bytes of a request's body: the limit of the library that the service probably uses."""
TEAM = "tewr3st2z"
NAMESPACE = "t40f5ou8vp"
STORAGE = "spf2xq81vbn0a7c"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class Refused(Exception):
    """An error response. code, headers: those of the status by default."""

    def __init__(
        self,
        status: int,
        message: str,
        details: list[str] | None = None,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.details = status, details
        self.code = code or CODES.get(status, "INTERNAL_SERVER_ERROR")
        self.headers = headers or {}

    def body(self, switches: Mapping[str, str]) -> dict[str, Any]:
        """The vendor's error body."""
        body: dict[str, Any] = {"message": str(self), "code": self.code}
        if self.details is not None:
            issues = [{"message": detail} for detail in self.details]
            body[switches["error-detail"]] = issues if switches["error-detail"] == "issues" else {"issues": issues}
        return body


Known = Mapping[str, type | tuple[type, ...]]


def apply_switches(body: Any, switches: Mapping[str, str]) -> Any:
    """The body with dates and keys as the switches say; it is nested three levels deep at most."""
    if isinstance(body, list):
        return [apply_switches(each, switches) for each in body]
    if not isinstance(body, dict):
        return body
    result = {
        key: value
        if key == "metadata"
        else apply_switches(_date(value, switches) if key.startswith("dt") else value, switches)
        for key, value in body.items()
    }
    if switches["extra-keys"] == "yes":
        result["addedLater"] = {"a": [1, None, "x"]}
    return result


def _date(value: str | None, switches: Mapping[str, str]) -> str | None:
    return value[:-5] + "Z" if value and switches["dates"] == "seconds" else value


def page(
    items: list[dict[str, Any]],
    request: Request,
    switches: Mapping[str, str],
    render: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """One page of a listing. items: in the order of their creation. render: makes an item of the response."""
    text = request.first("limit") or switches["default-limit"]
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid(f"limit: Number must be from 1 to {MAX_LIMIT}")
    if request.first("orderBy") not in (None, "dtCreated"):
        raise invalid("orderBy: Invalid enum value. Expected 'dtCreated'")
    if request.first("order") not in (None, "asc", "desc"):
        raise invalid("order: Invalid enum value. Expected 'asc' | 'desc'")
    ordered = items if request.first("order") == "asc" else items[::-1]
    start = _start(request.first("after"), ordered, request.first("order") == "asc", switches)
    end = start + int(text)
    result: dict[str, Any] = {"hasMore": end < len(ordered), "items": [render(each) for each in ordered[start:end]]}
    if result["hasMore"]:
        result["nextPage"] = _cursor(ordered[end - 1])
    elif switches["next-page"] != "missing":
        result["nextPage"] = None if switches["next-page"] == "null" else ""
    return result


def read_body(request: Request, known: Known, switches: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object of the body, with known keys only. Raises Refused for a value of another type."""
    if request.headers.get("content-type") != "application/json":
        raise Refused(415, "Unsupported content-type")
    if len(request.body) > MAX_BODY:
        raise Refused(413, "Request body too large")
    try:
        body = json.loads(request.body)
    except ValueError:
        raise Refused(400, "Failed to parse request body", code="PARSE_ERROR") from None
    if not isinstance(body, dict):
        raise invalid("Expected object")
    wrong = [key for key, value in body.items() if key in known and not isinstance(value, known[key])]
    if switches["unknown-key"] == "400":
        wrong += [key for key in body if key not in known]
    if wrong:
        raise invalid(*(f"{key}: Invalid input" for key in wrong))
    return {key: value for key, value in body.items() if key in known}


def storage(switches: Mapping[str, str]) -> dict[str, Any]:
    """The only storage provider."""
    secret = "********" if switches["secrets"] == "masked" else "emulated-secret-access-key"
    return {
        "id": STORAGE,
        "name": "Gradient Managed",
        "isTeamDefault": True,
        "isManaged": True,
        "s3Config": {
            "bucket": TEAM,
            "accessKey": "emulated-access-key",
            "secretAccessKey": secret,
            "endpoint": "https://osg-ny2.paperspace.io/",
            "region": "ny2",
            "signatureVersion": None,
            "retainData": None,
        },
    }


def utilization(sizes: Mapping[str, int]) -> dict[str, str]:
    """Bytes in use, as decimal strings."""
    used = str(sum(sizes.values()))
    rest = (
        "totalFreeStorage",
        "remainingFreeStorage",
        "modelUsage",
        "sharedStorageUsage",
        "notebookWorkspaceUsage",
    )
    return {**dict.fromkeys(rest, "0"), "totalUsage": used, "datasetUsage": used}


def invalid(*issues: str) -> Refused:
    """The error response for invalid parameters or an invalid body."""
    return Refused(400, "Input validation failed", list(issues))


def _cursor(item: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(f"{_id(item)} {item.get('dtCreated', '')}".encode()).decode()


def _start(cursor: str | None, items: list[dict[str, Any]], ascending: bool, switches: Mapping[str, str]) -> int:
    """The index after the item that a cursor names; a switch decides for an item that was deleted."""
    if not cursor:
        return 0
    try:
        last, _, date = base64.urlsafe_b64decode(cursor).decode().partition(" ")
    except ValueError:
        raise invalid("after: Invalid cursor") from None
    for index, item in enumerate(items):
        if _id(item) == last:
            return index + 1
    if switches["gone-cursor"] == "400":
        raise invalid("after: Invalid cursor")
    if switches["gone-cursor"] == "goes-on":
        return sum((item["dtCreated"] < date) == ascending for item in items)
    return len(items)


def _id(item: Mapping[str, Any]) -> str:
    return str(item.get("version") or item["id"])


def random_id(length: int) -> str:
    """An id of lower-case letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def session() -> dict[str, Any]:
    """The user and team of a valid key."""
    team = {
        "id": TEAM,
        "name": "Emulated team",
        "namespace": NAMESPACE,
        "isUserTeam": False,
        "dtCreated": "2024-05-15T12:00:00.000Z",
        "publicProfileImageUrl": None,
    }
    return {
        "user": {
            "id": "u" + TEAM,
            "email": "emulated@example.org",
            "firstName": None,
            "lastName": None,
            "dtCreated": "2024-05-15T12:00:00.000Z",
            "dtConfirmed": None,
            "teamMemberships": [{"team": team, "isOwner": True, "isAdmin": True}],
            "isPhoneVerified": False,
            "isPasswordAuthEnabled": True,
            "isQrCodeBasedMfaEnabled": False,
            "isQrCodeBasedMfaConfirmed": False,
            "preferences": None,
            "analyticsId": 1,
            "metadata": {},
        },
        "team": {"id": TEAM, "namespace": NAMESPACE, "isPrivate": False, "maxMachines": 2, "analyticsId": 1},
    }


# Switches: what the published documents leave open


SWITCHES = (
    Switch("next-page", "`nextPage` on the last page", ("missing", "null", "empty")),
    Switch("gone-cursor", "`after` whose entry was deleted in the meantime", ("ends", "400", "goes-on")),
    Switch("default-limit", "entries per page without `limit`", ("20",), numbers=(1, 120)),
    Switch("bad-key", "status for an invalid key", ("401", "403", "404")),
    Switch("unknown", "status for a dataset or version that does not exist", ("404", "403")),
    Switch("edit-committed", "changing message, tags or metadata of a committed version", ("allowed", "409", "412")),
    Switch("uncommit", "`isCommitted: false` for a committed version", ("409", "ignored", "allowed")),
    Switch("metadata", "what a PUT of `metadata` does to the existing keys", ("replaces", "merges")),
    Switch("tag-moves", "a tag of another version", ("moves", "stays")),
    Switch("empty-tags", 'what `tags: ""` does', ("clears", "400")),
    Switch("tag-blanks", "blanks around a tag", ("trimmed", "kept")),
    Switch("tags-filter", "`?tags=a,b` lists versions with", ("any", "all")),
    Switch("list-uncommitted", "uncommitted versions are listed", ("yes", "no")),
    Switch("latest-in-path", "`…/versions/latest`", ("404", "resolves")),
    Switch("usage-bytes", "when `usageBytes` is set", ("on-commit", "never")),
    Switch("modified", "what changes `dtModified`", ("every-put", "commit")),
    Switch("missing-is-public", "a dataset created without `isPublic`", ("false", "400")),
    Switch("duplicate-name", "a dataset whose name exists", ("409", "allowed")),
    Switch("unknown-key", "a body's key that is not in the documents", ("dropped", "400")),
    Switch("delete-dataset", "deleting a dataset that has versions", ("versions-too", "409")),
    Switch("error-detail", "key of an error's details", ("issues", "details")),
    Switch("dataset-id", "a version's `datasetId`", ("handle", "uuid")),
    Switch("secrets", "`secretAccessKey` of a storage provider", ("masked", "shown")),
    Switch("dates", "fractions of seconds in dates", ("milliseconds", "seconds")),
    Switch("nulls", "values that may be null", ("filled", "null")),
    Switch("extra-keys", "responses have keys that are not in the documents", ("no", "yes")),
)
"""The questions that the vendor's documents leave open; the first setting is the default."""
