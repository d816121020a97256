"""Versions, links and grades go to JSON and back unchanged."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver.model.json_values import date_text, date_value
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link

words = st.text(max_size=8)
notes = st.lists(st.text(min_size=1, max_size=9).filter(lambda note: not set(note) & set("(),")), max_size=3)
grades = st.builds(Grade, st.sampled_from("ABCD"), notes.map(tuple))
zones = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
dates = st.none() | st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=zones)  # noqa: DTZ001
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=5,
)
objects = st.dictionaries(words, values, max_size=3)
versions = st.builds(
    DatasetVersion,
    ref=st.builds(DatasetRef, st.just("local"), st.just("digits"), st.sampled_from(["v1", "a b", "é@x"])),
    tags=st.lists(words, max_size=3).map(tuple),
    message=st.none() | words,
    metadata=objects,
    usage_bytes=st.none() | st.integers(0),
    content_digest=st.none() | st.just("blake3:" + "0" * 64),
    digest_is_claimed=st.booleans(),
    created=dates,
    modified=dates,
    creator=st.none() | words,
    immutable=st.none() | st.booleans(),
    web_url=st.none() | words,
    counts=st.dictionaries(words, st.integers(), max_size=2),
    raw=objects,
    dataset_name=st.none() | words,
    grade_notes=notes.map(tuple),
)


@given(versions)
def test_a_version_goes_through_json(version: DatasetVersion) -> None:
    assert DatasetVersion.from_json(json.loads(json.dumps(version.to_json()))) == version


@given(st.builds(Link, st.just("training"), words, versions, grades, dates.filter(bool)))
def test_a_link_goes_through_json(link: Link) -> None:
    assert Link.from_json(json.loads(json.dumps(link.to_json()))) == link


def test_what_is_unknown_is_passed_over_and_what_is_missing_has_its_default() -> None:
    read = DatasetVersion.from_json({"reference": "local://a@1", "from the future": [1], "message": None})
    assert read == DatasetVersion(DatasetRef("local", "a", "1"))


@pytest.mark.parametrize("schema", [None, 0, 2, "1"])
def test_a_link_of_another_schema_is_refused(schema: object) -> None:
    with pytest.raises(ValueError, match="schema"):
        Link.from_json({"schema": schema})


def test_a_version_has_an_id_and_no_negative_size() -> None:
    with pytest.raises(ValueError, match="must have its id"):
        DatasetVersion(DatasetRef("local", "a"))
    with pytest.raises(ValueError, match="cannot be negative"):
        DatasetVersion(DatasetRef("local", "a", "1"), usage_bytes=-1)


def test_a_version_prints_as_its_reference_with_sorted_tags() -> None:
    version = DatasetVersion(DatasetRef("local", "a", "1"), tags=("z", "b"))
    assert (str(version), version.id, version.tags) == ("local://a@1", "1", ("b", "z"))


@given(grades)
def test_a_grade_is_read_back(grade: Grade) -> None:
    assert Grade.parse(str(grade)) == grade


@pytest.mark.parametrize("text", ["", "E", "a", "A ", "A()", "A (x", "AB", "A (x) ", "A (x))", "A\n"])
def test_what_is_no_grade_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a grade"):
        Grade.parse(text)


def test_grades_in_order() -> None:
    """A better grade sorts first, and meets what a worse one meets."""
    assert [grade.letter for grade in sorted(map(Grade, "DBCA"))] == list("ABCD")  # type: ignore[arg-type]
    assert Grade("A").meets("B")
    assert Grade("B").meets("B")
    assert not Grade("C").meets("B")


@given(grades, notes)
def test_noting_twice_is_noting_once(grade: Grade, more: list[str]) -> None:
    once = grade.with_notes(*more)
    assert once.with_notes(*more) == once
    with pytest.warns(DeprecationWarning, match="with_notes"):
        assert grade.noting(*more) == once
    assert set(once.notes) == {*grade.notes, *more}


@pytest.mark.parametrize(("letter", "notes"), [("E", ()), ("A", ("a,b",)), ("A", ("",)), ("A", ("(",))])
def test_no_grade_that_could_not_be_read_back(letter: str, notes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        Grade(letter, notes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5", datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_dates_of_vendors(text: str | None, date: datetime | None) -> None:
    assert date_value(text) == date
    assert date_value(date_text(date)) == date
