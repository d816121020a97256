"""The size of a sample, and what it proves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver.checks.sampling import (
    Sampling,
    altered_at_bound,
    altered_excluded,
    files_needed,
    miss_probability,
)


@pytest.mark.parametrize(
    ("total", "altered", "drawn"), [(10, 1, 3), (10, 3, 3), (50, 5, 20), (100, 100, 1), (7, 2, 6)]
)
def test_the_probability_to_miss_is_that_of_drawing_without_replacement(total: int, altered: int, drawn: int) -> None:
    one_by_one = 1.0
    for index in range(drawn):
        one_by_one *= max(0, total - altered - index) / (total - index)
    assert math.isclose(miss_probability(total, altered, drawn), one_by_one, abs_tol=1e-12)


def test_large_numbers_agree_with_the_product() -> None:
    expected = math.prod((1_000_000 - 1000 - i) / (1_000_000 - i) for i in range(4594))
    assert math.isclose(miss_probability(1_000_000, 1000, 4594), expected, rel_tol=1e-6)


def test_the_known_size_for_one_in_a_thousand_of_a_million_files() -> None:
    """About ln(0.01) / ln(0.999) = 4,603, a little less because nothing is drawn twice."""
    assert 4580 < files_needed(1_000_000, 1000, 0.99) < 4603


@given(st.integers(1, 3000), st.floats(0.5, 0.999), st.floats(0.001, 1))
def test_the_draw_is_the_smallest_that_keeps_the_promise(total: int, confidence: float, bound: float) -> None:
    altered = altered_at_bound(total, bound)
    drawn = Sampling(confidence=confidence, bound=bound, seed=1).size(total)
    assert 1 <= drawn <= total
    assert miss_probability(total, altered, drawn) <= 1 - confidence
    if drawn > 1:
        assert miss_probability(total, altered, drawn - 1) > 1 - confidence


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.5, 0.999))
def test_what_a_draw_excludes_is_the_smallest_number_it_excludes(total: int, drawn: int, confidence: float) -> None:
    drawn = min(drawn, total)
    excluded = altered_excluded(total, drawn, confidence)
    assert excluded is not None
    assert miss_probability(total, excluded, drawn) <= 1 - confidence
    if excluded > 1:
        assert miss_probability(total, excluded - 1, drawn) > 1 - confidence


@given(st.integers(1, 500), st.integers(0, 2**32))
def test_a_draw_repeats_with_its_seed_has_no_doubles_and_keeps_the_order(total: int, seed: int) -> None:
    items = list(range(total))
    sampling = Sampling(files=20, seed=seed)
    drawn = sampling.draw(items)
    assert drawn == sampling.draw(items) == sorted(set(drawn))
    assert len(drawn) == min(20, total)


def test_drawn_files_catch_altered_ones_as_often_as_promised() -> None:
    """1,000 draws that promise 90 % over 5 % of 400 files: about 90 % of them meet an altered file."""
    altered = set(range(0, 400, 20))
    met = sum(
        any(item in altered for item in Sampling(confidence=0.9, bound=0.05, seed=seed).draw(range(400)))
        for seed in range(1000)
    )
    assert 870 <= met <= 940


def test_the_statement_names_draw_seed_bound_and_chance() -> None:
    text = Sampling(confidence=0.99, bound=0.01, seed=7).statement(10_000)
    assert "of 10,000 files drawn at random (seed 7)" in text
    assert "100 files (1.000%) or more" in text
    assert Sampling(files=10, seed=7).statement(10) == "all 10 files were read"


def test_a_single_file_drawn_from_many_excludes_only_that_nearly_all_were_altered() -> None:
    assert "990 files (99.000%) or more" in Sampling(files=1, seed=1).statement(1000)


@pytest.mark.parametrize(
    "wrong", [{"files": 0}, {"confidence": 1.0}, {"confidence": 0}, {"bound": 0}, {"bound": 1.1}]
)
def test_impossible_samples_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_two_samples_without_a_seed_differ() -> None:
    """An attacker who knows the draw could alter the rest."""
    assert Sampling().seed != Sampling().seed
