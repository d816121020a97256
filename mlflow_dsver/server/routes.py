"""The routes of the lineage pages in MLflow's server: parse the request, build the page, render it.

Works with or without a login in front, on MLflow 2.22 (gunicorn) and 3 (uvicorn). Every route is a fixed path with
its arguments in the query, so that no name from outside becomes a part of a path. Each response has a content
security policy that allows no script. Error pages do not disclose details.
"""

from __future__ import annotations

import functools
import logging
import re
import secrets
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Any

from mlflow.exceptions import MlflowException, RestException

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InvalidReference, SettingsError
from mlflow_dsver.lineage import html
from mlflow_dsver.lineage.html import Pages
from mlflow_dsver.lineage.views import MessagePage, Page
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.record.facts import Filter
from mlflow_dsver.record.mlflow_urls import MLflow
from mlflow_dsver.secrets import redacted
from mlflow_dsver.server import pages
from mlflow_dsver.server.rest_client import RestClient, set_served
from mlflow_dsver.text import error_line, one_line
from mlflow_dsver.tracking.mlflow_private import server as private
from mlflow_dsver.tracking.mlflow_private.server import prefixed

MAX_QUERY = 2000
"""Characters of one field of a request at most."""

_WORKSPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_REFUSED = {401: "Your login may not read this", 403: "Your login may not read this", 404: "Not found"}
_logger = logging.getLogger(__name__)
Query = Mapping[str, str]
Answer = Callable[[RestClient, Query], Page]


NAME = "dsver"
GROUP = "mlflow.app"
ROOT = "/dsver"
ACTIONS = f"{private.ACTIONS_PREFIX}/dsver"
"""Prefix of the routes that write: MLflow refuses requests from other sites below it."""


def create(app: Any) -> Any:
    """The application to serve, with the lineage pages and the other server plug-in of the settings."""
    app = private.flask_app() if app is None else app
    routes = register_routes(app)
    plugin = _other_plugin()
    served = plugin() if plugin is not None else private.served_app(app)
    set_served(app, served)
    private.allow_logged_in(routes)
    return served


def _other_plugin() -> Callable[[], Any] | None:
    """The factory of the other server plug-in; None without one. Raises SettingsError if it is not installed."""
    name = settings.setting("AUTH_APP")
    if name is None and settings.text("MLFLOW_AUTH_CONFIG_PATH") is not None:
        name = "basic-auth"
    if name is None:
        return None
    found = {point.name: point for point in entry_points(group=GROUP) if point.name != NAME}
    if name not in found:
        raise SettingsError(f"{settings.PREFIX}AUTH_APP", expected="one of " + ", ".join(sorted(found)), got=name)
    loaded = found[name].load()
    is_app = hasattr(loaded, "wsgi_app") or hasattr(loaded, "router")  # MLflow takes an application or a factory
    return loaded if callable(loaded) and not is_app else lambda: loaded


def register_routes(app: Any) -> list[tuple[str, str]]:
    """Add the pages to MLflow's Flask application; return (path, method) of each."""
    routes: list[tuple[str, str, Answer]] = [
        ("GET", ROOT, _index),
        ("GET", f"{ROOT}/dataset", _dataset),
        ("GET", f"{ROOT}/version", _version),
        ("GET", f"{ROOT}/run", _run),
        ("GET", f"{ROOT}/model", _model),
        ("GET", f"{ROOT}/diff", _diff),
        ("GET", f"{ROOT}/search", _search),
        ("POST", f"{ACTIONS}/verify", _verify),
    ]
    for method, path, handler in routes:
        view = functools.partial(_respond, app, handler)
        app.add_url_rule(prefixed(path), endpoint=f"dsver {method} {path}", view_func=view, methods=[method])
    return [(prefixed(path), method) for method, path, _ in routes]


def _index(client: RestClient, query: Query) -> Page:
    return pages.index(client, query.get("q", ""), query.get("after"))


def _dataset(client: RestClient, query: Query) -> Page:
    ref = _reference(query, "ref").at(None)
    return pages.dataset(client, ref, read_filter(query), _number(query, "versions"), query.get("runs"))


