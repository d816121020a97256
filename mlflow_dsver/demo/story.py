"""The demo from beginning to end, telling what happens. `Place` says where everything lies."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from mlflow_dsver.text import human_count, one_line

EXPERIMENT = "digits"
TRAINING = "local://digits-training"
TEST = "local://digits-test"


@dataclass(frozen=True, slots=True)
class Place:
    """The demo's folder, absolute: a store, a tracking database, artifacts, and the data as a user has them."""

    folder: Path

    @property
    def store(self) -> Path:
        """The demo's own `MLFLOW_DSVER_HOME`."""
        return self.folder / "store"

    @property
    def database(self) -> Path:
        """MLflow's SQLite file."""
        return self.folder / "mlflow.db"

    def variables(self) -> dict[str, str]:
        """The settings under which everything of the demo runs."""
        return {
            "MLFLOW_DSVER_HOME": str(self.store),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.database}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


def tell(place: Place) -> None:
    """Do it all, in this process, whose environment has the place's variables; may be done again and again."""
    from mlflow_dsver.demo import digits
    from mlflow_dsver.demo.train import train

    training, test = place.folder / "data" / "digits-training", place.folder / "data" / "digits-test"
    inputs = {"training": f"{TRAINING}@latest", "test": f"{TEST}@latest"}
    _prepare_tracking(place)

    _say("1  Data: real scans of handwritten digits, as image files with a table of labels")
    wrong = digits.write(training, training=True, mistakes=True)
    digits.write(test, training=False)
    _version(TEST, test, "clean labels, never trained on", "clean")
    first = _version(TRAINING, training, f"as labelled; {wrong} labels are wrong", "as-labelled")
    _say(f"   In this first version somebody took 1 for 7, 3 for 8, 5 for 9: {wrong} labels are wrong.")

    _say("\n2  A model is trained, on local://digits-training@latest")
    before = train("first labels", inputs)
    _say(f"   accuracy {before[1]:.3f}, run {before[0]}")

    _say("\n3  The labels are corrected: a second version")
    digits.write(training, training=True)
    second = _version(TRAINING, training, f"relabelled: {wrong} labels corrected", "relabelled")

    _say("\n4  The same script again, with the same reference")
    after = train("corrected labels", inputs)
    _say(f"   accuracy {after[1]:.3f}, run {after[0]}")
    _closing(place, before, after, first, second)


def _prepare_tracking(place: Place) -> None:
    import mlflow

    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow's pages guess, and guess GenAI
        mlflow.create_experiment(EXPERIMENT, artifact_location=(place.folder / "artifacts").as_uri(), tags=kind)
    mlflow.set_experiment(EXPERIMENT)


def _version(reference: str, folder: Path, message: str, tag: str) -> str:
    import mlflow_dsver as dsver

    version = dsver.create_version(reference, folder, message=message, tags=[tag])
    manifest = dsver.get_provider(version.ref.provider).manifest(version)
    files = human_count(len(manifest), "file") if manifest else "files"
    _say(f"   {version.ref}  ({tag}; {files}, {version.usage_bytes:,} bytes)")
    return str(version.ref)


def _closing(place: Place, before: tuple[str, float], after: tuple[str, float], first: str, second: str) -> None:
    import mlflow_dsver as dsver

    _say(f"\nBoth runs asked for {TRAINING}@latest. What each of them used is on its record, for ever:")
    for (run_id, accuracy), version in ((before, first), (after, second)):
        _say(f"   run {run_id}  accuracy {accuracy:.3f}")
        for link in dsver.inputs_of(run_id):
            _say(f"      {link.role:<9} {link.version.ref}  grade {link.grade}")
        assert version in {str(link.version.ref) for link in dsver.inputs_of(run_id)}
    folder = _near(place.folder)
    _say(f"\nIt lies in {one_line(folder)}: versions in store, runs in mlflow.db and artifacts, images in data.")
    _say("\nLook further; each line can be pasted as it is:")
    for what, command in commands(place, after[0], first).items():
        _say(f"   # {what}\n   {command}")


def commands(place: Place, run_id: str, reference: str) -> dict[str, str]:
    """What to look at next, and the command for it, to be pasted into a shell in the present folder."""
    home = f"MLFLOW_DSVER_HOME={shlex.quote(_near(place.store))}"
    database = shlex.quote(f"sqlite:///{_near(place.database)}")
    tracking = f"MLFLOW_TRACKING_URI={database}"
    ours = _program("mlflow-dsver")
    return {
        "the versions": f"{home} {ours} versions list {TRAINING}",
        "what a run used": f"{home} {tracking} {ours} inputs {run_id}",
        "which runs used the first version": f"{home} {tracking} {ours} runs {reference}",
        "the runs in MLflow's own pages: open a run, its datasets, and dsver/card.md under its artifacts": (
            f"{_program('mlflow')} ui --backend-store-uri {database}"
        ),
    }


def _program(name: str) -> str:
    """How to call a program of this environment from the present folder: by name only if that means this one."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found).absolute() == own else shlex.quote(_near(own))


def _near(path: Path) -> str:
    """The path, relative where it lies below the present folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _say(text: str) -> None:
    print(text, flush=True)
