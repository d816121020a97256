"""The lineage pages on a real MLflow server, seen through a real browser: what is visible, and what does not run.

Screenshots are left in `test-artifacts/` for a person to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from lineage_server import ARTIFACTS, CHROMIUM, NO_BROWSER, browsing, seeded, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER),
    pytest.mark.timeout(600),
]


@dataclass(frozen=True)
class Site:
    """The server's address, what is in its store, and a browser."""

    address: str
    world: dict[str, Any]
    browser: Any

    def url(self, path: str = "") -> str:
        return f"{self.address}/dsver{path}"

    def version(self, index: int) -> str:
        return f"/version?ref={quote(self.world['digits'][index])}"

    def run(self, index: int) -> str:
        return f"/run?id={self.world['runs'][index]}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("lineage")
    world = seeded(folder)
    with serving(folder) as address, browsing() as browser:
        ARTIFACTS.mkdir(exist_ok=True)
        yield Site(address, world, browser)


@pytest.fixture
def page(site: Site) -> Iterator[Any]:
    """A page at 1440 pixels that fails the test when the browser complains of anything."""
    with _page(site, 1440, "light") as made:
        yield made


def _page(site: Site, width: int, scheme: str) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def opened() -> Iterator[Any]:
        complaints: list[str] = []
        made = site.browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        made.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        made.on("pageerror", lambda error: complaints.append(str(error)))
        made.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        yield made
        made.close()
        expected = ("404", "400", "ResizeObserver")  # answers that are asked for, and a habit of MLflow's own pages
        assert [text for text in complaints if not any(each in text for each in expected)] == []

    return opened()


def rows(page: Any, region: str) -> list[str]:
    """The rows of a table, as a reader sees them, once the page is there whole."""
    page.wait_for_load_state()
    texts = page.get_by_role("region", name=region, exact=True).locator("tbody tr").all_inner_texts()
    return [re.sub(r"\s+", " ", text).strip() for text in texts]


def test_the_datasets_are_listed_with_their_last_use(site: Site, page: Any) -> None:
    page.goto(site.url())
    told = rows(page, "Datasets")
    assert [row.split()[0] for row in told if not row.startswith("<")] == [
        "me/breeds/cats",
        "digits",
        "salaries",
        "dst364npcw6ccok",
    ]
    digits = next(row for row in told if row.startswith("digits"))
    assert "local 4 24 2026-10-23 18:00" in digits  # each run once, also one with two versions of it
    page.screenshot(path=ARTIFACTS / "lineage-datasets.png")


def test_a_search_by_name_narrows_the_list(site: Site, page: Any) -> None:
    page.goto(site.url())
    page.get_by_role("searchbox").fill("breeds")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=breeds*")
    assert [row.split()[0] for row in rows(page, "Datasets")] == ["me/breeds/cats"]


def test_the_graph_is_walked_from_dataset_to_version_to_run_to_model(site: Site, page: Any) -> None:
    """Each node is a real link, and each page shows what it is about."""
    page.goto(site.url("/dataset?ref=local://digits"))
    page.get_by_role("link", name=re.compile("^Version release")).click()
    page.wait_for_url("**/dsver/version?*")
    assert page.get_by_role("heading", level=1).inner_text().split()[1] == site.world["digits"][3].split("@")[1]
    page.get_by_role("link", name=re.compile("^Run mlp-30")).click()
    page.wait_for_url("**/dsver/run?*")
    assert "mlp-30" in page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("link", name=re.compile("^Model digits-classifier")).click()
    page.wait_for_url("**/dsver/model?*")
    assert "digits-classifier version 5" in page.get_by_role("heading", level=1).inner_text()
    assert "mlp-30" in rows(page, "Runs")[0]
    assert page.locator("svg.lineage a").count() >= 4


def test_the_graph_works_with_the_keyboard_alone(site: Site, page: Any) -> None:
    page.goto(site.url(site.version(3)))
    page.locator("svg.lineage a").first.focus()
    assert page.evaluate("document.activeElement.getAttribute('href')").startswith("/dsver/dataset")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dsver/dataset?*")


def test_the_first_tab_leads_to_the_content(site: Site, page: Any) -> None:
    page.goto(site.url())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"


