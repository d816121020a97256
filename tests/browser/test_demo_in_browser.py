"""The demo's store in MLflow's own pages, seen through a real browser: what was recorded can be read there.

Screenshots are left in `test-artifacts/` for a person to look at.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import tracking_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
SHOTS = Path(__file__).parents[2] / "test-artifacts"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed; on Debian: apt-get install chromium"),
]
sync_api = pytest.importorskip("playwright.sync_api")


LINKED_RUN = """
import mlflow, mlflow_dsver as dsver
from dataclasses import replace
mlflow.set_experiment("digits")
version = replace(dsver.resolve("local://digits-test"), web_url="https://example.org/digits?page=1")
with dsver.start_run(inputs={"training": version}, run_name="with a page") as run:
    print(run.info.run_id)
"""


@dataclass(frozen=True)
class Shown:
    """The demo's pages: a browser page, the server's address, and the run trained on the second version."""

    page: sync_api.Page
    address: str
    experiment_id: str
    run_id: str
    first: str
    second: str
    linked: str

    def open(self, path: str) -> None:
        self.page.goto("about:blank")  # else only the part behind # would change, and the page be kept
        self.page.goto(f"{self.address}/#/experiments/{self.experiment_id}/{path}", wait_until="domcontentloaded")

    def sees(self, text: str) -> None:
        """The text stands on the page, within some seconds."""
        sync_api.expect(self.page.get_by_text(text).first).to_be_visible(timeout=20_000)

    def shot(self, name: str) -> None:
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    place = tmp_path_factory.mktemp("demo")
    script = str(Path(sys.executable).with_name("mlflow-dsver"))
    done = subprocess.run([script, "demo"], cwd=place, capture_output=True, text=True, check=True, timeout=240)
    runs = re.findall(r"^   run (\w{32})  accuracy", done.stdout, re.MULTILINE)
    versions = re.findall(r"training +(local://digits-training@\w+)", done.stdout)
    folder = place / ".demo"
    variables = {
        "MLFLOW_DSVER_HOME": str(folder / "store"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    linked = subprocess.run(
        [sys.executable, "-c", LINKED_RUN],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    with (
        tracking_server(folder, f"sqlite:///{folder}/mlflow.db") as (address, _),
        sync_api.sync_playwright() as playwright,
    ):
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        page = browser.new_page(viewport={"width": 1500, "height": 1500})
        yield Shown(page, address, "1", runs[1], versions[0], versions[1], linked.stdout.split()[-1])
        browser.close()


def test_params_and_tags_are_on_the_run_page(shown: Shown) -> None:
    shown.open(f"runs/{shown.run_id}")
    for text in ("dsver.training.version", "dsver.training.requested", "dsver.test.version", shown.second):
        shown.sees(text)
    for text in ("dsver.training.grade", "accuracy"):
        shown.sees(text)
    shown.shot("run-page")


def test_the_dataset_drawer_shows_name_role_and_profile(shown: Shown) -> None:
    shown.open(f"runs/{shown.run_id}")
    shown.page.get_by_text(re.compile(re.escape(shown.second) + r"\s*\(")).first.click()
    drawer = shown.page.get_by_role("dialog")
    sync_api.expect(drawer).to_be_visible(timeout=20_000)
    sync_api.expect(drawer).to_contain_text(shown.second)
    sync_api.expect(drawer).to_contain_text("training")
    for line in ("provider", "grade", "186.3 KiB", "1,348", "relabelled", "content digest"):
        sync_api.expect(drawer).to_contain_text(line)
    shown.shot("dataset-drawer")


def test_the_card_is_rendered_in_the_artifact_viewer(shown: Shown) -> None:
    shown.open(f"runs/{shown.run_id}/artifacts/dsver/card.md")
    sync_api.expect(shown.page.get_by_role("heading", name="Datasets of this run")).to_be_visible(timeout=20_000)
    shown.sees("1 file changed, 1,347 unchanged")
    shown.sees(shown.first)
    shown.shot("card")


def test_the_cards_links_work(shown: Shown) -> None:
    """A version that has a page at its provider is a link to it, which opens beside MLflow."""
    shown.open(f"runs/{shown.linked}/artifacts/dsver/card.md")
    link = shown.page.get_by_role("link", name=shown.first.split("-training")[0])
    sync_api.expect(link).to_have_attribute("href", "https://example.org/digits?page=1", timeout=20_000)
    sync_api.expect(link).to_have_attribute("target", "_blank")


def test_runs_of_one_version_are_found_by_its_name(shown: Shown) -> None:
    """The reference stands in the search field of the runs' table and finds exactly the run that used it."""
    shown.open(f"runs?searchFilter=dataset.name%20%3D%20%27{shown.first.replace(':', '%3A').replace('/', '%2F')}%27")
    shown.sees("first labels")
    sync_api.expect(shown.page.get_by_text("corrected labels")).to_have_count(0)
    shown.shot("runs-of-one-version")
