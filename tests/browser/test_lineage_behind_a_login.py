"""The lineage pages behind MLflow's own login: nobody without it, and everybody only what MLflow shows them.

With MLflow 3 on uvicorn and gunicorn, under a static prefix and with its fail-closed switch on; with MLflow
2.22 where another interpreter is named by DSVER_PYTHON_MLFLOW_2 (an environment with mlflow==2.22.*, flask-wtf,
sqlalchemy<2.1 and this package), as `make matrix` does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lineage_server import ADMIN, ARTIFACTS, CHROMIUM, browsing, login_file, seeded, serving

EVE = ("eve", "evepassword1234")
OLD_PYTHON = os.environ.get("DSVER_PYTHON_MLFLOW_2")
NO_OLD = "DSVER_PYTHON_MLFLOW_2 names no interpreter with MLflow 2.22"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Site:
    """The server's address, what is in its store, and which MLflow it is."""

    address: str
    world: dict[str, Any]

    def ask(
        self, path: str, who: tuple[str, str] | None, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, str]:
        """Status and text of an answer; a form makes it a POST."""
        request = urllib.request.Request(
            self.address + path, data=urllib.parse.urlencode(form).encode() if form is not None else None
        )
        if who is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(who).encode()).decode())
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def post(self, path: str, who: tuple[str, str], body: dict[str, Any]) -> tuple[int, str]:
        """Status and text of MLflow's answer to a JSON body."""
        return self._send("POST", path, who, json.dumps(body).encode(), "application/json")

    def put(self, path: str, who: tuple[str, str], content: bytes) -> int:
        """Status of MLflow's answer to an artifact."""
        return self._send("PUT", path, who, content, "application/octet-stream")[0]

    def admin(self, path: str, body: dict[str, str]) -> int:
        """Status of MLflow's answer to a JSON body of the admin."""
        return self.post(path, ADMIN, body)[0]

    def _send(self, method: str, path: str, who: tuple[str, str], content: bytes, kind: str) -> tuple[int, str]:
        request = urllib.request.Request(self.address + path, data=content, method=method)
        request.add_header("Content-Type", kind)
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(who).encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


SERVERS = {
    "mlflow 3": (),  # uvicorn
    "mlflow 3, gunicorn": ("--gunicorn-opts", "--log-level warning"),
    "mlflow 2.22": (),  # gunicorn
}


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    old = request.param == "mlflow 2.22"
    if old and OLD_PYTHON is None:
        pytest.skip(NO_OLD)
    python = OLD_PYTHON if old and OLD_PYTHON else sys.executable
    folder = tmp_path_factory.mktemp("login")
    world = seeded(folder, python)
    variables = {**login_file(folder), "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true"}
    options = SERVERS[request.param]
    with serving(folder, *options, python=python, prefix="" if old else "/mlf", **variables) as address:
        made = Site(address, world)
        prefix = "/api/2.0/mlflow"
        assert made.admin(f"{prefix}/users/create", {"username": EVE[0], "password": EVE[1]}) == 200
        experiment = world["experiments"]["digits"]
        asked = {"username": EVE[0], "experiment_id": experiment, "permission": "READ"}
        if made.admin(f"{prefix}/experiments/permissions/create", asked) != 200:
            asked = {
                "username": EVE[0],
                "resource_type": "experiment",
                "resource_id": experiment,
                "permission": "READ",
            }
            assert made.admin("/api/3.0/mlflow/users/permissions/grant", asked) == 200
        yield made


PATHS = (
    "/dsver",
    "/dsver/dataset?ref=local://digits",
    "/dsver/version?ref=local://digits@x",
    "/dsver/run?id=x",
    "/dsver/model?key=models:/m/1",
    "/dsver/diff?a=local://digits@a&b=local://digits@b",
    "/dsver/search?q=labels",
    "/dsver/",
    "/dsver/nothing",
)


@pytest.mark.parametrize("path", PATHS)
def test_nobody_without_a_login_gets_anything(site: Site, path: str) -> None:
    assert site.ask(path, None)[0] in (401, 404)
    assert "digits" not in site.ask(path, None)[1]
    assert site.ask(path, ("eve", "wrong password"))[0] in (401, 404)


def test_a_check_needs_a_login_too(site: Site) -> None:
    assert site.ask("/ajax-api/2.0/dsver/verify", None, {"run": site.world["runs"][1]})[0] == 401


def test_the_admin_sees_everything(site: Site) -> None:
    status, text = site.ask("/dsver", ADMIN)
    assert status == 200
    assert "salaries" in text
    assert "me/breeds/cats" in text


