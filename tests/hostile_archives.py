"""Archives that must be refused, each made when it is asked for, by what is wrong with it."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content, compress_type=method)
    return stream.getvalue()


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o644) << 16
    return info


def overlapping() -> bytes:
    """Two sound entries, the second inside the first one's bytes: what is unpacked may grow with their square."""
    inner = zipped(("b.txt", b"x" * 1000), method=zipfile.ZIP_STORED)
    inner = inner[: inner.index(b"PK\1\2")]
    outer = zipped(("a.txt", inner), method=zipfile.ZIP_STORED)
    both = zipped(("a.txt", inner), ("b.txt", b"x" * 1000), method=zipfile.ZIP_STORED)
    directory, end = both.rindex(b"PK\1\2", 0, both.rindex(b"PK\1\2")), both.index(b"PK\5\6")
    entries = bytearray(both[directory:end])
    struct.pack_into("<L", entries, entries.rindex(b"PK\1\2") + 42, 30 + len("a.txt"))
    local = outer[: outer.rindex(b"PK\1\2")]
    return local + bytes(entries) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(entries), len(local), 0)


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    """The archive with fields of its first directory entry set."""
    changed = bytearray(data)
    struct.pack_into(form, changed, data.index(b"PK\1\2") + at, *values)
    return bytes(changed)


def encrypted() -> bytes:
    return patched(zipped(("a.txt", b"secret")), 8, "<H", 1)


def broken_checksum() -> bytes:
    data = bytearray(zipped(("a.txt", b"hello" * 50), method=zipfile.ZIP_STORED))
    data[40] ^= 1
    return bytes(data)


def broken_stream() -> bytes:
    data = bytearray(zipped(("a.txt", bytes(range(256)) * 50)))
    data[36:60] = b"\xff" * 24
    return bytes(data)


def absurd_position() -> bytes:
    """A 64-bit position far behind the end of the file."""
    data = zipped(("a.txt", b"hello"))
    return patched(data, 42, "<L", 0xFFFFFFF0)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "climbs out": lambda: zipped(("../../evil", b"x")),
    "climbs out in the middle": lambda: zipped(("a/../../evil", b"x")),
    "absolute": lambda: zipped(("/etc/evil", b"x")),
    "backslash": lambda: zipped(("..\\evil", b"x")),
    "drive": lambda: zipped(("C:evil", b"x")),
    "empty segment": lambda: zipped(("a//b", b"x")),
    "control character": lambda: zipped(("a\x1b[31mb", b"x")),
    "changes direction": lambda: zipped(("a\u202eb", b"x")),
    "cut by NUL": lambda: zipped(("safe.txtX", b"x")).replace(b"safe.txtX", b"safe.tx\0X"),
    "long segment": lambda: zipped(("a" * 256, b"x")),
    "long path": lambda: zipped(("/".join(["a" * 100] * 11), b"x")),
    "twice": lambda: zipped(("a.txt", b"1"), ("b.txt", b"2")).replace(b"b.txt", b"a.txt"),
    "twice but for case": lambda: zipped(("a/Read", b"1"), ("a/read", b"2")),
    "twice but for normal form": lambda: zipped(("caf\u00e9", b"1"), ("cafe\u0301", b"2")),
    "folders but for case": lambda: zipped(("A/x", b"1"), ("a/y", b"2")),
    "file and folder": lambda: zipped(("a", b"1"), ("a/b", b"2")),
    "folder and file": lambda: zipped(("a/b", b"1"), ("a", b"2")),
    "link": lambda: zipped((special("link", stat.S_IFLNK), b"/etc/passwd")),
    "device": lambda: zipped((special("device", stat.S_IFCHR), b"")),
    "pipe": lambda: zipped((special("pipe", stat.S_IFIFO), b"")),
    "folder kind under a file's name": lambda: zipped((special("folder", stat.S_IFDIR), b"")),
    "folder with content": lambda: zipped(("folder/", b"content")),
    "encrypted": encrypted,
    "lzma": lambda: zipped(("a.txt", b"x" * 100), method=zipfile.ZIP_LZMA),
    "bzip2": lambda: zipped(("a.txt", b"x" * 100), method=zipfile.ZIP_BZIP2),
    "overlap": overlapping,
    "broken checksum": broken_checksum,
    "broken stream": broken_stream,
    "absurd position": absurd_position,
    "declares less than it holds": lambda: patched(zipped(("a.txt", b"x" * 1000)), 24, "<L", 10),
    "declares more than it holds": lambda: patched(zipped(("a.txt", b"x" * 1000)), 24, "<L", 2000),
    "not an archive": lambda: b'{"status": {"code": 11009}}',
    "empty file": lambda: b"",
    "cut off": lambda: zipped(("a.txt", b"x" * 1000))[:-30],
}
