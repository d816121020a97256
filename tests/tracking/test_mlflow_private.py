"""One test for each private part of MLflow that is used; each fails, with MLflow's version, when MLflow moves it.

Needs pytest, MLflow and this package alone, so that `tests/compat/matrix.py` runs it on the oldest MLflow as well.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent

from mlflow_dsver.tracking import mlflow_private as private
from mlflow_dsver.tracking.mlflow_private import artifacts as artifacts_private
from mlflow_dsver.tracking.mlflow_private import server as server_private

pytestmark = pytest.mark.filterwarnings("ignore")  # those of MLflow's own code
MLFLOW_3 = int(mlflow.__version__.partition(".")[0]) >= 3
FRAME = Dataset("frame", "12345678", "dataset_version", json.dumps({"reference": "local://digits@1"}))


@contextmanager
def private_part(name: str) -> Iterator[None]:
    """Whatever fails in the test is told as: this version of MLflow has moved that part."""
    try:
        yield
    except Exception as error:
        pytest.fail(f"MLflow {mlflow.__version__} has moved {name}: {type(error).__name__}: {error}")


class Stub:
    """An HTTP server that gives one answer to everything; `requests` are (method, path, body)."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                stub.requests.append((self.command, self.path, self.rfile.read(length)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    made: list[Stub] = []

    def make(status: int, body: bytes = b"") -> Stub:
        made.append(Stub(status, body))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables and an empty default experiment; it takes MLflow seconds to make one."""
    folder = tmp_path_factory.mktemp("tables")
    with chdir(folder):  # where the default experiment keeps artifacts
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def database(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tracking store in a SQLite file, as MLflow's current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(tables, tmp_path / "private.db")
    uri = f"sqlite:///{tmp_path}/private.db"
    mlflow.set_tracking_uri(uri)
    yield uri
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def application(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's Flask application in this process, on that store."""
    from mlflow.server import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR, handlers

    monkeypatch.setenv(BACKEND_STORE_URI_ENV_VAR, database)
    monkeypatch.setenv(ARTIFACT_ROOT_ENV_VAR, str(tmp_path / "artifacts"))
    for name in ("_tracking_store", "_model_registry_store"):
        monkeypatch.setattr(handlers, name, None, raising=False)
    return server_private.flask_app()


