"""The pages in docs/ are true: their snippets run from top to bottom, in an empty folder with a tracking database."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from prepared import Prepared
from snippets import blocks, carry_out

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # those of the tools that pages show
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_snippet_of_a_page_does_what_it_shows(
    page: Path, prepared: Prepared, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    done = carry_out(page, tmp_path, prepared.bin)
    wanted = [block for block in blocks(page) if block.language in ("python", "console", "toml")]
    assert len(done) == len(wanted) > 1


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_starts_from_what_the_reader_has_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert text.split("\n", 3)[2].startswith("You have "), "the first sentence below the title"
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
