"""A tracking store with a history worth looking at: three providers, some dozen runs, models, and hostile names.

Made by the package's own record writer against a SQLite file, so that a server started on it shows what users see.
The local versions are real; those of the other providers are values such as their providers give, without asking.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlflow import MlflowClient

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.tracking.record_writer import PendingLink, write

START = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)
HOSTILE_NAME = "<img src=x onerror=document.title='owned'>\"'&"
HOSTILE_FILE = "<script>document.title='owned'</script>\u202egpj.exe"


@dataclass(frozen=True)
class World:
    """What the tests want to know about the store. digits: the local versions, oldest first."""

    uri: str
    folder: Path
    experiments: dict[str, str]
    digits: list[DatasetVersion]
    hostile: DatasetVersion
    hostile_run: str
    runs: list[str]


def seed(folder: Path, uri: str, runs: int = 36) -> World:
    """Fill the empty tracking database at `uri`; MLFLOW_DSVER_HOME is where the local store goes."""
    client = MlflowClient(uri, uri)
    names = ("digits", "cat breeds", "private")
    experiments = {
        name: client.create_experiment(name, (folder / "artifacts" / str(index)).as_uri())
        for index, name in enumerate(names)
    }
    digits = _digits(folder)
    hostile = _hostile(folder)
    vendors = _vendors()
    made = []
    draw = random.Random(7)
    for index in range(runs):
        age = digits[min(len(digits) - 1, index * len(digits) // runs)]
        started = START + timedelta(hours=37 * index)
        if index % 3 < 2:
            inputs = {"training": (age, "local://digits@latest")}
            if index % 4 == 1:
                inputs["validation"] = (digits[0], "local://digits@raw")
            run_id = _run(client, experiments["digits"], f"mlp-{index:02d}", started, inputs)
            client.log_metric(run_id, "accuracy", 0.9 + draw.random() / 12)
            verdict = "CHANGED" if index == 24 else "MATCH"
            client.set_tag(
                run_id, "dsver.verdict", f"{verdict} {started + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ} (full)"
            )
            if index % 5 == 0:
                _register(client, "digits-classifier", run_id)
        else:
            version = vendors[index % len(vendors)]
            inputs = {"training": (version, str(version.ref.at("latest"))), "eval": (vendors[0], str(vendors[0].ref))}
            run_id = _run(client, experiments["cat breeds"], f"resnet-{index:02d}", started, inputs)
            if index % 2 == 0:
                _register(client, "cat-breeds", run_id)
        made.append(run_id)
    secret = DatasetVersion(parse("local://salaries@0123456789abcdef"), usage_bytes=1000)
    _run(client, experiments["private"], "secret-run", START, {"training": (secret, str(secret.ref))})
    hostile_run = _run(client, experiments["digits"], HOSTILE_NAME, START, {"training": (hostile, str(hostile.ref))})
    client.set_tag(hostile_run, "mlflow.user", "\u202e<b>evil</b>\n" * 50)
    return World(uri, folder, experiments, digits, hostile, hostile_run, made)


def _run(
    client: MlflowClient, experiment: str, name: str, started: datetime, inputs: dict[str, tuple[DatasetVersion, str]]
) -> str:
    milliseconds = int(started.timestamp() * 1000)
    commit = hashlib.sha1(name.encode()).hexdigest()
    tags = {"mlflow.user": "ann" if len(name) % 2 else "bo", "mlflow.source.git.commit": commit}
    run = client.create_run(experiment, start_time=milliseconds, run_name=name, tags=tags)
    wanted = []
    for role, (version, requested) in inputs.items():
        local = version.ref.provider == "local" and version.content_digest is not None
        grade = Grade("A" if local else "B" if version.immutable else "D")
        manifest = get_provider("local").manifest(version) if local else None
        wanted.append(PendingLink(Link(role, requested, version, grade, started), manifest))
    write(client, run.info, run, wanted, Deadline(120))
    client.set_terminated(run.info.run_id, end_time=milliseconds + 900_000)
    return str(run.info.run_id)


def _register(client: MlflowClient, name: str, run_id: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    client.create_model_version(name, source=f"runs:/{run_id}/model", run_id=run_id)


def _digits(folder: Path) -> list[DatasetVersion]:
    """Four versions of one dataset, each a small change of the one before."""
    source = folder / "digits"
    (source / "images").mkdir(parents=True)
    for index in range(40):
        (source / "images" / f"{index:04d}.pgm").write_text(f"P2 8 8 16 {index}\n" * 9)
    (source / "labels.csv").write_text("".join(f"{index:04d},{index % 10}\n" for index in range(40)))
    provider = get_provider("local")
    versions = [provider.create("digits", source, message="as downloaded", tags=("raw",))]
    (source / "labels.csv").write_text("".join(f"{index:04d},{(index + 1) % 10}\n" for index in range(40)))
    versions.append(provider.create("digits", source, message="relabelled 7s"))
    for index in range(40, 46):
        (source / "images" / f"{index:04d}.pgm").write_text(f"P2 8 8 16 {index}\n" * 9)
    (source / "images" / "0003.pgm").unlink()
    (source / "images" / "0004.pgm").rename(source / "images" / "four.pgm")
    versions.append(provider.create("digits", source, message="six more", tags=("clean",)))
    (source / "LICENSE").write_text("CC0\n")
    versions.append(provider.create("digits", source, message="with its licence", tags=("reviewed", "release")))
    return versions


def _hostile(folder: Path) -> DatasetVersion:
    source = folder / "hostile"
    source.mkdir()
    (source / HOSTILE_FILE.replace("/", "_")).write_text("x")
    name = "<svg onload=document.title='owned'>\"'`|[a](javascript:alert(1))"
    return get_provider("local").create(name, source, tags=("<b>bold<",), message="javascript:alert(1)")


def _vendors() -> list[DatasetVersion]:
    def version(text: str, **fields: object) -> DatasetVersion:
        ref: DatasetRef = parse(text)
        return DatasetVersion(ref, immutable=True, created=START, **fields)  # type: ignore[arg-type]

    page = "https://clarifai.com/me/breeds/datasets/cats"
    return [
        version("paperspace://dst364npcw6ccok@fo5rp4m", usage_bytes=2_311_000_000, tags=("gold",)),
        version("paperspace://dst364npcw6ccok@k2x9d1q", usage_bytes=2_377_500_000),
        version(
            "clarifai://me/breeds/cats@9c1b2a3d4e", counts={"inputs_count": 1200}, web_url=f"{page}/versions/9c1b"
        ),
        version(
            "clarifai://me/breeds/cats@b7f0e6d5c4", counts={"inputs_count": 1350}, web_url=f"{page}/versions/b7f0"
        ),
    ]