def test_runs_can_be_filtered(site: Site, page: Any) -> None:
    page.goto(site.url("/dataset?ref=local://digits"))
    page.get_by_label("Last check").select_option("CHANGED")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**verdict=CHANGED*")
    assert [row.split()[0] for row in rows(page, "Runs")] == ["mlp-24"]
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url(lambda address: "verdict" not in address)
    page.get_by_label("Role").select_option("validation")
    page.get_by_label("From", exact=True).fill("2026-10-01")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**role=validation*")
    assert {row.split()[0] for row in rows(page, "Runs")} == {"mlp-21", "mlp-25", "mlp-33"}
    assert page.get_by_label("Role").input_value() == "validation"


def test_two_versions_are_compared(site: Site, page: Any) -> None:
    page.goto(site.url("/dataset?ref=local://digits"))
    page.get_by_label(re.compile("From version " + site.world["digits"][1].split("@")[1])).check()
    page.get_by_label(re.compile("To version " + site.world["digits"][2].split("@")[1])).check()
    page.get_by_role("button", name="Compare the two").click()
    page.wait_for_url("**/diff?*")
    assert len(rows(page, "Added")) == 6
    assert rows(page, "Removed")[0].startswith("images/0003.pgm")
    assert rows(page, "Renamed")[0].startswith("images/0004.pgm → images/four.pgm")
    page.screenshot(path=ARTIFACTS / "lineage-diff.png", full_page=True)


def test_a_file_is_found_by_path_and_by_digest(site: Site, page: Any) -> None:
    page.goto(site.url("/search"))
    page.get_by_role("searchbox").fill("0003.pgm")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=0003*")
    found = rows(page, "Files")
    assert len(found) == 2, "in the first two versions, before it was removed"
    page.screenshot(path=ARTIFACTS / "lineage-search.png")
    digest = page.locator("td[title]").first.get_attribute("title")
    page.goto(site.url(f"/search?q=blake3:{digest}"))
    assert len(rows(page, "Files")) == 2
    page.goto(site.url("/search?q=no-such-file"))
    assert "0 files found" in page.get_by_role("status").inner_text()


def test_the_button_checks_the_data_and_keeps_the_verdict(site: Site, page: Any) -> None:
    page.goto(site.url(site.run(24)))
    assert "changed" in page.locator("dl.facts").inner_text()
    page.get_by_role("button", name="Check the data now").click()
    page.wait_for_url("**/verify")
    assert "match" in page.get_by_role("heading", name=re.compile("Result of this check")).inner_text()
    page.screenshot(path=ARTIFACTS / "lineage-check.png", full_page=True)
    page.goto(site.url(site.run(24)))
    assert "match" in page.locator("dl.facts").inner_text()


def test_data_that_nobody_can_reach_is_no_match(site: Site, page: Any) -> None:
    """Paperspace has no key here: the verdict is not a pass."""
    page.goto(site.url(site.run(2)))
    page.get_by_role("button", name="Check the data now").click()
    page.wait_for_url("**/verify")
    assert "match" not in page.get_by_role("heading", name=re.compile("Result of this check")).inner_text()


def test_hostile_names_are_seen_and_do_nothing(site: Site, page: Any) -> None:
    for path in ("", f"/version?ref={quote(site.world['hostile'])}", f"/run?id={site.world['hostile_run']}"):
        page.goto(site.url(path))
        assert "owned" not in page.title() or "onerror" in page.title()
        assert page.evaluate("document.title") != "owned"
        assert page.locator("main img, main script, main b").count() == 0
    assert (
        page.get_by_role("heading", level=1).inner_text().endswith("<img src=x onerror=document.title='owned'>\"'&")
    )
    page.screenshot(path=ARTIFACTS / "lineage-hostile.png", full_page=True)
    page.goto(site.url("/search?q=" + quote("<script>")))
    assert rows(page, "Files")[0].startswith("<script>document.title='owned'<_script>\\u202egpj.exe")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 400])
def test_every_page_fits_its_window(site: Site, width: int, scheme: str) -> None:
    """Nothing sticks out sideways, and the page is as dark as the person's system."""
    paths = {
        "index": "",
        "dataset": "/dataset?ref=local://digits",
        "version": site.version(2),
        "run": site.run(13),
        "diff": f"/diff?a={quote(site.world['digits'][1])}&b={quote(site.world['digits'][2])}",
    }
    with _page(site, width, scheme) as page:
        for name, path in paths.items():
            page.goto(site.url(path))
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", colour))) < 200) == (scheme == "dark")
            page.screenshot(path=ARTIFACTS / f"lineage-{name}-{width}-{scheme}.png", full_page=True)


