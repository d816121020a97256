"""Which files of a folder count: patterns as in a `.gitignore`, given by the caller and by `.dsverignore`.

Nothing is left out unless a pattern says so; hidden files and `.git` are content like any other. A file counts
when it matches an include pattern (or there are none) and the last exclude pattern that matches it, if any, is a
negated one. The lines of `.dsverignore` in the folder's root come before the caller's exclude patterns; such a
file deeper down has no meaning. As in git, nothing below an excluded folder can be included again.
`.dsverignore` in the root is never content itself, so that changing it alone makes no new version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_dsver.errors import ContentError

IGNORE_FILE = ".dsverignore"
MAX_CHARACTERS = 10_000
"""All patterns together at most: they stand in the manifest's first line, and that line has a bound."""

Test = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rules:
    """Patterns as in a `.gitignore`. include: only these files; none means all. exclude: not these."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Rules together with a folder's ignore file, ready to be asked.

    ignored: the lines of `.dsverignore` that mean something; None when there is no such file.
    included, excluded: say so of a path below the folder, with a slash at the end for a folder; None for no patterns.
    """

    rules: Rules
    ignored: tuple[str, ...] | None
    included: Test | None
    excluded: Test | None

    def takes(self, path: str) -> bool:
        """Whether a file counts, or, for a path that ends with a slash, whether the folder is looked into."""
        if self.excluded is not None and self.excluded(path):
            return False
        return self.included is None or path.endswith("/") or self.included(path)

    def everything(self) -> bool:
        """Whether there are no patterns at all."""
        return self.included is None and self.excluded is None

    def made(self) -> dict[str, Any]:
        """The patterns as a manifest records them."""
        return {
            "include": list(self.rules.include),
            "exclude": list(self.rules.exclude),
            "ignore_file": None if self.ignored is None else list(self.ignored),
        }


def select(folder: Path, rules: Rules) -> Selection:
    """Read the folder's ignore file and join it to the rules.

    Raises ContentError for a pattern that is none, an ignore file that cannot be read, or patterns beyond
    MAX_CHARACTERS.
    """
    ignored = _ignore_lines(folder / IGNORE_FILE)
    patterns = (*rules.include, *(ignored or ()), *rules.exclude)
    if sum(map(len, patterns)) > MAX_CHARACTERS:
        raise ContentError("too many patterns", expected=f"at most {MAX_CHARACTERS:,} characters in all")
    return Selection(
        rules, ignored, included=_test(rules.include), excluded=_test((*(ignored or ()), *rules.exclude))
    )


def _test(patterns: Iterable[str]) -> Test | None:
    patterns = tuple(patterns)
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns).match_file
    except ValueError as error:
        raise ContentError(f"not a pattern: {error}", expected="patterns as in a .gitignore") from error


def _ignore_lines(path: Path) -> tuple[str, ...] | None:
    try:
        with path.open("rb") as stream:
            text = stream.read(16 * MAX_CHARACTERS).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"{IGNORE_FILE} cannot be read: {error}", paths=(IGNORE_FILE,)) from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return tuple(line for line in lines if line.strip() and not line.startswith("#"))