def test_a_visitor_sees_what_belongs_to_experiments_that_she_may_read(site: Site) -> None:
    """Also while MLflow denies every route that it does not know."""
    status, text = site.ask("/dsver", EVE)
    assert status == 200
    assert ">digits<" in text
    assert "salaries" not in text
    assert "breeds" not in text
    status, text = site.ask("/dsver/dataset?ref=local://digits", EVE)
    assert status == 200
    assert "mlp-34" in text
    assert site.ask(f"/dsver/run?id={site.world['runs'][1]}", EVE)[0] == 200


def test_what_she_may_not_read_is_not_found(site: Site) -> None:
    """The same answer as for what does not exist."""
    for path in (
        "/dsver/dataset?ref=local://salaries",
        "/dsver/version?ref=local://salaries@0123456789abcdef",
        f"/dsver/run?id={site.world['runs'][2]}",
        "/dsver/version?ref=paperspace://dst364npcw6ccok@fo5rp4m",
    ):
        assert site.ask(path, EVE)[0] == 404, path


def test_a_search_looks_at_her_versions_alone(site: Site) -> None:
    """Page by page when it takes long: each says how many versions it looked at."""
    found = searched = 0
    after: str | None = ""
    while after is not None:
        status, text = site.ask(f"/dsver/search?q=0003.pgm&after={after}", EVE)
        assert status == 200
        found += text.count('">images/0003.pgm</th>')
        told = re.search(r"found in (\d+) versions looked at", text)
        assert told is not None
        searched += int(told[1])
        more = re.search(r"after=(\d+)", text)
        after = more[1] if more else None
    assert (found, searched) == (2, 5)


def test_she_may_check_what_she_may_read_and_the_run_stays_as_it_was(site: Site) -> None:
    """A verdict is kept only by those who may change the run."""
    run = {"run": site.world["runs"][1]}
    status, text = site.ask("/ajax-api/2.0/dsver/verify", EVE, run)
    assert status == 200
    assert "Result of this check" in text
    assert "You may not change this run" in text
    assert site.ask("/ajax-api/2.0/dsver/verify", EVE, {"run": site.world["runs"][2]})[0] == 404
    status, text = site.ask("/ajax-api/2.0/dsver/verify", ADMIN, run)
    assert "You may not change this run" not in text


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}])
def test_a_check_that_another_site_asks_for_is_refused(site: Site, header: dict[str, str]) -> None:
    run = {"run": site.world["runs"][1]}
    assert site.ask("/ajax-api/2.0/dsver/verify", ADMIN, run, **header)[0] == 403
    assert site.ask("/ajax-api/2.0/dsver/verify", ADMIN, None)[0] in (404, 405), "and it is no GET"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_pages_look_the_same_there(site: Site) -> None:
    with browsing() as browser:
        login = {"username": ADMIN[0], "password": ADMIN[1]}
        page = browser.new_page(viewport={"width": 1440, "height": 900}, http_credentials=login)
        page.goto(f"{site.address}/dsver/dataset?ref=local://digits")
        assert page.get_by_role("heading", level=1).inner_text().endswith("digits")
        page.locator("svg.lineage a").nth(1).click()
        page.wait_for_url("**/dsver/version?*")
        assert "VERSION" in page.get_by_role("heading", level=1).inner_text().upper()
        ARTIFACTS.mkdir(exist_ok=True)
        kind = "mlflow-3" if site.address.endswith("/mlf") else "mlflow-2.22"
        page.screenshot(path=ARTIFACTS / f"lineage-behind-a-login-{kind}.png", full_page=True)


def test_in_a_workspace_that_she_may_not_read_she_sees_nothing(tmp_path: Path) -> None:
    """On the server with workspaces: neither its pages, nor its name in the list."""
    import mlflow

    if not hasattr(mlflow, "set_workspace"):
        pytest.skip("this MLflow has no workspaces")
    world = seeded(tmp_path)
    with serving(tmp_path, "--enable-workspaces", **login_file(tmp_path)) as address:
        made = Site(address, world)
        assert made.admin("/api/3.0/mlflow/workspaces", {"name": "team-secret"}) in (200, 201)
        assert made.admin("/api/2.0/mlflow/users/create", {"username": EVE[0], "password": EVE[1]}) == 200
        status, text = made.ask("/dsver", ADMIN)
        assert status == 200
        assert "/dsver?workspace=team-secret" in text
        assert ">digits<" in text
        assert ">digits<" not in made.ask("/dsver?workspace=team-secret", ADMIN)[1]
        for path in ("/dsver", "/dsver?workspace=team-secret", "/dsver?workspace=default"):
            status, text = made.ask(path, EVE)
            assert status in (200, 403), path
            assert "team-secret</a>" not in text
            assert ">digits<" not in text
        assert made.ask(f"/dsver/run?id={world['runs'][1]}&workspace=default", EVE)[0] in (403, 404)
        assert made.ask(f"/dsver/run?id={world['runs'][1]}&workspace=default", ADMIN)[0] == 200
        assert made.ask(f"/dsver/run?id={world['runs'][1]}&workspace=team-secret", ADMIN)[0] == 404
