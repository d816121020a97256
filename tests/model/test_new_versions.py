"""New versions as text and as values: parsing, refusals and round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver.errors import DsverError, InvalidArgument, InvalidReference, SettingsError
from mlflow_dsver.model.new_versions import NewVersion, parse_new
from mlflow_dsver.model.refs import parse
from mlflow_dsver.resolution import inputs

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TAGS = st.lists(st.from_regex(r"[a-z0-9][a-z0-9 %&;=?-]{0,8}[a-z0-9]", fullmatch=True), max_size=3)
JSON = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT, max_size=3)
NAMES = st.sampled_from(["commit", "annotation_filter", "visibility"])


@given(
    TEXT | st.none(),
    TEXT | st.none(),
    TAGS,
    JSON | st.none(),
    st.booleans(),
    st.dictionaries(NAMES, TEXT, max_size=2),
)
def test_what_is_written_is_read_again(folder, message, tags, metadata, reference, options):
    new = NewVersion("local://cats", folder, message, tags, metadata, reference, options)
    again = parse_new(str(new))
    assert again == new
    assert str(again) == str(new)
    assert inputs.parse_inputs(f"training={new};test=local://x", "--input") == {
        "training": str(new).strip(),
        "test": "local://x",
    }


@given(TEXT)
def test_any_text_is_read_or_refused_by_its_own_error(text):
    try:
        found = parse_new(f"local://cats?create&{text}")
    except InvalidReference:
        return
    assert found is not None


def test_a_person_writes_it_as_the_query_of_an_address():
    found = parse_new('clarifai://me/app/cats?create&message=round 3&tag=a&tag=b&metadata={"by": "me"}&visibility=10')
    assert found == NewVersion(
        "clarifai://me/app/cats",
        message="round 3",
        tags=["a", "b"],
        metadata={"by": "me"},
        options={"visibility": "10"},
    )
    assert parse_new("paperspace://cats?create") == NewVersion("paperspace://cats")
    assert parse_new("local://cats@latest?create&folder=data") == NewVersion("local://cats", "data")


@pytest.mark.parametrize("text", ["local://cats", "local://cats@v1", "local://cats%3Fcreate", "local://cats?created"])
def test_another_text_asks_for_no_new_version(text):
    assert parse_new(text) is None
    assert parse(text).provider == "local"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("local://cats@v1?create", "no id before it is created"),
        ("local://cats?create&folder", "malformed part"),
        ("local://cats?create&folder=a&folder=b", "malformed part"),
        ("local://cats?create&metadata=[1]", "metadata is a JSON object"),
        ("local://cats?create&reference=perhaps", "yes or no"),
        ("local://cats?create&tag=latest", "not a tag"),
        ("local://cats?create&message=%ff", "not UTF-8"),
        ("cats?create", "not a reference"),
    ],
)
def test_malformed_text_is_refused_in_one_line(text, says):
    with pytest.raises(InvalidReference, match=says) as caught:
        parse_new(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError):
        inputs.parse_inputs(f"training={text}", "MLFLOW_DSVER_INPUTS")


def test_a_version_that_is_to_be_made_is_no_reference():
    with pytest.raises(InvalidReference, match="only an input of a run that starts"):
        parse("local://cats?create&folder=x")


@pytest.mark.parametrize("fields", [{"metadata": {"x": {1, 2}}}, {"metadata": {"x": float("nan")}}])
def test_python_values_are_checked_as_well(fields):
    with pytest.raises(InvalidArgument):
        str(NewVersion("local://cats", **fields))


def test_equal_ones_are_one_key():
    assert len({NewVersion("local://cats", metadata={"a": 1}), NewVersion("local://cats", metadata={"a": 1})}) == 1
    assert issubclass(InvalidArgument, DsverError)
