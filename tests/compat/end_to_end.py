"""The life of a linked run, told in whatever environment runs this: `python end_to_end.py TRACKING_URI FOLDER`.

A plain script that needs mlflow_dsver and MLflow (mlflow-skinny will do) and nothing of the tests. It ends with code
0 and a line that names the versions, or with the assertion that failed.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path


def main(tracking_uri: str, folder: Path) -> None:
    os.environ["MLFLOW_DSVER_HOME"] = str(folder / "home")
    os.environ["MLFLOW_DSVER_CONFIG"] = str(folder / "none.toml")
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    warnings.filterwarnings("error", module="mlflow_dsver")
    warnings.filterwarnings("error", message="Failure attempting to register dataset")
    data = folder / "digits"
    data.mkdir(parents=True)
    (data / "labels.csv").write_text("file,label\n0.png,0\n")
    (data / "0.png").write_bytes(b"\x89PNG")
    os.chdir(folder)
    import mlflow

    mlflow.set_experiment(f"story {os.getpid()}")
    run_id, version = link(data)
    resume(run_id, version, data)
    attach(version)
    without_a_line(version)
    if importlib.util.find_spec("pandas"):
        source_of_a_frame(version)
    server = "a server" if tracking_uri.startswith("http") else tracking_uri.partition(":")[0]
    print(f"told with MLflow {mlflow.__version__}, Python {platform.python_version()}, {server}")


UNAWARE = """
import mlflow
with mlflow.start_run(run_name="explicit") as run:
    mlflow.log_metric("loss", 1)
    with mlflow.start_run(nested=True):
        mlflow.log_metric("loss", 2)
mlflow.log_metric("loss", 3)
client = mlflow.MlflowClient()
child = client.create_run(run.info.experiment_id, tags={"mlflow.parentRunId": run.info.run_id})
client.set_terminated(child.info.run_id)
"""


def without_a_line(version: str) -> None:
    """A script that does not know of this package; its runs: explicit, nested, implicit, of the client."""
    from mlflow import MlflowClient

    import mlflow_dsver as dsver

    environment = {**os.environ, "MLFLOW_DSVER_INPUTS": "training=local://digits@clean"}
    environment["MLFLOW_EXPERIMENT_NAME"] = f"unaware {os.getpid()}"
    environment.pop("MLFLOW_EXPERIMENT_ID", None)  # which `set_experiment` left
    done = subprocess.run([sys.executable, "-c", UNAWARE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "runs are not linked" not in done.stderr, done.stderr
    (found,) = MlflowClient().search_experiments(filter_string=f"name = 'unaware {os.getpid()}'")
    runs = MlflowClient().search_runs([found.experiment_id])
    assert len(runs) == 4
    for run in runs:
        assert run.info.status == "FINISHED"
        (link,) = dsver.inputs_of(run.info.run_id)
        assert str(link.version) == version
        assert link.version.raw, "from the artifact"


def link(data: Path) -> tuple[str, str]:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    import mlflow_dsver as dsver

    version = dsver.create_version("local://digits", data, message="first", tags=["clean"])
    with dsver.start_run(inputs={"training": "local://digits@latest", "validation": "local://digits@clean"}) as run:
        assert isinstance(run, mlflow.ActiveRun)
        assert (run.datasets["training"].path() / "labels.csv").is_file()
        assert len(run.inputs.dataset_inputs) == 2
    found = MlflowClient().get_run(run.info.run_id)
    assert found.data.params["dsver.training.version"] == str(version)
    assert found.data.params["dsver.training.requested"] == "local://digits@latest"
    assert found.data.params["dsver.validation.tags"] == "clean"
    assert found.data.params["dsver.training.usage_bytes"] == str(version.usage_bytes)
    assert found.data.params["dsver.training.content_digest"] == version.content_digest
    assert found.data.tags["dsver.schema"] == "1"
    assert found.data.tags["dsver.training.grade"] == "A"
    for each in found.inputs.dataset_inputs:
        assert each.dataset.name == str(version)
        assert each.dataset.source_type == "dataset_version"
        assert json.loads(each.dataset.profile)["files"] == "2"
        assert (Path(mlflow.data.get_source(each).load()) / "0.png").read_bytes() == b"\x89PNG"
    assert not any(key.endswith("error") for key in found.data.tags)
    training, validation = dsver.inputs_of(run.info.run_id)
    assert training.version == validation.version == version
    # not by the client: MLflow 3's asks for logged models as well, which a server of MLflow 2 does not know
    files = {each.path for each in get_artifact_repository(run.info.artifact_uri).list_artifacts("dsver")}
    assert files == {
        "dsver/card.md",
        *(f"dsver/{role}.{kind}" for role in ("training", "validation") for kind in ("json", "manifest.jsonl.gz")),
    }
    assert {use.role for use in dsver.runs_using(version)} == {"training", "validation"}
    return run.info.run_id, str(version)


def resume(run_id: str, version: str, data: Path) -> None:
    import mlflow

    import mlflow_dsver as dsver
    from mlflow_dsver.errors import InputConflict, NotFound, RunNotFound

    with dsver.start_run(run_id=run_id, inputs={"training": "local://digits@latest"}):
        pass
    (data / "labels.csv").write_text("file,label\n0.png,7\n")
    other = dsver.create_version("local://digits", data)
    refuses(lambda: dsver.start_run(run_id=run_id, inputs={"training": str(other)}), InputConflict)
    refuses(lambda: dsver.attach(run_id, other, "training"), InputConflict)
    with mlflow.start_run() as run:
        dsver.use("local://digits@latest")
        refuses(lambda: dsver.use(version), InputConflict)
    assert next(dsver.runs_using("local://digits")).run_id == run.info.run_id
    refuses(lambda: dsver.start_run(inputs={"training": "local://nothing"}), NotFound)
    refuses(lambda: dsver.inputs_of("0" * 32), RunNotFound)


def attach(version: str) -> None:
    import mlflow

    import mlflow_dsver as dsver

    with mlflow.start_run() as run:
        pass
    dsver.attach(run.info.run_id, version, "training")
    (link,) = dsver.inputs_of(run.info.run_id)
    assert str(link.version) == version
    assert str(link.grade) == "A (attached later)"


def source_of_a_frame(version: str) -> None:
    import mlflow
    import pandas

    frame = pandas.DataFrame({"label": [1.0, 2.0]})
    dataset = mlflow.data.from_pandas(frame, source=version)
    assert dataset.source.reference == version
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training")
    found = mlflow.get_run(run.info.run_id).inputs.dataset_inputs[0]
    assert (Path(mlflow.data.get_source(found).load()) / "0.png").is_file()


def refuses(call: Callable[[], object], error: type[Exception]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
