"""Reads configuration files of users, in TOML and YAML: of limited size, and without hanging on malicious ones."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_dsver.errors import SettingsError

MAX_FILE = 1 << 20
MAX_SETTINGS = 64 << 10
"""Maximum bytes of a settings file: TOML and YAML parsers take minutes for a malicious megabyte."""
_PART = r"""(?:[A-Za-z0-9_-]{1,300}|"[^"\n]{0,300}"|'[^'\n]{0,300}')"""
_DEEP_KEY = re.compile(rf"(?m)(?:^|[\[{{,])[ \t]{{0,9}}(?:{_PART}[ \t]{{0,9}}\.[ \t]{{0,9}}){{40}}")
"""A key of more than 40 parts, with a dot behind each."""
_BRACKETS = 1000
"""Maximum opening brackets of a YAML file; deep nesting takes seconds before it fails."""
_YOUNG = 2.0
"""Seconds in which a file may be written twice without a change of its timestamps."""

_read: dict[Path, tuple[tuple[int, ...], Mapping[str, Any]]] = {}
"""Parsed settings files, with the stat at the time of reading."""


def user_file(path: Path, limit: int = MAX_FILE) -> bytes | None:
    """A vendor's or our own configuration file; None when there is none.

    Raises SettingsError when it is unreadable or has more than `limit` bytes.
    """
    try:
        with path.expanduser().open("rb") as stream:
            content = stream.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: `~` without a home folder
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise SettingsError(f"{path} is larger than a settings file may be", expected=f"at most {limit} bytes")
    return content


def toml_file(path: Path) -> Mapping[str, Any] | None:
    """A TOML file as a mapping; None when there is none. Raises SettingsError when it is not TOML.

    Read once, and again when its stat differs; one that was just written is not remembered.
    """
    with suppress(RuntimeError):  # no home folder: there is no such file
        path = path.expanduser()
    try:
        status = path.stat()
    except OSError:
        status = None  # reading the file raises the reason
    seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) if status else None
    known = _read.get(path)
    if known is not None and known[0] == seen:
        return known[1]
    content = user_file(path, MAX_SETTINGS)
    if content is None:
        return None
    try:
        found = parse_toml(content.decode())
    except ValueError as error:
        raise SettingsError(f"{path} is not TOML") from error
    if status is not None and seen is not None and abs(time.time() - status.st_mtime) > _YOUNG:
        _read[path] = (seen, found)
    return found


def parse_toml(content: str) -> dict[str, Any]:
    """TOML as a mapping. Raises ValueError for anything else, also for keys of very many parts, which take hours."""
    if _DEEP_KEY.search(content):
        raise ValueError("a key of too many parts")
    try:
        return tomllib.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def yaml_file(path: Path) -> Any:
    """What a YAML file holds; None when there is none. Raises SettingsError when it is not YAML.

    Merge keys (`<<`) are refused: a few lines of them become gigabytes.
    """
    content = user_file(path, MAX_SETTINGS)
    if content is None:
        return None
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise yaml.YAMLError("a merge key")

    try:
        if content.count(b"[") + content.count(b"{") > _BRACKETS:
            raise ValueError("nested too deeply")
        return yaml.load(content, Loader)  # noqa: S506  (a SafeLoader that takes less)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not YAML") from error
