"""The pages ask the application that the server runs: its middleware, and its routes of Flask and of FastAPI."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pytest
from fastapi import Request, Response
from mlflow import MlflowClient
from servers import LONG, free_port
from starlette.routing import Route

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.server.rest_client import RestClient, TooLarge, set_served
from mlflow_dsver.tracking.record_writer import PendingLink, write

REF = "local://digits@0123456789abcdef"
SEARCH = "/ajax-api/2.0/mlflow/runs/search"


@dataclass
class World:
    """MLflow's two applications on one store, and a linked run in it."""

    flask: Any
    asgi: Any
    run_id: str
    artifacts: Path

    def paths(self) -> list[str]:
        model = "/dsver/model?key=models:/digits/1"
        return [
            "/dsver",
            "/dsver/dataset?ref=local://digits",
            f"/dsver/version?ref={REF}",
            f"/dsver/run?id={self.run_id}",
            model,
        ]

    def page(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text, without what is different each time."""
        answer = self.flask.test_client().get(path, headers=headers)
        text = answer.get_data(as_text=True)
        nonce = answer.headers["Content-Security-Policy"].partition("'nonce-")[2].partition("'")[0]
        return answer.status_code, text.replace(nonce, "")

    def client(self) -> RestClient:
        with self.flask.test_request_context("/dsver"):
            from flask import request

            return RestClient(self.flask, request)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what MLflow's handlers import when they are first asked
        importlib.import_module("mlflow.server.auth")
        create = importlib.import_module("mlflow.server.fastapi_app").create_fastapi_app
    from mlflow.server import app, handlers

    from mlflow_dsver.server.routes import register_routes

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for name in ("_tracking_store", "_model_registry_store"):
        monkeypatch.setattr(handlers, name, None)
    handlers._get_tracking_store(uri, str(tmp_path / "artifacts"))
    handlers._get_model_registry_store(uri)
    if not any(rule.rule == "/dsver" for rule in app.url_map.iter_rules()):
        monkeypatch.setattr(app, "_got_first_request", False)  # another test may have asked it
        register_routes(app)
    client = MlflowClient(uri, uri)
    run = client.create_run(client.create_experiment("digits", (tmp_path / "artifacts").as_uri()))
    link = Link("training", REF, DatasetVersion(parse(REF)), Grade("A"), datetime.now(UTC))
    write(client, run.info, run, [PendingLink(link)], Deadline(LONG))
    client.create_registered_model("digits")
    client.create_model_version("digits", "source", run.info.run_id)
    monkeypatch.setitem(app.extensions, "mlflow_dsver", app)  # put back at the end
    asgi = create(app)
    set_served(app, asgi)
    yield World(app, asgi, run.info.run_id, tmp_path / "artifacts" / run.info.run_id / "artifacts")
    while mlflow.active_run():
        mlflow.end_run()


def test_the_pages_are_the_same_by_either_way(world: World) -> None:
    by_asgi = [world.page(path) for path in world.paths()]
    set_served(world.flask, world.flask)
    assert by_asgi == [world.page(path) for path in world.paths()]
    assert [status for status, _ in by_asgi] == [200] * 5
    assert all("digits" in text for _, text in by_asgi)


def test_a_route_may_move_to_fastapi(world: World) -> None:
    """Flask's own is not asked any more, and the new one gets what was asked with the user's headers."""
    asked: list[tuple[str, dict[str, Any]]] = []
    before = world.page(f"/dsver/version?ref={REF}", Authorization="Basic YTpi")
    answers: dict[bytes, bytes] = {}

    async def moved(request: Request) -> Response:
        body = await request.body()
        asked.append((request.headers["authorization"], json.loads(body)))
        if body not in answers:
            answers[body] = world.flask.test_client().post(SEARCH, json=json.loads(body)).get_data()
        return Response(answers[body], media_type="application/json")

    world.asgi.router.routes.insert(0, Route(SEARCH, moved, methods=["POST"]))
    assert world.page(f"/dsver/version?ref={REF}", Authorization="Basic YTpi") == before
    assert {login for login, _ in asked} == {"Basic YTpi"}
    assert all(body["max_results"] for _, body in asked)


def test_what_stands_in_front_of_the_application_rules_the_pages(world: World) -> None:
    """A login that is a middleware, as other plug-ins have it."""

    @world.asgi.middleware("http")
    async def guard(request: Request, call_next: Any) -> Any:
        allowed = request.headers.get("authorization") == "Bearer ann"
        return await call_next(request) if allowed else Response("who are you?", 401)

    assert world.page("/dsver", Authorization="Bearer ann")[0] == 200
    status, text = world.page("/dsver", Authorization="Bearer eve")
    assert status == 401
    assert "Your login may not read this" in text
    assert "digits" not in text


@pytest.mark.parametrize("after", [False, True], ids=["before it answers", "after it began"])
def test_a_route_that_breaks_is_a_page_too(world: World, after: bool) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if after:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b'{"runs": []', "more_body": True})
        raise RuntimeError("/srv/secret is not there")

    world.asgi.router.routes.insert(0, Route(SEARCH, broken, methods=["POST"]))
    status, text = world.page("/dsver")
    assert status == 502
    assert "/srv/secret" not in text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # MLflow's WSGI bridge closes no file
@pytest.mark.parametrize("way", ["asgi", "flask"])
def test_a_large_artifact_is_not_read_to_its_end(world: World, way: str) -> None:
    set_served(world.flask, getattr(world, way))
    world.artifacts.mkdir(parents=True, exist_ok=True)
    (world.artifacts / "small").write_bytes(b"x" * (1 << 20))
    with (world.artifacts / "large").open("wb") as file:
        file.truncate(1 << 30)
    client = world.client()
    assert client.artifact(world.run_id, "small", 1 << 20) == b"x" * (1 << 20)
    assert client.artifact(world.run_id, "none", 1 << 20) is None
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            client.artifact(world.run_id, "large", 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert client.get_run(world.run_id).info.run_id == world.run_id, "and the next call is answered"


def test_more_pages_at_once_than_the_server_has_threads(world: World) -> None:
    """Each page holds a thread of the server, of which there are 40, while it asks for more."""
    import uvicorn

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(world.asgi, port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    gate = threading.Barrier(80)

    def status(number: int) -> int:
        gate.wait(LONG)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=200)
        with closing(connection):
            connection.request("GET", world.paths()[number % 4])
            answer = connection.getresponse()
            answer.read()
            return answer.status

    try:
        while not server.started:
            time.sleep(0.01)
        with ThreadPoolExecutor(80) as pool:
            assert set(pool.map(status, range(80))) == {200}
    finally:
        server.should_exit = True
        thread.join(LONG)


def test_waitress_runs_the_pages_as_mlflow_starts_it_on_windows(tmp_path: Path) -> None:
    """`mlflow server` elsewhere writes a factory's name in a way that waitress does not take."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
    environment = {
        **kept,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_DSVER_HOME": str(tmp_path / "home"),
        "_MLFLOW_SGI_NAME": "waitress",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{tmp_path}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": str(tmp_path / "artifacts"),
    }
    command = [
        sys.executable,
        "-m",
        "waitress",
        f"--listen=127.0.0.1:{port}",
        "--call",
        "mlflow_dsver.server:create_app",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 4 * LONG
            while process.poll() is None and time.monotonic() < until:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
                    with closing(connection):
                        connection.request("GET", "/dsver")
                        answer = connection.getresponse()
                        content = answer.read()
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                raise AssertionError((tmp_path / "log").read_text()[-2000:])
            assert answer.status == 200
            assert b"Datasets" in content
        finally:
            process.kill()
            process.wait()
