"""Rendering is a pure function from values to what is shown, compared whole with golden files."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from mlflow_dsver.cli import runs, store
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.providers.local.maintenance import CheckReport, Collection, Finding
from mlflow_dsver.terminal import output, render
from mlflow_dsver.tracking.history import RunUse

WHEN = datetime(2026, 11, 22, 4, 37, 43, 446007, tzinfo=timezone(timedelta(hours=2)))
FULL = DatasetVersion(
    ref=parse("local://digits@3f9c2a7d11e05b64"),
    tags=("raw", "clean"),
    message="7s relabelled\nby two \x1b[31mpeople\x1b[0m",
    metadata={"round": 3, "who": ["ä", "b"]},
    usage_bytes=190_750,
    content_digest="blake3:" + "3f9c2a7d" * 8,
    digest_is_claimed=True,
    created=WHEN,
    modified=WHEN,
    creator="me@here",
    immutable=True,
    web_url="https://example.org/digits",
    counts={"files": 1348, "size": 7, "evil\x1b[2J": 1},
)
BARE = DatasetVersion(ref=parse("paperspace://dst364npcw6ccok@fo5rp4m"))
MANIFEST = Manifest((FileEntry("a\u202eb.txt", 0, "0" * 64), FileEntry("images/1.png", 4096, "1" * 64)))
RUN = RunUse("0b8a4f6f" * 4, "corrected labels", "1", "FINISHED", WHEN, "training", FULL.ref, Grade("A"))
FOUND = (Finding("object", "objects/3f/3f9c", "images/1.png: missing", (str(FULL.ref),)),)

SHOWN = {
    "versions": (render.versions([FULL, BARE]),),
    "versions-none": (render.versions([]),),
    "version": (render.version(FULL),),
    "version-bare": (render.version(BARE),),
    "files": (render.files(MANIFEST),),
    "links": (
        runs.links_table(
            [
                Link("training", "local://digits@latest", FULL, Grade("A", ("attached later",)), WHEN),
                Link("test", "paperspace://dst364npcw6ccok", BARE, Grade("D"), WHEN),
            ]
        ),
    ),
    "links-none": (runs.links_table([]),),
    "runs": (runs.runs_table([RUN]),),
    "runs-none": (runs.runs_table([]),),
    "check-well": store.check_blocks(CheckReport("/store", 1, 2, 1, 1348, 3, 190_750)),
    "check-findings": store.check_blocks(CheckReport("/store", 1, 2, 0, 1348, 3, 190_750, findings=FOUND)),
    "gc-dry": store.collection_blocks(Collection("/store", True, 12, 1, 0, 2, 190_750, kept_young=4)),
    "gc-done": store.collection_blocks(Collection("/store", False, 12, 1, 0, 2, 190_750)),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_people_see(name: str, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    output.emit(False, None, *SHOWN[name])
    golden(f"cli/output/{name}.txt", stream.getvalue())


def test_dates_are_shown_in_utc_and_nothing_as_a_dash() -> None:
    assert render.cell(WHEN) == "2026-11-22 02:37:43 UTC"
    assert render.cell(WHEN.astimezone(UTC)) == render.cell(WHEN)
    assert {render.cell(nothing) for nothing in (None, "", (), [])} == {render.NONE}
    assert render.cell(0) == "0"


def test_every_block_is_on_lines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text from outside makes a line of its own: as many lines as there are things."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    output.emit(False, None, render.versions([FULL] * 3))
    assert stream.getvalue().count("\n") == 4
