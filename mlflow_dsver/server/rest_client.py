"""A client of MLflow's REST interface that calls it inside the process with the headers of the user's request.

Logins, permissions and workspaces in front of MLflow's routes apply to these requests too, on every version of
MLflow, so no access rule is repeated here. An instance lives as long as one request. How much of a run's artifacts a
page reads is bounded here as well: whoever may edit one run can put anything there, such as a manifest of 0.7 MB that
unpacks to 200 MiB. A page that meets more than it reads says so and names the command without such bounds; it never
shows a part as the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from typing import Any

from mlflow.exceptions import MlflowException, RestException

from mlflow_dsver.checks.manifest_stream import ManifestStream
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.manifests import InvalidManifest, ManifestLimits, ManifestTooLarge
from mlflow_dsver.tracking.mlflow_private import server as private

_OWN = {"host", "content-length", "content-type", "transfer-encoding", "origin", "referer", "connection"}
"""Headers of the user's request that are not copied to ours: what describes its body, and where it came from."""


LISTING = ManifestLimits(compressed=32 << 20, unpacked=128 << 20, files=1_000_000)
"""Limits for pages that read manifests line by line."""
CHECKING = ManifestLimits(compressed=16 << 20, unpacked=32 << 20, files=200_000)
"""Limits for the check button, which holds entries in memory."""
LINK = 1 << 20
"""Bytes of the JSON of one link; responses of providers take a few kilobytes."""


class TooLarge(ValueError):
    """An artifact is larger than a page reads; the text names it."""


def limits_until(limits: ManifestLimits, deadline: Deadline) -> ManifestLimits:
    """The limits with no more time than is left."""
    return replace(limits, seconds=deadline.left())


def fits(content: bytes, limits: ManifestLimits) -> bool:
    """Whether a manifest stays within the limits; True for a damaged one: the later reader reports what is wrong."""
    try:
        for _ in ManifestStream(BytesIO(content), limits):
            pass
    except ManifestTooLarge:
        return False
    except InvalidManifest:
        pass
    return True


class RestClient:
    """A `lineage_queries.Reader` for one user of MLflow's Flask application."""

    def __init__(self, app: Any, request: Any) -> None:
        self._client = app.test_client(use_cookies=False)
        self._base = request.host_url
        self._headers = [(name, value) for name, value in request.headers if name.lower() not in _OWN]
        self._environ = {
            name: request.environ[name] for name in ("REMOTE_ADDR", "REMOTE_USER") if name in request.environ
        }

    @cached_property
    def experiments(self) -> dict[str, str]:
        """Id to name of all active experiments that the user may read."""
        from mlflow_dsver.tracking.lineage_queries import experiments

        return experiments(self)

    def search_experiments(self, *, max_results: int, page_token: str | None = None) -> Any:
        """A page of the active experiments that the user may read."""
        body = {"max_results": max_results, "page_token": page_token, "view_type": "ACTIVE_ONLY"}
        return self._call("POST", "experiments/search", body)

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        *,
        max_results: int,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """A page of the active runs; only of experiments that the user may read."""
        readable = [each for each in experiment_ids if each in self.experiments]
        body = {
            "experiment_ids": readable,
            "filter": filter_string,
            "run_view_type": "ACTIVE_ONLY",
            "max_results": max_results,
            "order_by": order_by or [],
            "page_token": page_token,
        }
        if not readable:
            return private.empty_page()
        return self._call("POST", "runs/search", body)

    def check_may_read_runs(self) -> None:
        """Raise RestException for a user who may read experiments but not their runs, which MLflow 3 can be
        configured to.

        For pages that query the database directly, which has permissions for experiments only.
        """
        self.search_runs(list(self.experiments), max_results=1)

    def get_run(self, run_id: str) -> Any:
        """A run of an experiment that the user may read; MlflowException for any other."""
        run = self._call("GET", "runs/get", {"run_id": run_id})
        if str(run.info.experiment_id) not in self.experiments:
            raise MlflowException("no such run")
        return run

    def search_model_versions(self, filter_string: str, *, max_results: int, page_token: str | None = None) -> Any:
        """A page of the versions of registered models that the user may read."""
        body = {"filter": filter_string, "max_results": max_results, "page_token": page_token}
        return self._call("GET", "model-versions/search", body)

    def get_model_version(self, name: str, version: str) -> Any:
        """One version of a registered model."""
        body = {"name": name, "version": version}
        return self._call("GET", "model-versions/get", body)

    def get_registered_model(self, name: str) -> Any:
        """A registered model, with its aliases."""
        return self._call("GET", "registered-models/get", {"name": name})

    def search_logged_models(
        self, experiment_ids: list[str], filter_string: str, *, max_results: int, page_token: str | None = None
    ) -> Any:
        """A page of the logged models of experiments that the user may read; none on MLflow 2."""
        if not private.has_call("logged-models/search"):
            return private.empty_page()
        body = {
            "experiment_ids": experiment_ids,
            "filter": filter_string,
            "max_results": max_results,
            "page_token": page_token,
        }
        return self._call("POST", "logged-models/search", body)

    def artifact(self, run_id: str, path: str, limit: int) -> bytes | None:
        """An artifact of a run; None when it is not there. Raises TooLarge for more than `limit` bytes.

        The caller must have read the run with this client: MLflow 2.22 serves artifacts of any run.
        """
        response = self._send("GET", private.ARTIFACT_PATH, {"path": path, "run_uuid": run_id})
        try:
            if response.status_code != 200:
                return None
            content = bytearray()
            for part in response.iter_encoded():
                content += part
                if len(content) > limit:
                    raise TooLarge(f"{path} has more than {limit:,} bytes")
            return bytes(content)
        finally:
            response.close()

    def set_tag(self, run_id: str, key: str, value: str) -> bool:
        """Set a tag on a run with the user's login; False without permission."""
        body = {"run_id": run_id, "key": key, "value": value}
        return bool(self._send("POST", f"{private.ACTIONS_PREFIX}/mlflow/runs/set-tag", body).status_code == 200)

    def _call(self, method: str, path: str, body: Mapping[str, object]) -> Any:
        """The entity, or the page of entities, in the response of MLflow's call. Raises MlflowException."""
        given = {name: value for name, value in body.items() if value is not None}
        response = self._send(method, f"{private.ACTIONS_PREFIX}/mlflow/{path}", given)
        content = response.get_json(silent=True)
        if response.status_code != 200 or not isinstance(content, dict):
            error_fields = content if isinstance(content, dict) else {}
            raise (
                RestException({"error_code": error_fields.get("error_code", "INTERNAL_ERROR"), **error_fields})
                if error_fields
                else (MlflowException(f"MLflow answered {response.status_code}"))
            )
        return private.parse_response(path, content)

    def _send(self, method: str, path: str, body: Mapping[str, object]) -> Any:
        given = {"query_string": dict(body)} if method == "GET" else {"json": dict(body)}
        return self._client.open(
            private.prefixed(path),
            method=method,
            base_url=self._base,
            headers=self._headers,
            environ_overrides=self._environ,
            **given,
        )
