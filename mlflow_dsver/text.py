"""Formats sizes and counts, and escapes untrusted text for terminals and Markdown.

Everything that comes from a provider, a file name, a run or a tag goes through one of these functions before it is
shown. (humanize was measured and not taken: it writes `512 Bytes`, and this module loads the standard library alone.)
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePath

from mlflow_dsver.os_names import text_of
from mlflow_dsver.secrets import redacted, safe_message

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
    """The text on one line, with control, format and direction-changing characters escaped, cut at `limit`.

    The message of an exception is redacted.
    """
    if isinstance(text, BaseException):
        text = safe_message(text)
    elif isinstance(text, PurePath):
        text = text_of(str(text))
    safe = "".join(
        character if character.isprintable() and unicodedata.category(character) != "Cf" else ascii(character)[1:-1]
        for character in str(text)[: limit + 1]
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def error_line(error: BaseException, limit: int = 300) -> str:
    """The class and message of an exception, on one line and redacted."""
    return one_line(redacted(f"{type(error).__name__}: {error}"), limit)


def markdown(text: object, limit: int = 200) -> str:
    """The text as Markdown without markup or links: punctuation escaped, on one line."""
    return _MARKDOWN.sub(r"\\\1", one_line(text, limit))


def markdown_code(text: object, limit: int = 400) -> str:
    """The text as inline code; backticks and pipes become look-alikes, since inline code has no escapes."""
    safe = one_line(text, limit).replace("`", "ˋ").replace("|", "¦")
    return f"`{safe}`"
