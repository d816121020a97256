"""Random samples of files: how many to draw, which ones, and what a sample without differences proves.

Files are drawn without replacement. If `altered` of `total` files differ, a draw of `drawn` misses all of them with
probability C(total - altered, drawn) / C(total, drawn) (the hypergeometric distribution at zero). A draw whose files
all match therefore proves, with one minus that probability as confidence, that fewer than `altered` files differ.
This assumes that the draw could not be predicted when the files were altered, so the seed is random by default.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sample: `files` files, or as many as are needed to prove the bound with the confidence.

    files: how many; None for as many as are needed. confidence: between 0 and 1. bound: the share of files, between
    0 and 1, below which alterations may go unnoticed. seed: of the random draw; the same seed draws the same files.
    """

    files: int | None = None
    confidence: float = 0.99
    bound: float = 0.01
    seed: int = field(default_factory=lambda: secrets.randbits(32))

    def __post_init__(self) -> None:
        if self.files is not None and self.files < 1:
            raise ValueError(f"a sample must have at least one file, not {self.files}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"the confidence must be between 0 and 1, not {self.confidence}")
        if not 0 < self.bound <= 1:
            raise ValueError(f"the bound must be between 0 and 1, not {self.bound}")

    def size(self, total: int) -> int:
        """The number of files to draw from `total`."""
        if self.files is not None:
            return min(self.files, total)
        return files_needed(total, altered_at_bound(total, self.bound), self.confidence)

    def draw(self, items: Sequence[Item]) -> list[Item]:
        """The drawn items, in the order of `items`; equal for equal seed and number of items."""
        chosen = random.Random(self.seed).sample(range(len(items)), self.size(len(items)))  # noqa: S311  (not a secret)
        return [items[index] for index in sorted(chosen)]

    def statement(self, total: int) -> str:
        """What is proven if all drawn files match, as a sentence."""
        drawn = self.size(total)
        if drawn == total:
            return f"all {total:,} files were read"
        altered = altered_excluded(total, drawn, self.confidence)
        opening = f"{drawn:,} of {total:,} files drawn at random (seed {self.seed}) and all as recorded"
        if altered is None:
            return f"{opening}: too few to exclude anything with confidence {self.confidence:g}"
        missed = miss_probability(total, altered, drawn)
        return (
            f"{opening}: had {altered:,} files ({altered / total:.3%}) or more been altered, "
            f"the chance of drawing none of them would be {missed:.3%} or less"
        )


def miss_probability(total: int, altered: int, drawn: int) -> float:
    """The probability that `drawn` of `total` files contain none of the `altered` ones."""
    if altered + drawn > total:
        return 0.0
    if total <= 2000:
        return math.comb(total - altered, drawn) / math.comb(total, drawn)
    return math.exp(_log_choose(total - altered, drawn) - _log_choose(total, drawn))


def altered_at_bound(total: int, bound: float) -> int:
    """The smallest number of files that is at least the share `bound` of `total`, and at least one."""
    return max(1, math.ceil(total * bound - 1e-9))


def files_needed(total: int, altered: int, confidence: float) -> int:
    """The smallest sample that misses `altered` altered files with a probability of at most 1 - confidence."""
    low, high = 1, max(1, total - altered + 1)
    while low < high:
        middle = (low + high) // 2
        if miss_probability(total, altered, middle) <= 1 - confidence:
            high = middle
        else:
            low = middle + 1
    return min(low, total)


def altered_excluded(total: int, drawn: int, confidence: float) -> int | None:
    """The smallest number of altered files that a matching sample excludes with this confidence; None for none."""
    if total == 0 or miss_probability(total, total, drawn) > 1 - confidence:
        return None
    low, high = 1, total
    while low < high:
        middle = (low + high) // 2
        if miss_probability(total, middle, drawn) <= 1 - confidence:
            high = middle
        else:
            low = middle + 1
    return low


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
