"""A client of MLflow's REST interface that calls it inside the process with the headers of the user's request.

The application that is called is the one that the server runs: the ASGI application of MLflow 3 under uvicorn, with
the middleware in front of it, else MLflow's Flask application. So logins, permissions and workspaces in front of
MLflow's routes apply to these requests too, whether Flask or FastAPI has the route, and no access rule is repeated
here. An instance lives as long as one request. How much of a run's artifacts a
page reads is bounded here as well: whoever may edit one run can put anything there, such as a manifest of 0.7 MB that
unpacks to 200 MiB. A page that meets more than it reads says so and names the command without such bounds; it never
shows a part as the whole.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

from mlflow.exceptions import MlflowException, RestException

from mlflow_dsver.checks.manifest_stream import ManifestStream
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.manifests import InvalidManifest, ManifestLimits, ManifestTooLarge
from mlflow_dsver.text import error_line
from mlflow_dsver.tracking.mlflow_private import server as private

_OWN = {
    "host", "content-length", "content-type", "transfer-encoding", "origin", "referer", "connection", "expect",
    "accept-encoding", "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
}  # fmt: skip
"""Headers of the user's request that are left out: those about its body, its origin, and the form of its response."""

_REFUSALS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
_SERVED = "mlflow_dsver"
"""Key in the `extensions` of MLflow's Flask application of what the server runs."""

_logger = logging.getLogger(__name__)

LISTING = ManifestLimits(compressed=32 << 20, unpacked=128 << 20, files=1_000_000)
"""Limits for pages that read manifests line by line."""
CHECKING = ManifestLimits(compressed=16 << 20, unpacked=32 << 20, files=200_000)
"""Limits for the check button, which holds entries in memory."""
LINK = 1 << 20
"""Bytes of the JSON of one link; responses of providers take a few kilobytes."""


class TooLarge(ValueError):
    """An artifact is larger than a page reads; the text names it."""


def limits_until(limits: ManifestLimits, deadline: Deadline) -> ManifestLimits:
    """The limits with no more time than is left."""
    return replace(limits, seconds=deadline.left())


def fits(content: bytes, limits: ManifestLimits) -> bool:
    """Whether a manifest stays within the limits; True for a damaged one: the later reader reports what is wrong."""
    try:
        for _ in ManifestStream(BytesIO(content), limits):
            pass
    except ManifestTooLarge:
        return False
    except InvalidManifest:
        pass
    return True


def set_served(app: Any, served: Any) -> None:
    """Tell what the server runs for MLflow's Flask application, which is called from then on."""
    app.extensions[_SERVED] = served


