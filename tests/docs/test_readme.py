"""The README is true: its snippets run, and what it lists is what there is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prepared import Prepared
from snippets import blocks, carry_out

from mlflow_dsver import settings
from mlflow_dsver.cli.main import cli
from mlflow_dsver.plugins import provider_infos

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


@pytest.fixture
def work(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with what the README takes for given: `data/digits/digits.csv`, and a tracking database."""
    from sklearn.datasets import load_digits

    table = load_digits(as_frame=True).frame.rename(columns={"target": "label"})
    (tmp_path / "data" / "digits").mkdir(parents=True)
    table.to_csv(tmp_path / "data" / "digits" / "digits.csv", index=False)
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(1200)  # a minute of commands and servers, on a quiet machine
def test_every_snippet_does_what_it_shows(work: Path, prepared: Prepared) -> None:
    done = carry_out(README, work, prepared.bin)
    wanted = [block for block in blocks(README) if block.language in ("python", "console", "toml")]
    assert len(done) == len(wanted) > 10


def test_the_two_commands_stand_at_the_top_and_exist() -> None:
    first = next(blocks(README))
    assert first.line < 10
    targets = re.findall(r"^make (\w+)", first.text, re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`make (\w+)`", README.read_text())) | set(targets)
    assert named <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_every_setting_stands_in_the_table_and_the_other_way_round() -> None:
    told = re.findall(r"^\| `MLFLOW_DSVER_(\w+)`", README.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(
        [*settings.KNOWN, *(each.name for info in provider_infos().values() for each in info.settings)]
    )


def test_every_command_stands_in_the_readme() -> None:
    """Each has a row in the table of commands; a family's rows name all its commands."""
    for family, *rest in _commands(cli):
        rows = "\n".join(line for line in README.read_text().splitlines() if line.startswith(f"| `{family}"))
        assert rows or f", `{family}` |" in README.read_text(), f"{family} is not in the table of commands"
        assert all(f"{word}" in rows for word in rest), f"{family} {rest} is not in the table of commands"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def _commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name)
