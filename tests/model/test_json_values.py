"""The codec's laws: what is written is read back as it was, and any other JSON is a value or a ValueError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver.model.json_values import MAX_NUMBER, check_schema, from_json, to_json
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import Grade


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    name: Annotated[str, 5]
    count: int | None = None


@dataclass(frozen=True)
class Own:
    """Has a JSON of its own."""

    name: str

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, **to_json(self)}

    @classmethod
    def from_json(cls, data: object) -> Own:
        check_schema(data, "an own", 1)
        return from_json(cls, data)


@dataclass(frozen=True)
class Everything:
    flag: bool
    number: int
    real: float
    colour: Colour
    when: datetime
    ref: DatasetRef = field(metadata={"json": "reference"})
    grade: Grade
    known: datetime | None
    inner: Inner
    own: Own
    inners: Annotated[tuple[Inner, ...], 3] = ()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    short: Annotated[str, 3] | None = None
    sizes: Mapping[str, int] = field(default_factory=dict, metadata={"hint": Mapping[str, float]})
    anything: Any = None
    label: str = "none"


short = st.text(max_size=3)
dates = st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
inners = st.builds(Inner, short, st.none() | st.integers(-100, 100))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
everything = st.builds(
    Everything,
    flag=st.booleans(),
    number=st.integers(),
    real=st.floats(-1e300, 1e300, exclude_max=True, exclude_min=True),
    colour=st.sampled_from(Colour),
    when=dates,
    ref=st.builds(DatasetRef, st.just("local"), st.just("digits"), st.sampled_from([None, "v1", "é@x"])),
    grade=st.builds(Grade, st.sampled_from("ABCD"), st.just(("offline",))),
    known=st.none() | dates,
    inner=inners,
    own=st.builds(Own, short),
    inners=st.lists(inners, max_size=3).map(tuple),
    texts=st.dictionaries(short, st.lists(short, max_size=2).map(tuple), max_size=2),
    short=st.none() | short,
    sizes=st.dictionaries(short, st.integers(), max_size=2),
    anything=json_values,
    label=short,
)
WHOLE = Everything(
    True, 1, 1.5, Colour.RED, datetime(2026, 1, 2, tzinfo=UTC), DatasetRef("local", "digits"), Grade("A"), None,
    Inner("a", 1), Own("b"), (Inner("c"),), {"x": ("y",)}, "abc", {"files": 3}, [None, {"deep": 1}],
)  # fmt: skip
DATA = json.loads(json.dumps(to_json(WHOLE)))


@given(everything)
def test_what_is_written_is_read_back(value: Everything) -> None:
    assert from_json(Everything, json.loads(json.dumps(to_json(value)))) == value


@given(st.sampled_from(sorted(DATA)), json_values)
def test_any_json_in_the_place_of_a_field_is_a_value_or_a_value_error(key: str, part: Any) -> None:
    """What is read has the types of its fields: it can be written, and is then read as the same."""
    try:
        value = from_json(Everything, {**DATA, key: part})
    except ValueError:
        return
    assert from_json(Everything, json.loads(json.dumps(to_json(value)))) == value


@given(json_values)
def test_any_json_value_is_a_value_or_a_value_error(data: Any) -> None:
    with pytest.raises(ValueError, match=r"missing|not an object"):
        from_json(Everything, data)


def test_keys_are_in_the_order_of_the_class_and_of_their_own_name() -> None:
    assert list(DATA) == [name.replace("ref", "reference") for name in Everything.__dataclass_fields__]
    assert (DATA["reference"], DATA["grade"], DATA["when"]) == ("local://digits", "A", "2026-01-02T00:00:00Z")
    assert (DATA["colour"], DATA["own"], DATA["inner"]) == (
        "red",
        {"schema": 1, "name": "b"},
        {"name": "a", "count": 1},
    )


def test_unknown_keys_are_ignored_and_missing_ones_and_null_have_the_default() -> None:
    known = {key: part for key, part in DATA.items() if key not in ("texts", "anything", "sizes")}
    value = from_json(Everything, {**known, "from the future": [1], "inners": None, "label": None})
    assert (value.texts, value.anything, value.sizes, value.inners, value.label) == ({}, None, {}, (), "none")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"flag": 1}, "flag: int, not bool"),
        ({"number": True}, "number: not a number"),
        ({"number": 1.0}, "number: float, not int"),
        ({"number": MAX_NUMBER}, "out of range"),
        ({"real": float("nan")}, "out of range"),
        ({"sizes": {"files": "3"}}, "sizes: str, not float"),
        ({"colour": "green"}, "colour: 'green'"),
        ({"colour": ["red"]}, "colour: list, not str"),
        ({"when": ""}, "when: missing"),
        ({"when": "0001-01-01T00:00:00+14:00"}, "when: a date outside"),
        ({"reference": None}, "reference: missing"),
        ({"reference": "a b"}, "reference: not a reference"),
        ({"grade": "E"}, "grade: not a grade"),
        ({"inner": {"name": "abcdef"}}, "inner: name: no text of at most 5"),
        ({"inners": [{"name": "a"}] * 4}, "inners: no list of at most 3"),
        ({"inners": "abc"}, "inners: str, not a list"),
        ({"texts": {"a": [1]}}, "texts: int, not str"),
        ({"texts": []}, "texts: list, not an object"),
        ({"short": "abcd"}, "short: no text of at most 3"),
        ({"own": {"name": "b"}}, "own: an own of schema None; this version reads schema 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_json(Everything, DATA | changed)
    assert message in str(caught.value)


def test_a_date_that_is_empty_is_none_where_there_may_be_none() -> None:
    assert from_json(Everything, DATA | {"known": ""}).known is None
