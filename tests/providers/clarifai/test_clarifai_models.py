"""Every form in which the API may put a value is read, the raw answer is kept, nothing unknown passes for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.providers.clarifai.models import STATUS_NAMES, DatasetVersion, Format, Status, number, whole

FULL = {
    "id": "v1",
    "created_at": "2024-09-04T00:28:26.852951Z",
    "modified_at": "2024-09-04T00:28:26.852951789Z",
    "status": {"code": 64015, "description": "ready", "percent_completed": 100},
    "metadata": {"commit": "abc", "tags": ["a"]},
    "metrics": {"/": {"inputs_count": "3", "regions_count": 0, "region_location_matrix": {"x": 1}}},
    "export_info": {"clarifai_data_json": {"format": 3, "status": {"code": 64200}, "size": "12345"}},
    "request_origin": 2,
    "added_later": {"x": [1]},
}


def test_full_version_is_read() -> None:
    read = DatasetVersion.read(FULL)
    assert read.code == 64015
    assert read.created_at == read.modified_at == datetime(2024, 9, 4, 0, 28, 26, 852951, UTC)
    assert read.counts() == {"inputs_count": 3, "regions_count": 0, "export_bytes.clarifai_data_json": 12345}
    assert read.raw == FULL
    assert read.raw is FULL


def test_empty_version_is_read() -> None:
    """Unset fields are left out by the service: none of them is needed."""
    read = DatasetVersion.read({})
    assert (read.id, read.code, read.created_at, read.metadata, read.counts()) == ("", None, None, {}, {})
    assert read.export(Format.JSON) is None


def test_null_metadata_is_none() -> None:
    assert DatasetVersion.read({"metadata": None, "metrics": None, "export_info": None}).counts() == {}


@pytest.mark.parametrize("code", [64015, "64015", "DATASET_VERSION_READY", 64015.0])
def test_status_comes_as_number_digits_or_name(code: object) -> None:
    assert Status.read({"code": code}).code == 64015


def test_unknown_name_of_a_status_stays_a_name() -> None:
    assert Status.read({"code": "SOMETHING_NEW"}).code == "SOMETHING_NEW"


@pytest.mark.parametrize("bad", [[], "text", None, {"id": 5}])
def test_what_is_no_object_or_has_no_id_is_unexpected_and_kept(bad: Any) -> None:
    with pytest.raises(UnexpectedResponse) as caught:
        DatasetVersion.read(bad)
    assert caught.value.payload == bad


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("created_at", "yesterday"),
        ("created_at", 5),
        ("created_at", "9999-12-31T23:59:60Z"),
        ("metadata", [1]),
        ("status", "ready"),
        ("status", {"code": [1]}),
        ("request_origin", 1.5),
        ("request_origin", True),
        ("export_info", "none"),
        ("description", {"a": 1}),
        ("visibility", 10),
    ],
)
def test_field_of_another_shape_counts_as_not_sent_and_is_named(field: str, bad: object) -> None:
    """The rest is read, the raw answer has it, and a status that cannot be read is never taken for ready."""
    read = DatasetVersion.read({**FULL, field: bad})
    assert read.unread == (field,)
    assert getattr(read, field) == getattr(DatasetVersion.read({}), field)
    assert read.raw[field] == bad
    others = set(FULL) - {field, "added_later"}
    assert {name: getattr(read, name) for name in others} == {
        name: getattr(DatasetVersion.read(FULL), name) for name in others
    }


@pytest.mark.parametrize(
    "export", [5, "x", {"size": "many"}, {"size": -1}, {"format": [1], "size": None}, {"status": "ok"}]
)
def test_export_of_another_shape_spoils_no_counts(export: object) -> None:
    info = {"export_info": {"clarifai_data_json": export}}
    assert DatasetVersion.read({**FULL, **info}).counts() == {"inputs_count": 3, "regions_count": 0}


@pytest.mark.parametrize(
    ("text", "second"), [("2024-06-30t23:59:59z", 59), ("2024-06-30T23:59:60Z", 60), ("2024-06-30T23:59:60.5Z", 60.5)]
)
def test_dates_of_rfc_3339_are_read(text: str, second: float) -> None:
    """Letters of either case, and a leap second."""
    expected = datetime(2024, 6, 30, 23, 59, tzinfo=UTC) + timedelta(seconds=second)
    assert DatasetVersion.read({"created_at": text}).created_at == expected


def test_counts_that_are_none_are_left_out() -> None:
    metrics = {"/": {"a_count": "x", "b_count": -1, "c_count": None, "d_count": "4", "e": "5"}}
    assert DatasetVersion.read({"metrics": metrics}).counts() == {"d_count": 4}


@settings(deadline=None)
@given(st.integers(-(2**63), 2**64 - 1))
def test_whole_numbers_of_64_bits_survive_as_text(value: int) -> None:
    assert whole(str(value)) == whole(value) == value


@settings(deadline=None)
@given(st.one_of(st.text(), st.floats(), st.booleans(), st.lists(st.integers())))
def test_number_gives_a_number_a_name_or_an_error(value: object) -> None:
    try:
        read = number(value, STATUS_NAMES)
    except ValueError:
        return
    assert read is None or isinstance(read, int | str)
    assert not isinstance(read, bool)
