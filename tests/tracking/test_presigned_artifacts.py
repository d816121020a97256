"""A server whose artifacts go to S3 by presigned addresses: the record gets there, and no such address gets out.

The S3 server is moto's; the client has no key of it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from servers import free_port, tracking_server
from tracking_proxy import Proxy

import mlflow_dsver as dsver
from mlflow_dsver.checks.verify import verify
from mlflow_dsver.tracking import async_logging

pytestmark = [
    pytest.mark.skipif(int(mlflow.__version__.partition(".")[0]) < 3, reason="MLflow 2 has no such uploads"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An `mlflow server` with its artifacts in a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    folder = tmp_path_factory.mktemp("presigned")
    moto = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    moto.start()
    endpoint = f"http://127.0.0.1:{moto._server.server_port}"
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        **{name.lower(): value for name, value in KEYS.items() if "REGION" not in name},
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket="artifacts")
    options = ("--artifacts-destination", "s3://artifacts")
    variables = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": endpoint}
    with tracking_server(folder, f"sqlite:///{folder}/mlflow.db", options=options, variables=variables) as (
        address,
        _,
    ):
        yield address
    moto.stop()


@pytest.fixture
def presigned(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every file of this client is uploaded by a presigned address; gives the addresses that were used."""
    from mlflow.store.artifact import http_artifact_repo

    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
    used: list[str] = []
    real = requests.put

    def put(url: str, **given: Any) -> Any:
        used.append(url)
        return real(url, **given)

    monkeypatch.setattr(http_artifact_repo.requests, "put", put)
    mlflow.set_tracking_uri(address)
    yield used
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


def linked(version: Any) -> str:
    mlflow.set_experiment("digits")
    with dsver.start_run(inputs={"training": str(version.ref)}) as run:
        pass
    async_logging.settle(run.info.run_id)
    return str(run.info.run_id)


def everywhere(run_id: str, caplog: pytest.LogCaptureFixture) -> str:
    """All that is said of the run: logs, params, tags, inputs, and what waits on this host."""
    run = MlflowClient().get_run(run_id)
    home = Path(os.environ["MLFLOW_DSVER_HOME"])
    files = "".join(path.read_text(errors="replace") for path in home.rglob("*.json"))
    # werkzeug is moto: the S3 server's own log
    logged = "\n".join(logging.Formatter().format(record) for record in caplog.records if record.name != "werkzeug")
    return f"{logged}\n{run.data.params}\n{run.data.tags}\n{run.inputs}\n{files}"


def test_the_record_is_written_and_read(presigned: list[str], digits: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_id = linked(digits)
    assert len(presigned) >= 3, "the JSON of the link, its manifest, the card"
    assert all("X-Amz-Signature=" in url or "Signature=" in url for url in presigned)
    (link,) = dsver.inputs_of(run_id)
    assert link.version.content_digest == digits.content_digest
    report = verify(run_id)
    assert str(report.verdict) == "MATCH"
    assert report.inputs[0].notes == ()
    told = everywhere(run_id, caplog)
    assert "Signature=" not in told
    assert KEYS["AWS_ACCESS_KEY_ID"] not in told


def test_a_server_that_sends_and_takes_no_bytes_itself(
    presigned: list[str], address: str, digits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A gateway in front refuses artifacts; their list and their presigned addresses come from the server."""
    caplog.set_level(logging.INFO)
    with Proxy(address) as proxy:
        proxy.refused = ("/mlflow-artifacts/artifacts/",)
        mlflow.set_tracking_uri(proxy.address)
        run_id = linked(digits)
        (link,) = dsver.inputs_of(run_id)
        assert link.version.created == digits.created, "known from the artifact alone"
        report = verify(run_id)
        assert (str(report.verdict), report.inputs[0].notes) == ("MATCH", ())
        told = everywhere(run_id, caplog)
        assert "Signature=" not in told
        assert any("/mlflow-artifacts/presigned/" in path for _, path in proxy.log)
        proxy.refused = (*proxy.refused, "/mlflow-artifacts/presigned/")
        caplog.clear()
        assert dsver.inputs_of(run_id)[0].version.ref == digits.ref
        assert "403" in caplog.text
    mlflow.set_tracking_uri(address)


@pytest.fixture
def refusing() -> Iterator[str]:
    """A server that refuses all uploads and repeats the address in its answer, as S3 does in parts."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<Error>no: {self.path}</Error>".encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_an_upload_that_is_refused_tells_nobody_the_address(
    presigned: list[str],
    refusing: str,
    digits: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from mlflow.store.artifact import http_artifact_repo

    used = http_artifact_repo.requests.put

    def refused(url: str, **given: Any) -> Any:
        parts = urlsplit(url)
        return used(f"{refusing}{parts.path}?{parts.query}", **given)

    monkeypatch.setattr(http_artifact_repo.requests, "put", refused)
    caplog.set_level(logging.INFO)
    run_id = linked(digits)
    assert presigned
    written = [line for line in "".join(capfd.readouterr()).splitlines() if '"PUT /artifacts/' not in line]  # moto's
    told = everywhere(run_id, caplog) + "\n".join(written)
    assert MlflowClient().get_run(run_id).data.tags["dsver.error"]
    assert "Signature=" not in told
    assert KEYS["AWS_ACCESS_KEY_ID"] not in told
    with pytest.raises(dsver.DsverError) as caught:
        dsver.attach(run_id, digits, role="test")
    assert "Signature=" not in str(caught.value)
    assert dsver.inputs_of(run_id), "params, tags and dataset inputs have the link"
