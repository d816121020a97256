"""Names of files as text that means the same in every locale.

Python decodes what the operating system says (names in folders, arguments, the environment) by the locale. Under a
Latin-1 or ASCII locale the bytes of `café` so become another text, and a text becomes other bytes. File names are
bytes, and this package reads them as UTF-8 everywhere: in manifests, digests, records, messages. Between the two:

- *OS text*: what `os`, `pathlib` and `sys.argv` give and take in this process; it stays in `Path` values;
- *text*: UTF-8, the same everywhere; what is no UTF-8 comes out with lone surrogates, as of `surrogateescape`.

Both are the same wherever Python's file system encoding is UTF-8, and then these functions cost nothing.
"""

from __future__ import annotations

import os
import sys

IS_UTF8 = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"
"""Whether the two are the same in this process."""


def text_of(os_text: str) -> str:
    """OS text (a name, a path, an argument, a variable) as text in UTF-8."""
    return os_text if IS_UTF8 else os.fsencode(os_text).decode("utf-8", "surrogateescape")


def os_text(text: str) -> str:
    """Text in UTF-8 as OS text, to be opened or put into a `Path`.

    Raises UnicodeEncodeError for half a character that stands for no byte.
    """
    return text if IS_UTF8 else os.fsdecode(text.encode("utf-8", "surrogateescape"))


def encodable(text: str) -> str:
    """The text of a message, in which OS text and text may stand side by side, so that it can be sent and stored.

    Bytes that were escaped as lone surrogates are read as UTF-8; what is none is shown as `\\xff`.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # half a character that stands for no byte
            return text.encode("utf-8", "backslashreplace").decode()
    return text
