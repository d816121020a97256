"""Tracking addresses as they are kept and shown: without user, password and query, whatever stands in them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_dsver.text import one_line

_SQL_LOGIN = re.compile(r"[^:/]*(?::[^@]*)?@(?:[^/]*@)?")  # as SQLAlchemy reads it: a password may have slashes


def address(tracking_uri: str) -> str:
    """A tracking address that can be kept and compared: no user, password or query; files by their full path.

    Raises ValueError for a web address that is none.
    """
    scheme, separator, rest = tracking_uri.partition("://")
    if not separator:
        plain = not tracking_uri or tracking_uri.startswith(("databricks", "uc:"))
        return tracking_uri if plain else str(Path(tracking_uri.removeprefix("file:")).absolute())
    scheme = scheme.lower()
    if scheme in ("http", "https"):
        return _web_address(tracking_uri)
    login = _SQL_LOGIN.match(rest)
    kept = f"{scheme}://{rest[login.end() :] if login else rest}".partition("?")[0]
    if scheme == "sqlite":
        name = kept.removeprefix("sqlite://").removeprefix("/")
        return kept if name in ("", ":memory:") else f"sqlite:///{Path(name).absolute()}"
    return kept


def shown_address(tracking_uri: str) -> str:
    """The tracking address without user and password, for messages; cut where it is long."""
    try:
        parts = urlsplit(tracking_uri)
    except ValueError:  # a web address that is none
        return one_line(tracking_uri.partition("://")[0] + "://[not an address]")
    if not parts.netloc:
        return one_line(tracking_uri)
    return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def local_store(tracking_uri: str) -> Path | None:
    """The SQLite file or the folder of a tracking store on this machine; None for any other store."""
    if tracking_uri.startswith("sqlite:///"):
        return Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0])
    if tracking_uri.startswith("file:"):
        return Path(unquote(urlsplit(tracking_uri).path))
    remote = "://" in tracking_uri or tracking_uri.startswith(("databricks", "uc:"))
    return None if remote else Path(tracking_uri)


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:  # whatever stands there, it is no port
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
