"""Digests of files that a run was given after its record was written: what is added, and when nothing may be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.record import schema
from mlflow_dsver.tracking import async_logging, clients

MANIFEST = Manifest([FileEntry("all/inputbatch_0_n2", 5, "ab" * 32)])
ARTIFACTS, LOADED = "dsver.training.artifacts", "dsver.training.loaded_digest"
LINK_SUM = schema.artifacts_text({"training.json": b"{}"})


class Client:
    """A tracking client whose run has these tags; keeps what is written."""

    def __init__(self, tags: dict[str, str]) -> None:
        self.tags, self.params = dict(tags), {}  # type: dict[str, str], dict[str, str]

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(data=SimpleNamespace(tags=dict(self.tags)), info=SimpleNamespace(artifact_uri="here"))

    def log_batch(self, run_id: str, *, params: list[Any], tags: list[Any], synchronous: bool) -> None:
        self.params |= {each.key: each.value for each in params}
        self.tags |= {each.key: each.value for each in tags}


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The artifacts that are uploaded, by name."""
    found: dict[str, bytes] = {}
    monkeypatch.setattr(clients, "put_files", lambda client, uri, folder, files: found.update(files))
    return found


def test_digest_manifest_and_its_sum_are_added(put: dict[str, bytes]) -> None:
    """No param and no grade is touched: nothing of the record says another thing than before."""
    client = Client({ARTIFACTS: LINK_SUM, "dsver.training.grade": "B"})
    async_logging.add_loaded_digests(client, "r", {"training": MANIFEST})  # type: ignore[arg-type]
    assert client.tags[LOADED] == MANIFEST.digest
    sums = schema.parse_artifacts(client.tags[ARTIFACTS]) or {}
    assert set(sums) == {"training.json", "training.manifest.jsonl.gz"} == {*put, "training.json"}
    assert (client.params, client.tags["dsver.training.grade"]) == ({}, "B")


@pytest.mark.parametrize(
    "before",
    ["", "not sums", schema.artifacts_text({"training.json": b"{}", "training.manifest.jsonl.gz": b"former"})],
    ids=["no sums", "unreadable sums", "a manifest already"],
)
def test_manifest_that_would_prove_nothing_or_replace_another_is_not_written(
    put: dict[str, bytes], before: str
) -> None:
    client = Client({ARTIFACTS: before} if before else {})
    async_logging.add_loaded_digests(client, "r", {"training": MANIFEST})  # type: ignore[arg-type]
    assert client.tags[LOADED] == MANIFEST.digest
    assert client.tags.get(ARTIFACTS, "") == before
    assert not put
