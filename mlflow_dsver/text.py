"""Text for people and for the operating system: sizes, counts, escaped untrusted text, and file names in UTF-8.

Everything that comes from a provider, a file name, a run or a tag is escaped by one of these functions before it is
shown. (humanize was measured and not taken: it writes `512 Bytes`, and this module loads the standard library alone.)

Python decodes file names, arguments and the environment by the locale. Under a Latin-1 or ASCII locale the bytes of
`café` become another text, and a text becomes other bytes. This package reads file names as UTF-8 everywhere: in
manifests, digests, records and messages. It therefore distinguishes:

- *OS text*: what `os`, `pathlib` and `sys.argv` use in this process; it stays in `Path` values;
- *text*: UTF-8, the same everywhere; invalid UTF-8 becomes lone surrogates, as with `surrogateescape`.

Both are the same where Python's file system encoding is UTF-8, and then the conversions cost nothing.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from pathlib import PurePath

from mlflow_dsver.secrets import redacted, safe_message

IS_UTF8 = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"
"""Whether OS text and text are the same in this process."""

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


def text_of(os_text: str) -> str:
    """OS text (a name, a path, an argument, a variable) as text in UTF-8."""
    return os_text if IS_UTF8 else os.fsencode(os_text).decode("utf-8", "surrogateescape")


def os_text(text: str) -> str:
    """Text in UTF-8 as OS text, to be opened or put into a `Path`.

    Raises UnicodeEncodeError for a lone surrogate that stands for no byte.
    """
    return text if IS_UTF8 else os.fsdecode(text.encode("utf-8", "surrogateescape"))


def encodable(text: str) -> str:
    """A message that may contain both OS text and text, as text that can be encoded as UTF-8.

    Bytes that were escaped as lone surrogates are read as UTF-8; invalid ones are shown as `\\xff`.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # a lone surrogate that stands for no byte
            return text.encode("utf-8", "backslashreplace").decode()
    return text