def _version(client: RestClient, query: Query) -> Page:
    return pages.version(client, _versioned(query, "ref"), read_filter(query), query.get("runs"))


def _run(client: RestClient, query: Query) -> Page:
    return pages.run(client, query.get("id", ""))


def _model(client: RestClient, query: Query) -> Page:
    return pages.model(client, query.get("key", ""))


def _diff(client: RestClient, query: Query) -> Page:
    from mlflow_dsver.server import contents

    return contents.compare(client, _versioned(query, "a"), _versioned(query, "b"))


def _search(client: RestClient, query: Query) -> Page:
    return pages.search(client, query.get("q", "").strip(), _number(query, "after"))


def _verify(client: RestClient, query: Query) -> Page:
    from mlflow_dsver.server import verify_page

    return verify_page.check(client, query.get("run", ""))


def read_filter(query: Query) -> Filter:
    """The filter that `html.filter_query` writes; an invalid date counts as not given."""
    return Filter(
        experiment=query.get("experiment") or None,
        role=query.get("role") or None,
        grade=query.get("grade") or None,
        verdict=query.get("verdict") or None,
        since=_day(query.get("since")),
        until=_day(query.get("until")),
    )


def _respond(app: Any, handler: Answer) -> Any:
    from flask import request

    nonce = secrets.token_urlsafe(16)
    workspace = _workspace(request)
    addresses = Pages(prefixed(ROOT), prefixed(ACTIONS), workspace)
    mlflow = MLflow(prefixed("/").rstrip("/"), workspace)
    try:
        status, page = _guarded(app, request, workspace, handler)
        text = html.render(page, addresses, mlflow, nonce)
    except Exception as error:  # noqa: BLE001  (the last resort: a page that says nothing, and the log)
        _logger.error("%s: %s\n%s", request.path, error_line(error), redacted(traceback.format_exc()))
        status, page = (
            500,
            MessagePage("Something went wrong", "The page could not be made; the server's log says why."),
        )
        text = html.render(page, addresses, mlflow, nonce)
    response = app.make_response(text)
    response.status_code = status
    response.headers["Content-Security-Policy"] = html.policy(nonce)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _workspace(request: Any) -> str | None:
    """The workspace that a page is about, on a server with workspaces: that of its address, else of the request."""
    if not private.has_workspaces():
        return None
    name = request.values.get("workspace") or private.request_workspace()
    return name if name is not None and _WORKSPACE.match(name) else None


def _guarded(app: Any, request: Any, workspace: str | None, handler: Answer) -> tuple[int, Page]:
    """The page and its status; any exception becomes an error page."""
    if request.method == "POST" and not _from_here(request):
        return 403, MessagePage("Not from here", "This was asked for by another site, and nothing was done.")
    fields = request.form if request.method == "POST" else request.args
    if any(len(value) > MAX_QUERY for value in fields.values()):
        return 400, MessagePage("Too long", "One of the fields of this address is too long.")
    try:
        page = handler(RestClient(app, request, workspace), fields)
    except InvalidReference as error:
        return 400, MessagePage("Not a reference", one_line(error, 500))
    except pages.InvalidPageToken as error:
        return 400, MessagePage("Not a page", str(error))
    except pages.PageNotFound as error:
        return 404, MessagePage("Not found", str(error))
    except RestException as error:
        status = error.get_http_status_code()
        title = _REFUSED.get(status, "MLflow refused this")
        return status, MessagePage(title, one_line(error.message, 300))
    except (DsverError, MlflowException) as error:
        _logger.warning("%s: %s", request.path, one_line(error, 500))
        return 502, MessagePage("Could not be read", "The tracking store did not answer as it should.")
    return (404 if isinstance(page, MessagePage) else 200), page


def _from_here(request: Any) -> bool:
    """Whether a form was sent from one of our pages, judged by the browser's headers; other programs are accepted."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def _reference(query: Query, name: str) -> DatasetRef:
    return parse(query.get(name, ""))


def _versioned(query: Query, name: str) -> DatasetRef:
    ref = _reference(query, name)
    if ref.selector is None:
        raise InvalidReference("names no version", reference=ref, expected="provider://dataset@version")
    return ref


def _number(query: Query, name: str) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _day(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