class RestClient:
    """A `lineage_queries.Reader` for one user of MLflow's application.

    app: Flask's, which has the pages. workspace: to ask about; None where the server has no workspaces.
    """

    def __init__(self, app: Any, request: Any, workspace: str | None = None) -> None:
        self.workspace = workspace
        own = _OWN if workspace is None else _OWN | {private.WORKSPACE_HEADER.lower()}
        served = app.extensions.get(_SERVED, app)
        self._request = partial(_call_asgi, served) if _is_asgi(served) else partial(_call_flask, app)
        self._caller = _Caller(
            request.scheme,
            request.host,
            [(name.lower(), value) for name, value in request.headers if name.lower() not in own]
            + ([] if workspace is None else [(private.WORKSPACE_HEADER.lower(), workspace)]),
            {name: request.environ[name] for name in _CONNECTION if name in request.environ},
        )

    @cached_property
    def experiments(self) -> dict[str, str]:
        """Id to name of all active experiments that the user may read."""
        from mlflow_dsver.tracking.lineage_queries import experiments

        return experiments(self)

    def workspaces(self) -> tuple[str, ...]:
        """All workspaces that the user may read; none where the server has no workspaces."""
        if self.workspace is None:
            return ()
        response = self._send("GET", private.WORKSPACES_PATH, {})
        content = response.json() if response.status == 200 else None
        return tuple(str(each.get("name", "")) for each in (content or {}).get("workspaces", ()))

    def search_experiments(self, *, max_results: int, page_token: str | None = None) -> Any:
        """A page of the active experiments that the user may read."""
        body = {"max_results": max_results, "page_token": page_token, "view_type": "ACTIVE_ONLY"}
        return self._call("POST", "experiments/search", body)

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        *,
        max_results: int,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """A page of the active runs; only of experiments that the user may read."""
        readable = [each for each in experiment_ids if each in self.experiments]
        body = {
            "experiment_ids": readable,
            "filter": filter_string,
            "run_view_type": "ACTIVE_ONLY",
            "max_results": max_results,
            "order_by": order_by or [],
            "page_token": page_token,
        }
        if not readable:
            return private.empty_page()
        return self._call("POST", "runs/search", body)

    def check_may_read_runs(self) -> None:
        """Raise RestException for a user who may read experiments but not their runs, which MLflow 3 can be
        configured to.

        For pages that query the database directly, which has permissions for experiments only.
        """
        self.search_runs(list(self.experiments), max_results=1)

    def get_run(self, run_id: str) -> Any:
        """A run of an experiment that the user may read; MlflowException for any other."""
        run = self._call("GET", "runs/get", {"run_id": run_id})
        if str(run.info.experiment_id) not in self.experiments:
            raise MlflowException("no such run")
        return run

    def search_model_versions(self, filter_string: str, *, max_results: int, page_token: str | None = None) -> Any:
        """A page of the versions of registered models that the user may read."""
        body = {"filter": filter_string, "max_results": max_results, "page_token": page_token}
        return self._call("GET", "model-versions/search", body)

    def get_model_version(self, name: str, version: str) -> Any:
        """One version of a registered model."""
        body = {"name": name, "version": version}
        return self._call("GET", "model-versions/get", body)

    def get_registered_model(self, name: str) -> Any:
        """A registered model, with its aliases."""
        return self._call("GET", "registered-models/get", {"name": name})

    def search_logged_models(
        self, experiment_ids: list[str], filter_string: str, *, max_results: int, page_token: str | None = None
    ) -> Any:
        """A page of the logged models of experiments that the user may read; none on MLflow 2."""
        if not private.has_call("logged-models/search"):
            return private.empty_page()
        body = {
            "experiment_ids": experiment_ids,
            "filter": filter_string,
            "max_results": max_results,
            "page_token": page_token,
        }
        return self._call("POST", "logged-models/search", body)

    def artifact(self, run_id: str, path: str, limit: int) -> bytes | None:
        """An artifact of a run; None when it is not there. Raises TooLarge for more than `limit` bytes.

        The caller must have read the run with this client: MLflow 2.22 serves artifacts of any run.
        """
        response = self._send("GET", private.ARTIFACT_PATH, {"path": path, "run_uuid": run_id}, limit)
        if response.content is None:
            raise TooLarge(f"{path} has more than {limit:,} bytes")
        return response.content if response.status == 200 else None

    def set_tag(self, run_id: str, key: str, value: str) -> bool:
        """Set a tag on a run with the user's login; False without permission."""
        body = {"run_id": run_id, "key": key, "value": value}
        return self._send("POST", f"{private.ACTIONS_PREFIX}/mlflow/runs/set-tag", body).status == 200

    def _call(self, method: str, path: str, body: Mapping[str, object]) -> Any:
        """The entity, or the page of entities, in the response of MLflow's call. Raises MlflowException."""
        given = {name: value for name, value in body.items() if value is not None}
        response = self._send(method, f"{private.ACTIONS_PREFIX}/mlflow/{path}", given)
        content = response.json()
        if response.status != 200 or content is None:
            if content is None and response.status in _REFUSALS:  # of a middleware or a login, which write plain text
                content = {"error_code": _REFUSALS[response.status], "message": "MLflow refused the request."}
            if content:
                raise RestException({"error_code": content.get("error_code", "INTERNAL_ERROR"), **content})
            raise MlflowException(f"MLflow answered {response.status}")
        return private.parse_response(path, content)

    def _send(self, method: str, path: str, body: Mapping[str, object], limit: int | None = None) -> _Response:
        if method == "GET":
            query, content, headers = urlencode(body), b"", []
        else:
            query, content = "", json.dumps(body).encode()
            headers = [("content-type", "application/json"), ("content-length", str(len(content)))]
        call = _Call(method, private.prefixed(path), query, content, [*self._caller.headers, *headers], limit)
        # An empty context: what MLflow keeps in context variables about the page's request is not about this one.
        response: _Response = contextvars.Context().run(self._request, self._caller, call)
        return response


