"""Numbers and hostile texts for people: sizes, counts, and names made harmless where they land.

Everything that comes from a provider, a file name, a run or a tag goes through one of these before it reaches a
terminal or a Markdown file.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePath

from mlflow_dsver.os_names import text_of
from mlflow_dsver.secrets import redacted, told

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&:@/])")


def human_bytes(count: int | None) -> str:
    """`4.0 KiB`, `1.2 GiB`; `unknown` for None. Negative counts keep their sign."""
    if count is None:
        return "unknown"
    size = float(abs(count))
    sign = "-" if count < 0 else ""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < (1024 if unit == "B" else 1023.95) or unit == "TiB":
            return f"{sign}{size:.0f} B" if unit == "B" else f"{sign}{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def human_count(count: int, one: str, many: str | None = None) -> str:
    """`1 file`, `1,797 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def one_line(text: object, limit: int = 200) -> str:
    """The text on one line, control, format and direction-changing characters shown as escapes, cut at `limit`.

    An exception is shown without the secrets that its text may quote.
    """
    if isinstance(text, BaseException):
        text = told(text)
    elif isinstance(text, PurePath):
        text = text_of(str(text))
    safe = "".join(
        character if character.isprintable() and unicodedata.category(character) != "Cf" else ascii(character)[1:-1]
        for character in str(text)[: limit + 1]
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def error_line(error: BaseException, limit: int = 300) -> str:
    """The kind of an exception and what it says, on one line and without secrets."""
    return one_line(redacted(f"{type(error).__name__}: {error}"), limit)


def markdown(text: object, limit: int = 200) -> str:
    """The text as Markdown that shows these very characters: punctuation escaped, one line, no markup, no links."""
    return _MARKDOWN.sub(r"\\\1", one_line(text, limit))


def markdown_code(text: object, limit: int = 400) -> str:
    """The text as inline code; backticks and pipes in it are shown as look-alikes, since code has no escapes."""
    safe = one_line(text, limit).replace("`", "ˋ").replace("|", "¦")
    return f"`{safe}`"
