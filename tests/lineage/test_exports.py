"""Each export is judged by its standard's own library, and says what the record says."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from lineage_samples import HOSTILE, run_record

from mlflow_dsver.errors import InvalidArgument, ProviderUnavailable
from mlflow_dsver.lineage.api import Format, export
from mlflow_dsver.lineage.export import openlineage
from mlflow_dsver.model.versions import Grade

SOME_TEXTS = ["digits", *(text for text in HOSTILE if len(text) < 1000)]


@pytest.mark.parametrize("text", SOME_TEXTS, ids=lambda text: ascii(text)[:20])
@pytest.mark.parametrize("format_", list(Format))
def test_every_export_is_json_whatever_the_names_are(format_: Format, text: str) -> None:
    told = export(run_record(text), format_, role="training")
    assert json.loads(json.dumps(told)) == told


def test_a_run_without_data_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no dataset version"):
        export(replace(run_record(), links=()), "prov")


def test_croissant_wants_one_role() -> None:
    with pytest.raises(InvalidArgument, match="training, eval"):
        export(run_record(), "croissant")


def typed(facet: dict[str, Any], kind: Any) -> Any:
    """The facet as the official client's class; an unknown field fails here."""
    fields = {name: value for name, value in facet.items() if not name.startswith("_")}
    made = kind(**fields, producer=facet["_producer"])
    assert made._schemaURL.rpartition("/")[2] == facet["_schemaURL"].rpartition("/")[2], "the facet of that name"
    return made


def test_openlineage_events_are_those_of_the_official_client() -> None:
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        input_statistics_input_dataset,
        job_type_job,
        tags_dataset,
    )
    from openlineage.client.serde import Serde

    start, end = export(run_record(), "openlineage")
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"] == "00000000-0000-0000-0000-000000000000"
    made = json.loads(Serde.to_json(openlineage._typed(end)))
    assert {key: made[key] for key in ("eventType", "run", "schemaURL", "job")} == {
        key: end[key] for key in ("eventType", "run", "schemaURL", "job")
    }
    assert [(each["name"], each["facets"]) for each in made["outputs"]] == [
        (each["name"], each["facets"]) for each in end["outputs"]
    ]
    training, evaluation = end["inputs"]
    assert (training["namespace"], training["name"]) == ("local://", "digits")
    version = typed(training["facets"]["version"], dataset_version_dataset.DatasetVersionDatasetFacet)
    assert version.datasetVersion == "v1"
    statistics = typed(
        training["inputFacets"]["inputStatistics"], input_statistics_input_dataset.InputStatisticsInputDatasetFacet
    )
    assert (statistics.size, statistics.fileCount) == (12, 2)
    typed(end["job"]["facets"]["jobType"], job_type_job.JobTypeJobFacet)
    tags = training["facets"]["tags"]
    typed(
        {**tags, "tags": [tags_dataset.TagsDatasetFacetFields(**tag) for tag in tags["tags"]]},
        tags_dataset.TagsDatasetFacet,
    )
    assert evaluation["inputFacets"] == {}, "a size that nobody stated is left out"


def test_openlineage_events_reach_an_endpoint() -> None:
    """The official client sends both events, as they are."""
    taken: list[dict[str, Any]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert openlineage.send(run_record(), f"http://127.0.0.1:{server.server_port}") == 2
    finally:
        server.shutdown()
        server.server_close()
    assert [event["eventType"] for event in taken] == ["START", "COMPLETE"]
    assert taken[1]["inputs"][0]["facets"]["version"]["datasetVersion"] == "v1"


def test_an_endpoint_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(ProviderUnavailable, match="did not take the events"):
        openlineage.send(run_record(), "http://127.0.0.1:9")


_JUDGE = """
import json, logging, sys, warnings
warnings.simplefilter("ignore")
import mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
print(json.dumps({"errors": sorted(dataset.metadata.ctx.issues.errors),
                  "files": [each.name for each in dataset.metadata.distribution], "version": dataset.metadata.version,
                  "live": bool(dataset.metadata.ctx.is_live_dataset)}))
"""


def judged(document: Any, folder: Path) -> dict[str, Any]:
    """What mlcroissant makes of a document, in a process of its own: importing it takes seconds and warns."""
    path = folder / "croissant.json"
    path.write_text(json.dumps(document))
    done = subprocess.run([sys.executable, "-c", _JUDGE, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_croissant_is_accepted_by_mlcroissant(tmp_path: Path) -> None:
    """Without and with sha256 of the files; a version that may change is live."""
    record = run_record()
    found = judged(export(record, "croissant", role="training"), tmp_path)
    assert (found["errors"], found["version"], found["live"]) == ([], "v1", False)
    assert sorted(found["files"]) == ["digits.csv", "images/a.png", "manifest"]
    hashes = {"training": {"digits.csv": "a" * 64, "images/a.png": "b" * 64}}
    hashed = export(replace(record, sha256=hashes), "croissant", role="training")
    assert [each.get("sha256", "")[:1] for each in hashed["distribution"]] == ["f", "a", "b"]
    assert judged(hashed, tmp_path)["errors"] == []
    live = export(record, "croissant", role="eval")
    assert live["isLiveDataset"] is True
    assert judged(live, tmp_path)["live"] is True


def test_each_file_has_its_blake3_in_croissant() -> None:
    told = export(run_record(), "croissant", role="training")
    assert [each["dsver:blake3"] for each in told["distribution"][1:]] == ["1" * 64, "0" * 64]
    assert "isLiveDataset" not in told


def test_ro_crate_is_read_by_the_official_library(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from rocrate.rocrate import ROCrate

    (tmp_path / "ro-crate-metadata.json").write_text(json.dumps(export(run_record(), "ro-crate")))
    with caplog.at_level(logging.WARNING):
        crate = ROCrate(str(tmp_path))
    (action,) = crate.get_by_type("CreateAction")
    assert [each.id.rstrip("/") for each in action["object"]] == [
        "local://digits@v1",
        "paperspace://dst364npcw6ccok@fo5rp4m",
    ]
    assert [each["name"] for each in action["result"]] == ["classifier", "model"]
    assert action["instrument"]["softwareVersion"].startswith("c0ffee")
    assert action["agent"]["name"] == "ann"
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    data = action["object"][0]
    assert data["contentSize"] == "12"
    assert data["additionalProperty"][0]["value"].startswith("blake3:")
    assert crate.root_dataset["mentions"]["name"] == "run-0"


def test_prov_is_read_by_the_official_library() -> None:
    from prov.model import ProvActivity, ProvAssociation, ProvDerivation, ProvDocument, ProvGeneration, ProvUsage

    document = ProvDocument.deserialize(content=json.dumps(export(run_record(), "prov")), format="json")
    (activity,) = document.get_records(ProvActivity)
    assert activity.get_startTime().isoformat() == "2026-01-02T03:04:00+00:00"
    usages = list(document.get_records(ProvUsage))
    assert len(usages) == 2
    roles = {str(value) for usage in usages for name, value in usage.attributes if str(name) == "prov:role"}
    assert roles == {"training", "eval"}
    assert len(list(document.get_records(ProvGeneration))) == 2
    assert len(list(document.get_records(ProvDerivation))) == 4
    assert len(list(document.get_records(ProvAssociation))) == 1


def test_grade_d_alone_makes_a_croissant_live() -> None:
    record = run_record()
    for letter in "ABC":
        link = replace(record.links[0], grade=Grade(letter))
        assert "isLiveDataset" not in export(replace(record, links=(link,)), "croissant")
