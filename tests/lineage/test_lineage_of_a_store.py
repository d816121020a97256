"""Lineage read out of a real tracking store: runs in pages, models by their data, the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput

import mlflow_dsver as dsver
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.lineage.api import record_of, report_of
from mlflow_dsver.model.refs import parse
from mlflow_dsver.record.facts import Filter
from mlflow_dsver.tracking import run_search
from mlflow_dsver.tracking.lineage_queries import experiments, run_in, runs_of, runs_page
from mlflow_dsver.tracking.registered_models import DATASETS_TAG, models_using, register_model, tag_model
from mlflow_dsver.tracking.run_search import LINKED
from mlflow_dsver.tracking.source import DatasetVersionSource


@pytest.fixture
def linked(tracking: Any, digits_folder: Path) -> dict[str, Any]:
    """Two versions; three runs: one with the first, one with both, one with none."""
    first = dsver.create_version("local://digits", digits_folder, tags=["raw"])
    (digits_folder / "labels.csv").write_text("other\n")
    second = dsver.create_version("local://digits", digits_folder)
    runs = []
    for inputs in ({"training": first}, {"training": second, "validation": first}, {}):
        with mlflow.start_run(run_name=f"run-{len(runs)}") as run:
            for role, version in inputs.items():
                dsver.use(version, role=role)
            runs.append(run.info.run_id)
    return {"first": first, "second": second, "runs": runs, "experiment": tracking.experiment_id}


def test_the_runs_of_a_version_come_newest_first_with_that_use_alone(linked: dict[str, Any]) -> None:
    client = MlflowClient()
    found, token = runs_of(client, experiments(client), linked["first"].ref)
    assert token is None
    assert [run.run_id for run in found] == [linked["runs"][1], linked["runs"][0]]
    assert [[use.role for use in run.uses] for run in found] == [["validation"], ["training"]]
    assert found[0].uses[0].grade == "A"
    assert found[0].uses[0].tags == ("raw",)
    assert found[0].uses[0].created is not None


def test_the_runs_of_a_dataset_are_those_of_all_its_versions(linked: dict[str, Any]) -> None:
    client = MlflowClient()
    found, _ = runs_of(client, experiments(client), parse("local://digits"))
    assert {run.run_id: len(run.uses) for run in found} == {linked["runs"][0]: 1, linked["runs"][1]: 2}
    assert runs_of(client, experiments(client), parse("local://digit_"))[0] == (), "no wildcard means a name"


def test_pages_follow_each_other_without_gap_or_double(linked: dict[str, Any]) -> None:
    client = MlflowClient()
    names = experiments(client)
    seen, token = [], None
    while True:
        page, token = runs_page(client, names, LINKED, token=token, size=1)
        seen += [run.run_id for run in page]
        if token is None:
            break
    assert seen == [linked["runs"][1], linked["runs"][0]]


def test_a_filter_reaches_mlflow_and_what_it_cannot_say_is_filtered_here(linked: dict[str, Any]) -> None:
    client = MlflowClient()
    names = experiments(client)
    client.set_tag(linked["runs"][0], "dsver.verdict", "CHANGED 2026-01-02T03:04:05Z (full)")
    found, _ = runs_page(client, names, LINKED, Filter(verdict="CHANGED"))
    assert [(run.run_id, run.verdict) for run in found] == [(linked["runs"][0], "CHANGED")]
    assert f"{found[0].checked:%Y-%m-%d %H:%M}" == "2026-01-02 03:04"
    assert [r.run_id for r in runs_page(client, names, LINKED, Filter(verdict="none"))[0]] == [linked["runs"][1]]
    assert [r.run_id for r in runs_page(client, names, LINKED, Filter(role="validation"))[0]] == [linked["runs"][1]]
    assert runs_page(client, names, LINKED, Filter(experiment="no such")) == ((), None)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "", "\n", "<b>MATCH</b>", "\u202eMATCH"])
def test_a_verdict_that_no_check_wrote_is_no_verdict(linked: dict[str, Any], text: str) -> None:
    run = MlflowClient().get_run(linked["runs"][0])
    run.data.tags["dsver.verdict"] = text
    assert len(run_in(run, {}).verdict or "") <= 20


def register(run_id: str, name: str = "classifier") -> str:
    client = MlflowClient()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    return str(client.create_model_version(name, f"runs:/{run_id}/model", run_id).version)


def test_models_are_found_through_the_run_that_made_them(linked: dict[str, Any]) -> None:
    version = register(linked["runs"][1])
    found = list(models_using(linked["first"]))
    assert [(use.model.key, use.run_id, use.roles) for use in found] == [
        (f"models:/classifier/{version}", linked["runs"][1], ("validation",))
    ]
    assert next(models_using("local://digits@latest")).roles == ("training",)


def test_a_model_is_tagged_with_its_data(linked: dict[str, Any]) -> None:
    version = register(linked["runs"][1])
    tags = tag_model("classifier", version)
    client = MlflowClient()
    assert client.get_model_version("classifier", version).tags == tags
    assert tags["dsver.training.version"] == str(linked["second"])
    assert tags["dsver.validation.grade"] == "A"
    named = client.get_registered_model("classifier").tags[DATASETS_TAG].split()
    assert set(named) == {str(linked["first"]), str(linked["second"])}
    assert tag_model("classifier", register(linked["runs"][2])) == {}, "a run without data leaves no tag"


def test_a_model_whose_run_is_gone_is_found_by_its_tags(linked: dict[str, Any]) -> None:
    tag_model("classifier", register(linked["runs"][0]))
    MlflowClient().delete_run(linked["runs"][0])
    assert [use.model.name for use in models_using(linked["first"])] == ["classifier"]


@pytest.mark.parametrize("is_tagged", [True, False])
def test_a_model_whose_run_is_gone_is_found_whatever_its_role_and_so_is_its_copy(
    linked: dict[str, Any], is_tagged: bool, capsys: Any
) -> None:
    """By its tags, else by its deleted run: from the version, in the report, and by a file."""
    client = MlflowClient()
    with dsver.start_run(inputs={"train": linked["first"]}) as run:
        pass
    version = register(run.info.run_id)
    if is_tagged:
        tag_model("classifier", version)
    copied = client.copy_model_version(f"models:/classifier/{version}", "shipped")
    later = client.create_model_version("shipped", f"models:/classifier/{version}")
    client.delete_run(run.info.run_id)
    keys = {f"models:/classifier/{version}", *(f"models:/shipped/{each.version}" for each in (copied, later))}
    assert {use.model.key for use in models_using(linked["first"])} == keys
    assert {use.roles for use in models_using(str(linked["first"]))} == {("train",)}
    assert {each.model.key for each in report_of().orphans} == keys
    capsys.readouterr()
    assert command(["contains", "digits/0/0.txt", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each for found in told["found"] for each in found["models_without_run"]} == {
        f"classifier version {version}",
        "shipped version 1",
        "shipped version 2",
    }


def test_models_are_found_beyond_the_first_page(linked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_search, "PAGE_SIZE", 2)
    made = {f"models:/classifier/{register(linked['runs'][0])}" for _ in range(5)}
    (run,) = [run for run in report_of().runs if run.run_id == linked["runs"][0]]
    assert {model.key for model in run.models} == made
    assert not report_of().orphans, "their run is there"


def test_runs_that_mlflow_linked_in_its_own_way_are_in_the_report_and_found_by_a_file(
    linked: dict[str, Any], capsys: Any
) -> None:
    source = json.dumps(DatasetVersionSource.of(linked["first"]).to_dict())
    MlflowClient().log_inputs(
        linked["runs"][2], [DatasetInput(Dataset("frame", "d1", "dataset_version", source), [])]
    )
    (run,) = [run for run in report_of().runs if run.run_id == linked["runs"][2]]
    assert [(use.role, use.version) for use in run.uses] == [("unknown", linked["first"].ref)]
    made = register(linked["runs"][2])
    assert f"models:/classifier/{made}" in [use.model.key for use in models_using(linked["first"])]
    capsys.readouterr()
    assert command(["contains", "digits/0/0.txt", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {use["run_id"] for found in told["found"] for use in found["runs"]} == set(linked["runs"])
    assert command(["verify", linked["runs"][2]]) == 0
    assert capsys.readouterr().out.startswith("MATCH"), "its content digest is on the run, and is compared"


def test_what_runs_of_another_tracking_server_did_is_not_told(
    linked: dict[str, Any], capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index serves several servers, and each is asked about itself."""
    assert command(["contains", "digits/0/0.txt", "--json"]) == 0
    capsys.readouterr()
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "other.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/other.db")
    for run_id in linked["runs"]:
        MlflowClient().delete_run(run_id)
    assert command(["contains", "digits/0/0.txt", "--json"]) == 0
    (found, *others) = json.loads(capsys.readouterr().out)["found"]
    assert [each["runs"] for each in (found, *others)] == [[]] * (1 + len(others))
    assert str(linked["first"]) in found["versions"], "the local store has it, whoever used it"


