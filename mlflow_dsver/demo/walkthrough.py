"""Writes the demo's data, runs all its steps and prints what it does.

The data are scikit-learn's handwritten digits as a typical dataset: image files, and a table with their labels.
scikit-learn includes 1,797 real scans of 8 × 8 pixels, so nothing is downloaded. Equal arguments write equal bytes.
`MISTAKES` are the wrong labels in the first version; the second version corrects them.
"""

from __future__ import annotations

import csv
import io
import random
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from mlflow_dsver.content.atomic_files import atomic_write
from mlflow_dsver.text import human_count, one_line

EXPERIMENT = "digits"
TRAINING = "local://digits-training"
TEST = "local://digits-test"

TRAINING_IMAGES = 1347
"""Number of images for training, in the order of the original collection; the others are for the test."""

MISTAKES = {1: 7, 7: 1, 3: 8, 8: 3, 5: 9, 9: 5}
"""Digits that were labelled as another digit."""

MISTAKEN_SHARE = 0.4
"""Share of these digits with a wrong label."""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """The demo's folder, absolute: a store, a tracking database, artifacts, and the data as users have it."""

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
        """The environment variables of the demo."""
        return {
            "MLFLOW_DSVER_HOME": str(self.store),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.database}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


def run_demo(demo: DemoFolder) -> None:
    """Run all steps, in this process, whose environment must have `demo.variables()`; may be repeated."""
    from mlflow_dsver.demo.train import train

    training, test = demo.folder / "data" / "digits-training", demo.folder / "data" / "digits-test"
    inputs = {"training": f"{TRAINING}@latest", "test": f"{TEST}@latest"}
    _prepare_tracking(demo)

    _print("1  Data: real scans of handwritten digits, as image files with a table of labels")
    wrong = write_digits(training, training=True, mistakes=True)
    write_digits(test, training=False)
    _version(TEST, test, "clean labels, never trained on", "clean")
    first = _version(TRAINING, training, f"as labelled; {wrong} labels are wrong", "as-labelled")
    _print(f"   In this first version, 1 and 7, 3 and 8, 5 and 9 were confused: {wrong} labels are wrong.")

    _print("\n2  A model is trained, on local://digits-training@latest")
    before = train("first labels", inputs)
    _print(f"   accuracy {before[1]:.3f}, run {before[0]}")

    _print("\n3  The labels are corrected: a second version")
    write_digits(training, training=True)
    second = _version(TRAINING, training, f"relabelled: {wrong} labels corrected", "relabelled")

    _print("\n4  The same script runs again, with the same reference")
    after = train("corrected labels", inputs)
    _print(f"   accuracy {after[1]:.3f}, run {after[0]}")
    _print_results(demo, before, after, first, second)


def _prepare_tracking(demo: DemoFolder) -> None:
    import mlflow

    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        # Without this tag, MLflow's UI guesses the kind of the experiment, and guesses GenAI.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        mlflow.create_experiment(EXPERIMENT, artifact_location=(demo.folder / "artifacts").as_uri(), tags=kind)
    mlflow.set_experiment(EXPERIMENT)


def _version(reference: str, folder: Path, message: str, tag: str) -> str:
    import mlflow_dsver as dsver

    version = dsver.create_version(reference, folder, message=message, tags=[tag])
    manifest = dsver.get_provider(version.ref.provider).manifest(version)
    files = human_count(len(manifest), "file") if manifest else "files"
    _print(f"   {version.ref}  ({tag}; {files}, {version.usage_bytes:,} bytes)")
    return str(version.ref)


def _print_results(
    demo: DemoFolder, before: tuple[str, float], after: tuple[str, float], first: str, second: str
) -> None:
    import mlflow_dsver as dsver

    _print(f"\nBoth runs requested {TRAINING}@latest. The record of each run has the version that it used:")
    for (run_id, accuracy), version in ((before, first), (after, second)):
        _print(f"   run {run_id}  accuracy {accuracy:.3f}")
        for link in dsver.inputs_of(run_id):
            _print(f"      {link.role:<9} {link.version.ref}  grade {link.grade}")
        assert version in {str(link.version.ref) for link in dsver.inputs_of(run_id)}
    folder = _relative(demo.folder)
    _print(f"\nAll is in {one_line(folder)}: versions in store, runs in mlflow.db and artifacts, images in data.")
    _print("\nTo see more, paste one of these commands:")
    for what, command in commands(demo, after[0], first).items():
        _print(f"   # {what}\n   {command}")


def commands(demo: DemoFolder, run_id: str, reference: str) -> dict[str, str]:
    """What to look at next, and its command for a shell in the present folder."""
    home = f"MLFLOW_DSVER_HOME={shlex.quote(_relative(demo.store))}"
    database = shlex.quote(f"sqlite:///{_relative(demo.database)}")
    tracking = f"MLFLOW_TRACKING_URI={database}"
    command = _program("mlflow-dsver")
    return {
        "the versions": f"{home} {command} versions list {TRAINING}",
        "what a run used": f"{home} {tracking} {command} inputs {run_id}",
        "which runs used the first version": f"{home} {tracking} {command} runs {reference}",
        "the runs in MLflow's own pages: open a run, its datasets, and dsver/card.md under its artifacts": (
            f"{_program('mlflow')} ui --backend-store-uri {database}"
        ),
    }


def _program(name: str) -> str:
    """The command for a program of this environment: its name if PATH finds this one, else its path."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found).absolute() == own else shlex.quote(_relative(own))


def _relative(path: Path) -> str:
    """The path, relative if it is below the present folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _print(text: str) -> None:
    print(text, flush=True)


def write_digits(folder: Path, *, training: bool, mistakes: bool = False) -> int:
    """Write missing images, and the labels; returns the number of wrong labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = range(TRAINING_IMAGES) if training else range(TRAINING_IMAGES, len(digits.target))
    names = [f"images/{number:04}.png" for number in chosen]
    truth = [int(digits.target[number]) for number in chosen]
    labels = _with_mistakes(truth) if mistakes else truth
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, number in zip(names, chosen, strict=True):
        if not (folder / name).exists():
            _write_image(folder / name, digits.images[number])
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("file", "label"), *zip(names, labels, strict=True)])
    with atomic_write(folder / "labels.csv") as stream:
        stream.write(table.getvalue().encode())
    return sum(label != true for label, true in zip(labels, truth, strict=True))


def _write_image(path: Path, pixels: object) -> None:
    import numpy
    from PIL import Image

    gray = (numpy.asarray(pixels) * 15).astype(numpy.uint8)
    Image.fromarray(gray).save(path, format="PNG")


def _with_mistakes(labels: list[int]) -> list[int]:
    chance = random.Random(8)  # noqa: S311  (the same mistakes each time)
    return [MISTAKES[each] if each in MISTAKES and chance.random() < MISTAKEN_SHARE else each for each in labels]
