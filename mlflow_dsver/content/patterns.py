"""Include and exclude patterns as in a `.gitignore`, from the caller and from a folder's `.dsverignore`.

Only patterns exclude files; hidden files and `.git` are content like any other. A file is included when it matches an
include pattern (or there are none) and the last exclude pattern that matches it, if any, is negated. The lines of
`.dsverignore` in the folder's root come before the caller's exclude patterns; such a file in a subfolder has no
meaning. As in git, nothing below an excluded folder can be included again. `.dsverignore` in the root is never
content itself, so that changing it alone makes no new version.

A manifest records its patterns. To compare a folder with a manifest, the folder is walked with the recorded patterns
and not with the ignore file that it has now: a new file together with a pattern that hides it is a new file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlflow_dsver.errors import ContentError

IGNORE_FILE = ".dsverignore"
MAX_CHARACTERS = 10_000
"""Of all patterns together: they are in the manifest's first line, whose length is limited."""

Test = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rules:
    """Patterns as in a `.gitignore`. include: only these files; none means all. exclude: not these.

    recorded: these are the patterns of a manifest, and `ignored` (the lines of its ignore file, None for no such
    file) replaces the ignore file that the folder has now.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignored: tuple[str, ...] | None = None
    recorded: bool = False

    @classmethod
    def from_made(cls, made: object) -> Rules | None:
        """The patterns that a manifest's header or the log of the store records; None when it records none.

        A record of an older version, without the key `ignore_file`, had no ignore file.
        """
        if not isinstance(made, Mapping):
            return None
        lists = [made.get(key) for key in ("include", "exclude")]
        ignored = made.get("ignore_file")
        texts = [_texts(each) for each in (*lists, [] if ignored is None else ignored)]
        include, exclude, lines = texts
        if include is None or exclude is None or lines is None:
            return None
        return cls(include, exclude, None if ignored is None else lines, recorded=True)

    def made(self) -> dict[str, Any]:
        """The patterns as a manifest records them; of recorded rules the same that `from_made` was given."""
        return {
            "include": list(self.include),
            "exclude": list(self.exclude),
            "ignore_file": None if self.ignored is None else list(self.ignored),
        }


EVERYTHING = Rules(recorded=True)
"""Includes all files, whatever an ignore file says."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Rules together with a folder's ignore file, compiled.

    rules: with the lines of `.dsverignore` that are neither empty nor comments.
    included, excluded: tests of a path below the folder, with a slash at the end for a folder; None for no patterns.
    """

    rules: Rules
    included: Test | None
    excluded: Test | None

    def includes(self, path: str) -> bool:
        """Whether a file is included, or, for a path that ends with a slash, whether the folder is listed."""
        if self.excluded is not None and self.excluded(path):
            return False
        return self.included is None or path.endswith("/") or self.included(path)

    def includes_everything(self) -> bool:
        """Whether there are no patterns at all."""
        return self.included is None and self.excluded is None


def select(folder: int, rules: Rules) -> Selection:
    """Read the ignore file of an open folder and add it to the rules, unless these are recorded ones.

    Raises ContentError for an invalid pattern, an ignore file that cannot be read, or patterns beyond
    MAX_CHARACTERS.
    """
    if not rules.recorded:
        rules = replace(rules, ignored=_ignore_lines(folder), recorded=True)
    ignored = rules.ignored or ()
    if sum(map(len, (*rules.include, *ignored, *rules.exclude))) > MAX_CHARACTERS:
        raise ContentError("too many patterns", expected=f"at most {MAX_CHARACTERS:,} characters in all")
    return Selection(rules, included=test_of(rules.include), excluded=test_of((*ignored, *rules.exclude)))


def test_of(patterns: Iterable[str]) -> Test | None:
    """A test of a path against patterns; None for no patterns. Raises ContentError for an invalid one."""
    patterns = tuple(patterns)
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns).match_file
    except ValueError as error:
        raise ContentError(f"not a pattern: {error}", expected="patterns as in a .gitignore") from error


def _ignore_lines(folder: int) -> tuple[str, ...] | None:
    try:
        with os.fdopen(
            os.open(IGNORE_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder), "rb"
        ) as stream:
            text = stream.read(16 * MAX_CHARACTERS).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"{IGNORE_FILE} cannot be read: {error}", paths=(IGNORE_FILE,)) from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return tuple(line for line in lines if line.strip() and not line.startswith("#"))


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        return None
    return tuple(value)