def run_python(code: str, folder: Path, **environment: str) -> str:
    """What a new interpreter prints."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
    environment = {
        **known,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_DSVER_HOME": str(folder / "home"),
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


# The client's side


@private_part("mlflow.environment_variables, which bound the time-outs of a request")
def test_the_http_timeouts_of_one_block(stub: Callable[..., Stub]) -> None:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

    unavailable = stub(503)
    client = MlflowClient(tracking_uri=unavailable.address)
    with private.short_http_timeouts(7, retries=0):
        assert (MLFLOW_HTTP_REQUEST_TIMEOUT.get(), MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()) == (7, 0)
        with pytest.raises(MlflowException):
            client.get_run("0" * 32)
    assert len(unavailable.requests) == 1, "MLflow's requests read the number of retries elsewhere"


@private_part("start_run and end_run of mlflow.tracking.fluent")
def test_the_functions_by_which_runs_start_and_end(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert private.loaded_fluent() is fluent
    source = inspect.getsource(fluent)
    assert source.index("def start_run(") < source.index("def end_run(") < source.index("def _safe_end_run(")
    copy = ModuleType("copy")
    vars(copy).update(start_run=fluent.start_run, end_run=fluent.end_run)
    private.wrap_fluent(copy, {})
    started, begin = [], fluent.start_run
    monkeypatch.setattr(fluent, "start_run", lambda *args, **named: started.append(args) or begin(*args, **named))
    mlflow.log_param("implicit", 1)
    assert started, "an implicit run does not go through mlflow.tracking.fluent.start_run"


@private_part("create_run, set_terminated and update_run of TrackingServiceClient")
def test_the_methods_by_which_all_runs_are_created_and_ended(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.utils.autologging_utils.client import MlflowAutologgingQueueingClient

    owner = getattr(import_module(private.CLIENT_MODULE), private.CLIENT_CLASS)
    for name in private.CLIENT_PARAMETERS:
        monkeypatch.setattr(owner, name, getattr(owner, name))  # taken back after the test
    calls: list[tuple[str, str, dict[str, Any]]] = []

    def log_calls(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(client: Any, *arguments: Any, **named: Any) -> Any:
            by_name = private.arguments_of(original, (client, *arguments), named)
            calls.append((original.__name__, client.tracking_uri, by_name))
            return original(client, *arguments, **named)

        return call

    private.wrap_client(dict.fromkeys(private.CLIENT_PARAMETERS, log_calls))
    client, tags = MlflowClient(), {"mlflow.parentRunId": "0" * 32}
    run = client.create_run("0", tags=tags)
    client.update_run(run.info.run_id, "FINISHED")
    client.set_terminated(run.info.run_id)
    with mlflow.start_run():
        pass
    queue = MlflowAutologgingQueueingClient()
    pending = queue.create_run("0", tags=tags)
    queue.set_terminated(pending)
    queue.flush()
    assert [name for name, *_ in calls] == [
        "create_run", "update_run", "set_terminated", "create_run", "set_terminated", "create_run", "set_terminated"
    ]  # fmt: skip
    assert {uri for _, uri, _ in calls} == {database}
    assert calls[0][2]["tags"] == tags
    assert calls[1][2]["status"] == "FINISHED"
    assert calls[5][2]["tags"] == tags
    assert all(named["run_id"] for name, _, named in calls if name != "create_run")


@private_part("mlflow.utils.import_hooks.register_post_import_hook")
def test_the_hook_on_the_import_of_the_fluent_functions(tmp_path: Path) -> None:
    code = "import mlflow; print(hasattr(mlflow.start_run, '__wrapped__'), hasattr(mlflow.end_run, '__wrapped__'))"
    assert run_python(code, tmp_path, MLFLOW_DSVER_INPUTS="training=local://digits") == "True True"


@private_part("the attributes _inputs and _data of a run")
def test_the_fields_of_an_active_run(database: str) -> None:
    with mlflow.start_run() as run:
        assert run.data is vars(run)["_data"]
        private.set_inputs(run, "inputs")
        assert run.inputs == "inputs"
        assert private.state_of(run, run).keys() == vars(run).keys()


@private_part("the message of a request without an answer")
def test_the_error_of_a_server_that_is_down(stub: Callable[..., Stub]) -> None:
    closed = stub(200)
    closed.close()
    with private.short_http_timeouts(1, retries=0), pytest.raises(MlflowException) as caught:
        MlflowClient(tracking_uri=closed.address).get_run("0" * 32)
    assert private.is_unanswered(caught.value), caught.value


@private_part("the message of a lost race")
def test_the_error_of_a_row_that_is_there_already(database: str) -> None:
    from sqlalchemy import text

    store = MlflowClient()._tracking_client.store
    insert = text("INSERT INTO experiments (experiment_id, name) VALUES (0, 'Default')")
    with pytest.raises(MlflowException) as caught, store.ManagedSessionMaker() as session:
        session.execute(insert)
    assert private.is_lost_race(caught.value), caught.value


@private_part("the error of a param that is too long, or has another value")
def test_the_error_of_a_refused_value(database: str) -> None:
    client = MlflowClient()
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        client.log_batch(run_id, params=[Param("key", "value")])
        for params in ([Param("key", "other")], [Param("k" * 10_000, "value")]):
            with pytest.raises(MlflowException) as caught:
                client.log_batch(run_id, params=params)
            assert private.is_refused_value(caught.value), caught.value
            assert not private.is_lost_race(caught.value)


@private_part("the error code of a call that a server does not have")
def test_the_error_of_a_missing_endpoint(stub: Callable[..., Stub]) -> None:
    with pytest.raises(MlflowException) as caught:
        MlflowClient(tracking_uri=stub(404).address).log_inputs("0" * 32, datasets=[DatasetInput(FRAME, [])])
    assert private.is_missing_endpoint(caught.value), caught.value.error_code


@private_part("the error code of a run that is not there")
def test_the_error_of_a_missing_run(database: str) -> None:
    with pytest.raises(MlflowException) as caught:
        MlflowClient().get_run("0" * 32)
    assert private.is_missing(caught.value), caught.value.error_code


@private_part("the message of a model registry that is not supported")
def test_the_error_of_an_unsupported_registry(database: str) -> None:
    with pytest.raises(MlflowException) as caught:
        MlflowClient(registry_uri="nonsense://registry").search_model_versions()
    assert private.is_unsupported(caught.value), caught.value


@private_part("get_artifact_repository, or list_artifacts and log_artifacts of what it gives")
def test_the_artifact_repository_of_a_run(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "card.md").write_text("card")
    with mlflow.start_run() as run:
        repository = private.artifact_repository(MlflowClient(), run.info.artifact_uri)
    repository.log_artifacts(str(tmp_path / "upload"), "dsver")
    found = repository.list_artifacts("dsver")
    assert [(each.path, each.is_dir, each.file_size) for each in found] == [("dsver/card.md", False, 4)]
    monkeypatch.setattr(type(repository), "list_artifacts", None)  # a download lists nothing
    private.download_artifact(repository, "dsver/card.md", tmp_path / "card")
    assert (tmp_path / "card").read_text() == "card"


@private_part("the address of mlflow-artifacts:, or _download_file")
def test_artifacts_come_from_the_clients_server_in_one_request(
    database: str, stub: Callable[..., Stub], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where it is not the current one, and without a progress bar."""
    server = stub(200, b"card")
    client = MlflowClient(tracking_uri=server.address)
    repository = private.artifact_repository(client, "mlflow-artifacts:/0/run/artifacts")
    private.download_artifact(repository, "dsver/card.md", tmp_path / "card")
    assert (tmp_path / "card").read_bytes() == b"card"
    path = "/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/dsver/card.md"
    sent = [(method, each) for method, each, _ in server.requests if not each.endswith("/server-info")]
    assert sent == [("GET", path)], "MLflow 3 asks a server for its version as well, once"
    assert capfd.readouterr() == ("", "")


