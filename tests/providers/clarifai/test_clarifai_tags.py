"""Tags in metadata: our convention, which never takes somebody's own entry for tags nor loses it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_dsver.errors import InvalidArgument, InvalidReference
from mlflow_dsver.providers.clarifai.convert import check_given, cleared, tags_of, with_tags, without_tags

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))
METADATA = st.dictionaries(st.sampled_from("abcdef"), VALUES, max_size=5)
TAGS = st.sets(st.text("abcé-", min_size=1, max_size=5), max_size=4)


@settings(deadline=None)
@given(METADATA, TAGS)
def test_tags_and_metadata_come_back_as_they_went(metadata: dict[str, Any], tags: set[str]) -> None:
    sent = with_tags(metadata, tags)
    assert tags_of(sent) == tuple(sorted(tags))
    assert without_tags(sent) == metadata


@settings(deadline=None)
@given(METADATA, METADATA, METADATA, TAGS)
def test_a_service_that_merges_is_made_to_forget(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any], tags: set[str]
) -> None:
    """Whatever was there: after at most two changes the visible metadata is what was sent, nulls included."""
    held: dict[str, Any] = with_tags(first, ())
    for wanted in (second, third, first):
        sent = with_tags(wanted, tags)
        held = {**held, **sent}
        again = cleared(held, sent)
        if again is not None:
            held = {**held, **again}
        assert without_tags(held) == wanted
        assert tags_of(held) == tuple(sorted(tags))


def test_a_service_that_replaces_needs_no_second_change() -> None:
    sent = with_tags({"a": 1}, ["x"])
    assert cleared(sent, sent) is None


@pytest.mark.parametrize("own", ["text", 5, {"a": 1}, [1], ["a", 1], None])
def test_entry_of_somebodys_own_is_no_tags_and_is_not_overwritten(own: object) -> None:
    metadata = {"tags": own}
    assert tags_of(metadata) == ()
    assert without_tags(metadata) == metadata
    assert with_tags(metadata, ()) == metadata
    with pytest.raises(InvalidArgument):
        with_tags(metadata, ["mine"])


def test_entries_that_can_be_no_tag_are_passed_over() -> None:
    assert tags_of({"tags": ["good", "a,b", "", "latest", "../x"]}) == ("good",)


def test_bad_tags_are_not_sent() -> None:
    with pytest.raises(InvalidReference):
        with_tags({}, ["a,b"])


@pytest.mark.parametrize("given_", [{"tags": ["a"]}, {"dsver_removed": ["a"]}])
def test_metadata_that_would_read_as_ours_is_refused(given_: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        check_given(given_)
