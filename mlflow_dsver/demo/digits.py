"""scikit-learn's handwritten digits as people have data: image files, and a table with their labels.

1,797 real scans of 8 × 8 pixels come with scikit-learn, so nothing is downloaded. The same call always writes the
same bytes. `MISTAKES` are the labelling mistakes that the first version has and the second has not.
"""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

from mlflow_dsver.content.atomic_files import atomic_write

TRAINING_IMAGES = 1347
"""How many of the images are for training; the rest, in the order of the original collection, is for the test."""

MISTAKES = {1: 7, 7: 1, 3: 8, 8: 3, 5: 9, 9: 5}
"""Digits that a hasty labeller took for one another."""

MISTAKEN_SHARE = 0.4
"""How many of these digits were labelled wrongly."""


def write(folder: Path, *, training: bool, mistakes: bool = False) -> int:
    """Write images that are not there yet, and the labels; gives how many labels are wrong."""
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