def test_mlflows_own_pages_open_filtered_to_a_version(site: Site, page: Any) -> None:
    """The deep link lands in MLflow's run list, which shows the runs of that version and no others."""
    page.goto(site.url(site.version(2)))
    address = page.get_by_role("link", name=re.compile("Runs in MLflow: digits")).get_attribute("href")
    page.goto(site.address + address)
    page.get_by_text("mlp-25", exact=True).first.wait_for(timeout=60_000)
    assert page.get_by_text("mlp-18", exact=True).count() > 0
    assert page.get_by_text("mlp-34", exact=True).count() == 0
    page.screenshot(path=ARTIFACTS / "mlflow-runs-of-a-version.png")


def test_the_card_leads_to_the_other_runs_of_a_version(site: Site, page: Any) -> None:
    """In MLflow's own artifact viewer: who else used the version, with links that open MLflow's pages."""
    experiment, run = site.world["experiments"]["digits"], site.world["runs"][33]
    page.goto(f"{site.address}/#/experiments/{experiment}/runs/{run}/artifacts/dsver/card.md")
    page.get_by_text("Who else used these versions").wait_for(timeout=60_000)
    page.screenshot(path=ARTIFACTS / "mlflow-card.png")
    page.get_by_role("link", name="mlp-31").first.click()
    page.wait_for_url(f"**/runs/{site.world['runs'][31]}*", timeout=60_000)
    page.go_back()
    page.get_by_role("link", name="all runs of this experiment with it").first.click()
    page.get_by_text("mlp-34", exact=True).first.wait_for(timeout=60_000)
    assert page.get_by_text("mlp-18", exact=True).count() == 0


def test_a_runs_page_in_mlflow_shows_what_it_used(site: Site, page: Any) -> None:
    experiment, run = site.world["experiments"]["digits"], site.world["runs"][33]
    page.goto(f"{site.address}/#/experiments/{experiment}/runs/{run}")
    page.get_by_text("dsver.training.version").first.wait_for(timeout=60_000)
    assert page.get_by_text(site.world["digits"][3]).count() > 0
    page.screenshot(path=ARTIFACTS / "mlflow-run.png")


def test_what_does_not_exist_is_said_plainly(site: Site, page: Any) -> None:
    for path, status, text in (
        ("/version?ref=local://digits@nothing", 404, "No run that you may read has used local://digits@nothing."),
        ("/version?ref=nonsense", 400, "not a reference"),
        ("/run?id=../../etc/passwd", 404, "not the id of a run"),
        ("/run?id=" + "0" * 32, 404, "no such run"),
        ("/model?key=models:/none/1", 404, "no such model"),
        ("/dataset?ref=local://digits&runs=nonsense", 400, "no mark of a page of runs"),
        ("/search?q=" + "x" * 3000, 400, "too long"),
    ):
        answer = page.goto(site.url(path))
        assert answer.status == status, path
        assert text in page.locator("main").inner_text()


def test_every_answer_has_the_policy(site: Site, page: Any) -> None:
    for path in ("", "/run?id=nobody"):
        headers = page.goto(site.url(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script" not in headers["content-security-policy"]
        assert headers["cache-control"] == "private, no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_lineage_file_looks_like_the_pages(site: Site, page: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The self-contained page, opened from the disk, with its links inside."""
    from mlflow_dsver.lineage.api import report_of
    from mlflow_dsver.lineage.html import static_page
    from mlflow_dsver.record.mlflow_urls import MLflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", site.address)
    import mlflow

    mlflow.set_tracking_uri(site.address)
    file = tmp_path / "lineage.html"
    file.write_text(static_page(report_of(), MLflow(site.address)), "utf-8")
    page.goto(file.as_uri())
    assert "38 runs with" in page.locator("main").inner_text()
    page.get_by_role("link", name=re.compile("^Version release")).click()
    assert page.evaluate("location.hash.length") == 18
    page.screenshot(path=ARTIFACTS / "lineage-file.png", full_page=True)
