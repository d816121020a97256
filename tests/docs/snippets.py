"""Reads a Markdown file's code blocks and does what they say, so that the documents cannot lie.

A `python` or `toml` block whose first line is `# name.py` is written to that file; any other `python` block is run,
all of them in one namespace. In a `console` block each `$ command` is run by bash, and its output is the lines
below it, where `…` stands for anything; without such lines the output does not matter. A command that ends well
gives 0; `# exit code N` behind a command says otherwise. Blocks of other languages are not looked at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")
_EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")


@dataclass(frozen=True)
class Block:
    """A code block: its language, its text, and the line of the document that it begins in."""

    language: str
    text: str
    line: int


def blocks(document: Path) -> Iterator[Block]:
    """All fenced code blocks, in order."""
    content = document.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(content):
        yield Block(found[1], found[2], content.count("\n", 0, found.start()) + 2)


def carry_out(document: Path, folder: Path, programs: Path) -> list[str]:
    """Do what the blocks say, in this folder, which is the present one; gives what was done, for a test to count.

    programs: a folder with `python` and the commands, before all others.
    """
    names: dict[str, Any] = {"__name__": "__readme__"}
    done = []
    for block in blocks(document):
        where = f"{document.name}, line {block.line}"
        named = _FILE.match(block.text)
        if named and block.language in ("python", "toml"):
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(document), "exec"), names)
        elif block.language == "console":
            for command, code, expected in _commands(block.text):
                _run(command, code, expected, folder, where, programs)
        else:
            continue
        done.append(f"{block.language} {block.line}")
    return done


def _commands(text: str) -> Iterator[tuple[str, int, str]]:
    """Each command of a console block, its exit code, and the output that is shown."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = command[:-1] + more
        code = _EXIT_CODE.search(command)
        yield _EXIT_CODE.sub("", command), int(code[1]) if code else 0, expected.strip("\n")


def _run(command: str, code: int, expected: str, folder: Path, where: str, programs: Path) -> None:
    path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    output = (done.stdout + done.stderr).strip("\n")
    assert done.returncode == code, f"{where}: {command}\nended with {done.returncode}:\n{output}"
    if expected:
        assert _matches(expected, output), f"{where}: {command}\nexpected:\n{expected}\ngot:\n{output}"


def _matches(expected: str, output: str) -> bool:
    """Whether the output is what is shown; `…` stands for anything, and any number of blanks for one.

    Part by part from the left, and not by one regular expression, which takes for ever to find that nothing fits.
    """
    first, *parts = (" ".join(part.split()) for part in expected.split("…"))
    text = " ".join(output.split())
    if not parts:
        return text == first
    *parts, last = parts
    place = len(first)
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return text.startswith(first) and text.endswith(last) and len(text) - len(last) >= place