@pytest.mark.filterwarnings("ignore")  # importing mlflow.pyfunc warns, and so does logging a model
def test_register_model_registers_and_tags(linked: dict[str, Any], tmp_path: Path) -> None:
    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: list[str]) -> list[str]:
            return model_input

    with mlflow.start_run(run_id=linked["runs"][1]):
        info = mlflow.pyfunc.log_model(name="model", python_model=Echo(), pip_requirements=[])
    made = register_model(info.model_uri, "echo")
    assert made.name == "echo"
    tags = MlflowClient().get_model_version("echo", made.version).tags
    assert tags["dsver.training.version"] == str(linked["second"])
    keys = [use.model.key for use in models_using(linked["second"])]
    assert keys == ["models:/echo/1"], "registered and logged, and told once"


def test_a_logged_model_is_found_without_being_registered(linked: dict[str, Any]) -> None:
    client = MlflowClient()
    made = client.create_logged_model(linked["experiment"], name="net", source_run_id=linked["runs"][0])
    assert [use.model.key for use in models_using(linked["first"])] == [f"models:/{made.model_id}"]


def test_the_record_of_a_run_is_of_one_reading(linked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its parts could be of different moments."""
    read: list[str] = []
    real = MlflowClient.get_run
    monkeypatch.setattr(MlflowClient, "get_run", lambda self, run_id: read.append(run_id) or real(self, run_id))
    assert len(record_of(linked["runs"][1]).links) == 2
    assert read == [linked["runs"][1]]


def test_a_report_says_when_there_are_more_runs_than_it_has(linked: dict[str, Any]) -> None:
    assert (len(report_of(limit=1).runs), report_of(limit=1).subtitle.endswith("the newest of more")) == (1, True)
    assert "newest" not in report_of(limit=2).subtitle


def test_the_record_of_a_run_has_its_manifests(linked: dict[str, Any]) -> None:
    record = record_of(linked["runs"][1], sha256=True)
    assert [link.role for link in record.links] == ["training", "validation"]
    manifest, sha256 = record.manifests["training"]
    assert manifest.digest == linked["second"].content_digest
    assert len(sha256) == 64
    assert set(record.sha256["training"]) == {entry.path for entry in manifest.entries}


def test_a_report_names_the_experiments_it_was_asked_for(linked: dict[str, Any]) -> None:
    told = report_of([linked["experiment"]])
    assert len(told.runs) == 2
    assert told.subtitle == "2 runs with 2 dataset versions"
    with pytest.raises(dsver.DsverError, match="no such experiment"):
        report_of(["nowhere"])


def test_the_command_lineage_writes_every_format(linked: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    files = [tmp_path / name for name in ("l.html", "l.md", "l.svg", "l.json")]
    options = [f"--{option}={file}" for option, file in zip(("html", "markdown", "svg", "json"), files, strict=True)]
    assert command(["lineage", "--experiment", linked["experiment"], *options]) == 0
    html, markdown, svg, told = (file.read_text() for file in files)
    assert str(linked["first"]) in markdown
    assert svg.startswith("<svg")
    assert "<table>" in html
    assert len(json.loads(told)["runs"]) == 2
    assert command(["lineage"]) == 0
    assert "# Data lineage" in capsys.readouterr().out
    assert command(["lineage", "--experiment", "nowhere"]) == 2
    assert command(["lineage", "--html", str(tmp_path / "no" / "such" / "x.html")]) == 3


def test_the_command_export_writes_a_standard(linked: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    run = linked["runs"][1]
    assert command(["export", run, "--format", "prov"]) == 0
    assert "used" in json.loads(capsys.readouterr().out)
    assert command(["export", run, "--format", "openlineage"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]
    assert command(["export", run, "--format", "croissant"]) == 2
    assert "training, validation" in capsys.readouterr().err
    file = tmp_path / "c.json"
    assert command(["export", run, "--format", "croissant", "--role", "training", "--sha256", "-o", str(file)]) == 0
    assert all("sha256" in each for each in json.loads(file.read_text())["distribution"])
    assert command(["export", linked["runs"][2], "--format", "prov"]) == 2
    assert command(["export", "nobody", "--format", "prov"]) == 2


def test_a_statement_is_signed_and_checked_against_the_run(
    linked: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    key, file, run = tmp_path / "key.pem", tmp_path / "run.dsse.json", linked["runs"][0]
    assert command(["statement", "key", str(key)]) == 0
    assert command(["statement", "sign", run, "--key", str(key), "-o", str(file)]) == 0
    check = ["statement", "verify", run, str(file), "--key", f"{key}.pub"]
    assert command(check) == 0
    assert "the signature is good" in capsys.readouterr().out
    MlflowClient().set_tag(run, "dsver.training.grade", "D")
    assert command(check) == 1
    assert "grade was A and is D" in capsys.readouterr().out
    assert command(["statement", "verify", linked["runs"][1], str(file), "--key", f"{key}.pub"]) == 1
    assert command(["statement", "verify", run, str(tmp_path / "nothing"), "--key", f"{key}.pub"]) == 2


def test_open_prints_the_address_of_the_runs_page(linked: dict[str, Any], capsys: Any) -> None:
    assert command(["open", linked["runs"][0], "--print"]) == 2, "a file of runs has no page"
    assert "no address of a server" in capsys.readouterr().err


def test_open_knows_the_page_on_a_server(server: Any, capsys: Any) -> None:
    with mlflow.start_run() as run:
        pass
    capsys.readouterr()
    assert command(["open", run.info.run_id, "--print"]) == 0
    address = f"{server.uri}/#/experiments/{server.experiment_id}/runs/{run.info.run_id}"
    assert capsys.readouterr().out.strip() == address