@private_part("_get_presigned_download_url, or cloud_storage_http_request")
@pytest.mark.skipif(not MLFLOW_3, reason="MLflow 2 has no presigned downloads")
def test_an_artifact_from_a_presigned_address(stub: Callable[..., Stub], database: str, tmp_path: Path) -> None:
    bucket = stub(200, b"card")
    presigned = json.dumps({"url": f"{bucket.address}/card?X-Amz-Signature=0", "headers": {}}).encode()
    server = stub(200, presigned)
    repository = private.artifact_repository(
        MlflowClient(tracking_uri=server.address), "mlflow-artifacts:/0/artifacts"
    )
    artifacts_private._download_presigned(repository, "dsver/card.md", tmp_path / "card")
    assert (tmp_path / "card").read_bytes() == b"card"
    assert server.requests[-1][1] == "/api/2.0/mlflow-artifacts/presigned/0/artifacts/dsver/card.md"


@private_part("the logger of uploads, whose messages have presigned addresses")
def test_the_log_of_uploads_is_redacted(database: str, capfd: pytest.CaptureFixture[str]) -> None:
    from mlflow.store.artifact import http_artifact_repo

    private.artifact_repository(MlflowClient(tracking_uri="http://127.0.0.1:9"), "mlflow-artifacts:/0/run/artifacts")
    assert http_artifact_repo._logger.name == artifacts_private._UPLOADS_LOGGER
    http_artifact_repo._logger.warning("no: http://127.0.0.1:9/bucket/%s?X-Amz-Signature=0123456789", "card.md")
    written = capfd.readouterr().err
    assert "card.md" in written
    assert "0123456789" not in written


@pytest.fixture
def foreign_input(database: str) -> str:
    """A run with an input that is a dataset version under a name of its own; gives its experiment."""
    with mlflow.start_run() as run:
        MlflowClient().log_inputs(run.info.run_id, [DatasetInput(FRAME, [])])
    return str(run.info.experiment_id)


