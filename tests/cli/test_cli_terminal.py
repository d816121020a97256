"""What the terminal, the pipe and the shell see: colours, widths, hostile text, exit codes, completion."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from processes import SCRIPT, Run

from mlflow_dsver import __version__
from mlflow_dsver.cli.main import cli

Terminal = Callable[..., tuple[int, str]]
HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]x[/bold] \u202egnp.exe\nsecond line"


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """Every command and group, as its words."""
    found: list[tuple[str, ...]] = [path]
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]
    return found


EVERY = commands(cli)


def context_of(words: tuple[str, ...]) -> click.Context:
    """The context of a command, as its help is made from."""
    context = click.Context(cli, info_name="mlflow-dsver", terminal_width=100, **cli.context_settings)
    for word in words:
        assert isinstance(context.command, click.Group)
        below = context.command.get_command(context, word)
        assert below is not None
        context = click.Context(below, info_name=word, parent=context, terminal_width=100)
    return context


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_of_every_command(words: tuple[str, ...]) -> None:
    """A summary of one sentence, examples, and a sentence for each option; it fits, and nothing in it is cut off."""
    context = context_of(words)
    shown = context.get_help()
    usage, blank, summary, *_ = shown.splitlines()
    assert usage.startswith(f"Usage: {context.command_path} ")
    assert (blank, summary[:2]) == ("", "  ")
    told = context.command.get_short_help_str(100)
    assert told.endswith("."), told
    assert not told.endswith("..."), "it is cut off in the list of commands"
    assert summary.strip().startswith(told)
    assert all(line.isprintable() for line in shown.splitlines())
    assert all(len(line) <= 100 for line in shown.splitlines() if not line.startswith("    mlflow-dsver"))
    for parameter in context.command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.help
            assert all(name in shown for name in parameter.opts)
    examples = examples_of(shown)
    assert examples
    assert all(line.startswith("mlflow-dsver ") for line in examples), examples
    assert any(line.startswith(context.command_path) for line in examples), examples


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_examples_in_help_name_commands_and_options_that_exist(words: tuple[str, ...]) -> None:
    for example in examples_of(context_of(words).get_help()):
        _, *rest = shlex.split(example.partition(" | ")[0])
        context = context_of(())
        while isinstance(context.command, click.Group) and rest[0] != "--help":
            assert context.command.get_command(context, rest[0]), example
            context = context_of((*context.command_path.split()[1:], rest.pop(0)))
        context.command.make_parser(context).parse_args(rest)  # raises for an option that there is not


def examples_of(shown: str) -> list[str]:
    """The commands below `Examples:`, without the rest of one that goes on in the next line."""
    section = shown.partition("\n  Examples:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in section.splitlines()]


COMMANDS = [words for words in EVERY if not isinstance(context_of(words).command, click.Group)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_runs_as_a_process(words: tuple[str, ...], tmp_path: Path) -> None:
    """The installed console script; what it does is tested in process, command by command."""
    done = subprocess.run([SCRIPT, *words, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: mlflow-dsver " + " ".join(words))


def test_every_command_that_shows_something_knows_json() -> None:
    """All but those that serve until they are stopped, write a file or a document, or tell a story."""
    without = set()
    for words in EVERY:
        command: click.Command = cli
        for word in words:
            assert isinstance(command, click.Group)
            below = command.get_command(click.Context(command), word)
            assert below is not None
            command = below
        options = {option for parameter in command.params for option in parameter.opts}
        if not isinstance(command, click.Group) and "--json" not in options:
            without.add(" ".join(words))
    without = {words for words in without if not words.startswith("emulator ")}
    writing = {"describe", "export", "statement key", "statement sign"}
    assert without <= {"demo", "run", "open", *writing}


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"mlflow-dsver {__version__}\n"


def test_the_module_is_the_command(run: Run) -> None:
    done = subprocess.run([sys.executable, "-m", "mlflow_dsver", "--version"], capture_output=True, text=True)
    assert done.stdout == run("--version").stdout


@pytest.mark.parametrize("words", [(), ("versions",)], ids=["program", "family"])
def test_nothing_to_do_is_wrong_usage_and_shows_help(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Examples:" in done.stderr


def test_hostile_text_reaches_no_terminal(run: Run, on_terminal: Terminal, digits_folder: Path) -> None:
    """Escape sequences, markup, direction marks and line breaks in a message and a file name are shown as escapes."""
    (digits_folder / "evil\x1b[2J\u202e.txt").write_text("x")
    made = run("versions", "create", "local://digits", str(digits_folder), "-m", HOSTILE)
    assert made.returncode == 0, made.stderr
    for words in (("list", "local://digits"), ("show", "local://digits"), ("files", "local://digits")):
        for text in (run("versions", *words).stdout, run("versions", *words, "--json").stdout):
            assert not {"\x1b", "\x07", "\u202e"} & set(text), words
        _, shown = on_terminal("versions", *words, NO_COLOR="1")
        assert not {"\x1b[2J", "\x1b[31m", "\x07", "\u202e"} & {
            shown[i : i + n] for n in (1, 4, 5) for i in range(len(shown))
        }
    assert "[bold]x[/bold]" in run("versions", "list", "local://digits").stdout
    assert json.loads(run("versions", "show", "local://digits", "--json").stdout)["message"] == HOSTILE


def test_colours_on_a_terminal_only_and_not_with_no_color(run: Run, on_terminal: Terminal, made: str) -> None:
    words = ("versions", "show", made)
    assert "\x1b[1m" in on_terminal(*words)[1]
    assert "\x1b[3" not in on_terminal(*words, NO_COLOR="1")[1]
    assert "\x1b" not in run(*words).stdout


def test_a_pipe_gets_whole_lines_without_blanks_at_the_end(run: Run, made: str) -> None:
    run("versions", "update", made, "-m", "word " * 100)
    lines = run("versions", "list", COLUMNS="40").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("word")


def test_a_reader_that_goes_away_ends_the_command_quietly(run: Run, made: str, digits_folder: Path) -> None:
    for number in range(3000):
        (digits_folder / f"{number:0200}.txt").write_text("x")
    run("versions", "create", "local://many", str(digits_folder))
    for words in ("versions files local://many", "versions files local://many --json"):
        pipe = f"{SCRIPT} {words} | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] == "141"


def test_ctrl_c_is_one_line(digits_folder: Path) -> None:
    """A command that is stopped while it waits says so in one line, with the exit code that shells have for it."""
    fifo = digits_folder.parent / "config.toml"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [SCRIPT, "versions", "list"],
        env={**os.environ, "MLFLOW_DSVER_HOME": "", "MLFLOW_DSVER_CONFIG": str(fifo)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with fifo.open("wb"):  # which waits until the command has opened the settings file, and so waits for its text
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint.lstrip()) == (130, "mlflow-dsver: stopped\n")


def test_an_output_that_cannot_say_a_character_gets_its_escape(run: Run, made: str) -> None:
    run("versions", "update", made, "-m", "naïve 東京")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([SCRIPT, "versions", "show", made], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "na\\xefve \\u6771\\u4eac" in done.stdout


def test_debug_shows_where_an_error_came_from(run: Run) -> None:
    done = run("versions", "show", "nonsense", MLFLOW_DSVER_DEBUG="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("mlflow-dsver: not a reference")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(run: Run, shell: str) -> None:
    done = run(_MLFLOW_DSVER_COMPLETE=f"{shell}_source")
    assert done.returncode == 0, done.stderr
    assert "_MLFLOW_DSVER_COMPLETE" in done.stdout
    words = {"COMP_WORDS": "mlflow-dsver versions mat", "COMP_CWORD": "2"}
    assert "materialise" in run(_MLFLOW_DSVER_COMPLETE="bash_complete", **words).stdout


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("versions", "list"), ("providers",)], ids=" ".join)
def test_what_needs_no_mlflow_does_not_import_it(words: tuple[str, ...], made: str) -> None:
    """Nor anything else that is heavy: the command answers in a moment."""
    heavy = ("mlflow", "pandas", "numpy", "sklearn", "sqlalchemy")
    code = (
        "import sys; from mlflow_dsver.cli.main import run; "
        f"print(run({list(words)!r}), [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] in ("0 []", "None []"), done.stdout + done.stderr