# Calls inside the process


_CONNECTION = ("REMOTE_ADDR", "REMOTE_PORT", "REMOTE_USER", "SERVER_NAME", "SERVER_PORT")


@dataclass(frozen=True, slots=True)
class _Caller:
    """The user. headers: with names in lower case. connection: what the server says of it, as WSGI names it."""

    scheme: str
    host: str
    headers: list[tuple[str, str]]
    connection: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Call:
    """A request. limit: bytes of the response that are read at most; None for all."""

    method: str
    path: str
    query: str
    body: bytes
    headers: list[tuple[str, str]]
    limit: int | None


@dataclass(frozen=True, slots=True)
class _Response:
    """content: None when it is longer than the limit of the call."""

    status: int
    content: bytes | None

    def json(self) -> dict[str, Any] | None:
        """The object in the content; None when there is none."""
        try:
            content = json.loads(self.content or b"")
        except ValueError:
            return None
        return content if isinstance(content, dict) else None


def _within(parts: Iterable[bytes], limit: int | None) -> bytes | None:
    content = bytearray()
    for part in parts:
        content += part
        if limit is not None and len(content) > limit:
            return None
    return bytes(content)


def _call_flask(app: Any, caller: _Caller, call: _Call) -> _Response:
    """Call a Flask application through its test client, which is WSGI without a socket."""
    response = app.test_client(use_cookies=False).open(
        call.path,
        method=call.method,
        base_url=f"{caller.scheme}://{caller.host}/",
        query_string=call.query,
        data=call.body,
        headers=call.headers,
        environ_overrides={
            name: caller.connection[name] for name in ("REMOTE_ADDR", "REMOTE_USER") if name in caller.connection
        },
    )
    try:
        return _Response(response.status_code, _within(response.iter_encoded(), call.limit))
    finally:
        response.close()


def _is_asgi(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__)


def _call_asgi(app: Any, caller: _Caller, call: _Call) -> _Response:
    """Call an ASGI application in an event loop of our own.

    A page waits in one of the threads that the server's loop has for Flask. MLflow's routes of Flask need another
    one, so calls in that loop would wait for each other once pages hold all of them.
    """
    connection = caller.connection
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": caller.scheme,
        "path": call.path,
        "raw_path": call.path.encode(),
        "root_path": "",
        "query_string": call.query.encode(),
        "headers": [(b"host", caller.host.encode("latin-1"))]
        + [(name.encode("latin-1"), value.encode("latin-1")) for name, value in call.headers],
        "client": (connection.get("REMOTE_ADDR", ""), int(connection.get("REMOTE_PORT") or 0)),
        "server": (connection.get("SERVER_NAME", ""), int(connection.get("SERVER_PORT") or 0)),
        "state": {},
    }
    return asyncio.run_coroutine_threadsafe(_asgi_response(app, scope, call), _event_loop()).result()


async def _asgi_response(app: Any, scope: dict[str, Any], call: _Call) -> _Response:
    status, content, too_long, finished = 500, bytearray(), False, asyncio.Event()
    requests = [{"type": "http.request", "body": call.body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await finished.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status, too_long
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            content.extend(message.get("body", b""))
            if call.limit is not None and len(content) > call.limit:
                too_long = True
                finished.set()
                raise OSError("no more is read")  # as an ASGI server tells that the client has gone
            if not message.get("more_body", False):
                finished.set()

    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001  (an application may raise anything, after it answered as well)
        if not too_long:
            _logger.warning("%s: %s", call.path, error_line(error))
            status = 500
    return _Response(status, None if too_long else bytes(content))


_loops: dict[int, asyncio.AbstractEventLoop] = {}
_lock = threading.Lock()


def _event_loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process for these calls, in a thread of its own that ends with the process."""
    with _lock:
        if os.getpid() not in _loops:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            # A task that never ends: anyio keeps its worker threads as long as the loop's first task.
            forever = asyncio.Event().wait()
            threading.Thread(target=loop.run_until_complete, args=[forever], name="dsver pages", daemon=True).start()
        return _loops[os.getpid()]