@private_part("the engine of a tracking store, or its table of datasets")
def test_the_names_of_datasets_in_a_database(foreign_input: str) -> None:
    engine = private.tracking_engine(MlflowClient())
    assert engine is not None
    assert private.dataset_names(engine, "dataset_version") == [("frame", "12345678")]


@private_part("_search_datasets of a tracking store")
def test_the_summaries_of_datasets_in_a_store(foreign_input: str) -> None:
    assert private.dataset_summaries(MlflowClient(), [foreign_input]) == [("frame", "12345678")]


@private_part("http_request, or get_host_creds of a store behind HTTP")
def test_the_request_for_summaries_of_datasets(stub: Callable[..., Stub]) -> None:
    server = stub(200, b'{"dataset_summaries": [{"name": "frame", "digest": "12345678", "experiment_id": "1"}]}')
    client = MlflowClient(tracking_uri=server.address)
    assert private.tracking_engine(client) is None
    assert private.dataset_summaries(client, ["1"]) == [("frame", "12345678")]
    method, path, body = server.requests[-1]
    assert (method, path, json.loads(body)) == ("POST", private._SUMMARIES_PATH, {"experiment_ids": ["1"]})


@private_part("the context variable of the active workspace, or the header of a request")
@pytest.mark.skipif(not hasattr(mlflow, "set_workspace"), reason="this MLflow has no workspaces")
def test_the_workspace_of_one_block(stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment stays, as it is that of all threads; and the name of the header is what the pages send."""
    from mlflow.utils import rest_utils, workspace_utils

    assert workspace_utils.WORKSPACE_HEADER_NAME.lower() == server_private.WORKSPACE_HEADER.lower()
    assert workspace_utils.DEFAULT_WORKSPACE_NAME == private.DEFAULT_WORKSPACE
    monkeypatch.setenv("MLFLOW_WORKSPACE", "others")
    sent = []

    class Session:
        @staticmethod
        def answer(*_: Any, **given: Any) -> Any:
            sent.append(given["headers"].get("X-MLFLOW-WORKSPACE"))
            raise OSError

    monkeypatch.setattr(rest_utils, "_get_http_response_with_retries", Session.answer)
    host = rest_utils.MlflowHostCreds("http://127.0.0.1:9")
    for block in (private.in_workspace("mine"), private.in_workspace(None)):
        with block, pytest.raises((MlflowException, OSError)):
            rest_utils.http_request(host, "/api/2.0/mlflow/runs/get", "GET")
        assert private.active_workspace() == "others"
    with private.in_workspace("mine"):
        assert private.active_workspace() == "mine"
        assert os.environ["MLFLOW_WORKSPACE"] == "others"
    assert sent == ["mine", "others"]


@private_part("supports_workspaces of a store, or what an old server answers")
def test_a_server_without_workspaces(stub: Callable[..., Stub], database: str) -> None:
    assert private.workspace_names(MlflowClient()) is None
    assert private.workspace_names(MlflowClient(tracking_uri=stub(404).address)) is None


# A server's side


def routes(application: Any) -> set[tuple[str, str]]:
    return {(rule.rule, method) for rule in application.url_map.iter_rules() for method in rule.methods}


@private_part("a route of the server")
def test_the_routes_that_are_asked(application: Any) -> None:
    known = routes(application)
    assert (server_private.ARTIFACT_PATH, "GET") in known
    assert (private._SUMMARIES_PATH, "POST") in known
    assert (f"{server_private.ACTIONS_PREFIX}/mlflow/runs/set-tag", "POST") in known


@private_part("the switch for workspaces, or the workspace of a request")
def test_the_workspace_of_a_request(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not server_private.has_workspaces()
    if hasattr(mlflow, "set_workspace"):
        from mlflow.utils.workspace_context import ServerWorkspaceContext

        assert (server_private.WORKSPACES_PATH, "GET") in routes(application)
        monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
        assert server_private.has_workspaces()
        with ServerWorkspaceContext("team-a"):
            assert server_private.request_workspace() == "team-a"
        with ServerWorkspaceContext(None):
            assert server_private.request_workspace() is None


@private_part("the static prefix of a server")
def test_the_static_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_private.prefixed("/dsver") == "/dsver"
    monkeypatch.setenv("_MLFLOW_STATIC_PREFIX", "/mlflow")
    assert server_private.prefixed("/dsver") == "/mlflow/dsver"


@private_part("create_fastapi_app, or the variable that tells that the server is uvicorn")
def test_the_application_that_is_served(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_private.served_app(application) is application
    if MLFLOW_3:
        import mlflow.server

        assert "_MLFLOW_SGI_NAME" in inspect.getsource(mlflow.server)
        monkeypatch.setenv("_MLFLOW_SGI_NAME", "uvicorn")
        assert hasattr(server_private.served_app(application), "router")


@private_part("the table of validators of basic-auth")
def test_the_routes_that_a_login_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask_wtf")
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "secret")
    from mlflow.server import auth

    table = dict(auth.BEFORE_REQUEST_VALIDATORS)
    monkeypatch.setattr(auth, "BEFORE_REQUEST_VALIDATORS", table)
    server_private.allow_logged_in([("/dsver", "GET")])
    assert table["/dsver", "GET"]() is True
    assert {tuple(map(type, key)) for key in table} == {(str, str)}


@private_part("a REST call of the server, or how its response becomes an entity")
def test_the_responses_of_rest_calls(application: Any) -> None:
    client = MlflowClient()
    with mlflow.start_run() as run:
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
    client.create_registered_model("digits")
    client.create_model_version("digits", "source", run_id)
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "experiments/search": ("POST", {"max_results": 10}),
        "runs/search": ("POST", {"experiment_ids": [experiment_id], "max_results": 10}),
        "runs/get": ("GET", {"run_id": run_id}),
        "logged-models/search": ("POST", {"experiment_ids": [experiment_id], "max_results": 10}),
        "model-versions/search": ("GET", {"filter": "name = 'digits'", "max_results": 10}),
        "model-versions/get": ("GET", {"name": "digits", "version": "1"}),
        "registered-models/get": ("GET", {"name": "digits"}),
    }
    assert asked.keys() == server_private._RESPONSES.keys()
    found = {}
    for path, (method, body) in asked.items():
        if not server_private.has_call(path):
            continue
        given = {"query_string": body} if method == "GET" else {"json": body}
        url = f"{server_private.ACTIONS_PREFIX}/mlflow/{path}"
        response = application.test_client().open(url, method=method, **given)
        assert response.status_code == 200, (path, response.get_data(as_text=True))
        found[path] = server_private.parse_response(path, response.get_json())
    assert [each.experiment_id for each in found["experiments/search"]] == [experiment_id]
    assert [each.info.run_id for each in found["runs/search"]] == [found["runs/get"].info.run_id] == [run_id]
    assert (
        [each.run_id for each in found["model-versions/search"]] == [found["model-versions/get"].run_id] == [run_id]
    )
    assert found["registered-models/get"].name == "digits"
    assert found["runs/search"].token is None
    assert server_private.empty_page().token is None
    assert ("logged-models/search" in found) is MLFLOW_3


@private_part("the database of a server, or its tables")
def test_the_tables_of_the_database(application: Any) -> None:
    from sqlalchemy import bindparam, inspect, text

    engine = server_private.tracking_engine()
    assert engine is not None
    assert server_private.registry_engine() is not None
    for table, columns in server_private.TABLES.items():
        assert set(columns) <= {each["name"] for each in inspect(engine).get_columns(table)}, table
    queries = {name: query for name, query in vars(server_private).items() if str(query).strip()[:7] == "SELECT "}
    assert len(queries) == 12, sorted(queries)
    values = {"type": "dataset_version", "wanted": "%", "named": "%", "within": "%", "exact": "x"}
    with engine.connect() as connection:
        for name, query in queries.items():
            statement = text(server_private.sql(query, engine.dialect.name))
            given = {key: value for key, value in values.items() if f":{key}" in statement.text}
            lists = {key: ["x"] for key in ("values", "keys") if f":{key}" in statement.text}
            statement = statement.bindparams(*(bindparam(key, expanding=True) for key in lists))
            assert list(connection.execute(statement, {**given, **lists})) == [], name
