"""References: parsing, round trips, and refusals in one line."""

from __future__ import annotations

import re
import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import DatasetRef, check_name, check_role, check_tag, nearest, parse, parse_recorded

names = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="/\\"), min_size=1, max_size=12
).filter(lambda name: not name.startswith("."))
datasets = st.lists(names, min_size=1, max_size=3).map("/".join)
providers = st.from_regex(r"[a-z][a-z0-9+-]{0,15}", fullmatch=True)
refs = st.builds(DatasetRef, providers, datasets, st.none() | names)


@given(refs)
@example(DatasetRef("local", "a@b", "c@d"))
@example(DatasetRef("local", "50%", "%40"))
@example(DatasetRef("paperspace", "a:b", "c:d"))
@example(DatasetRef("paperspace", "dst364npcw6ccok", "paperspace:"))
@example(DatasetRef("clarifai", "me/app/cats", None))
@example(DatasetRef("local", " ", " "))
def test_what_is_printed_is_read_back(ref: DatasetRef) -> None:
    assert parse(str(ref)) == ref


@given(refs)
def test_the_printed_form_means_itself_anywhere(ref: DatasetRef) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~/:@%+-]+", str(ref))


@given(st.text(max_size=40) | st.builds("{}://{}".format, providers, st.text(max_size=20)))
def test_text_is_read_to_a_fixed_point_or_refused(text: str) -> None:
    """Any text is parsed to a reference that round-trips, or raises InvalidReference."""
    try:
        ref = parse(text)
    except InvalidReference as error:
        refusal = error
    else:
        assert parse(str(ref)) == ref
        assert str(parse(str(ref))) == str(ref)
        return
    assert str(refusal).isprintable()
    assert refusal.exit_code == 2


@pytest.mark.parametrize(
    ("text", "provider", "dataset", "selector"),
    [
        ("local://digits", "local", "digits", None),
        ("local://digits@latest", "local", "digits", "latest"),
        ("LOCAL://Digits@V1", "local", "Digits", "V1"),
        ("  local://digits\n", "local", "digits", None),
        ("local://a/b%20c@d%40e", "local", "a/b c", "d@e"),
        ("local://größe@ä", "local", "größe", "ä"),
        ("dst364npcw6ccok:fo5rp4m", "paperspace", "dst364npcw6ccok", "fo5rp4m"),
        ("paperspace/dst364npcw6ccok", "paperspace", "dst364npcw6ccok", None),
        ("paperspace/dst364npcw6ccok:latest", "paperspace", "dst364npcw6ccok", "latest"),
        ("my-team/dst364npcw6ccok:fo5rp4m", "paperspace", "my-team/dst364npcw6ccok", "fo5rp4m"),
        ("PAPERSPACE://dst364npcw6ccok:fo5rp4m", "paperspace", "dst364npcw6ccok", "fo5rp4m"),
        ("Paperspace://my-team/cats:fo5rp4m", "paperspace", "my-team/cats", "fo5rp4m"),
        ("paperspace://dst364npcw6ccok:fo5rp4m", "paperspace", "dst364npcw6ccok", "fo5rp4m"),
        ("paperspace://dst364npcw6ccok@fo5rp4m", "paperspace", "dst364npcw6ccok", "fo5rp4m"),
        ("https://clarifai.com/me/app/datasets/cats", "clarifai", "me/app/cats", None),
        ("https://clarifai.com/me/app/datasets/cats/versions/v3/", "clarifai", "me/app/cats", "v3"),
        ("third-party+x://d@1", "third-party+x", "d", "1"),
    ],
)
def test_well_known_spellings(text: str, provider: str, dataset: str, selector: str | None) -> None:
    assert parse(text) == DatasetRef(provider, dataset, selector)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "digits", "local:digits", "local:/digits", "://digits", "local://", "local://@latest", "local://digits@",
        "local://a@b@c", "local://..", "local://a/../b", "local://a//b", "local:///etc/passwd", "local://.hidden",
        "local://a@..", "local://a@.x", "local://a%2e%2e/b%2f..", "local://%2e%2e", "local://a\\b", "local://a\0b",
        "local://a\x1b[31m", "local://a%0ab", "local://a\u202eb", "local://a\u2028b", "local://a%ff", "lo cal://a",
        "1local://a", "local\n://a", "x" * 5000, "local://" + "a" * 400, "local://" + "é" * 100, "x" * 33 + "://a",
        "https://clarifai.com/me/app/datasets/../versions/x", "local://a\ud800", "../dst364npcw6ccok",
    ],
)  # fmt: skip
def test_refused_with_one_helpful_line(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("text", ["dst364npcw6ccok", "dsotmcollection", "images/dst364npcw6ccok"])
def test_a_word_that_only_looks_like_an_id_is_no_reference(text: str) -> None:
    """It may be a folder or a local dataset; the message offers both."""
    with pytest.raises(InvalidReference, match=rf"local://{text} for .*, paperspace://{text} for one of Paperspace"):
        parse(text)


def test_an_id_alone_that_was_recorded_is_read() -> None:
    """Runs and lock files of earlier versions have it as what was requested; all else is as for `parse`."""
    assert parse_recorded("dst364npcw6ccok") == DatasetRef("paperspace", "dst364npcw6ccok")
    assert parse_recorded("local://digits@v1") == DatasetRef("local", "digits", "v1")
    with pytest.raises(InvalidReference):
        parse_recorded("images/dst364npcw6ccok")


def test_a_tip_for_who_forgot_the_provider() -> None:
    with pytest.raises(InvalidReference, match="Try: local://digits@v1 for a dataset of the local store"):
        parse("digits@v1")


@pytest.mark.parametrize("value", [None, 3, b"local://a", ["local://a"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidReference, match="a reference is text"):
        parse(value)  # type: ignore[arg-type]


def test_a_parsed_reference_is_handed_back() -> None:
    ref = DatasetRef("local", "a")
    assert parse(ref) is ref
    assert ref.at("x") == DatasetRef("local", "a", "x")
    assert ref.at("x").at(None) == ref


@given(st.text(max_size=5))
def test_a_name_that_is_accepted_stays_in_its_folder(name: str) -> None:
    try:
        check_name(name, "a name")
    except InvalidReference:
        return
    assert name
    assert name[0] != "."
    assert not set(name) & set("/\\\0\n\r")
    assert not any(unicodedata.category(character).startswith("C") for character in name)


@given(st.text(string.printable + "é", max_size=66))
def test_a_role_is_of_characters_that_every_key_takes(role: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", role):
        assert check_role(role) == role
    else:
        with pytest.raises(InvalidReference):
            check_role(role)


@pytest.mark.parametrize("role", ["training\n", "a.b", "", None, 7, "a" * 65, "-a", "é"])
def test_roles_that_are_refused(role: object) -> None:
    with pytest.raises(InvalidReference):
        check_role(role)  # type: ignore[arg-type]


@pytest.mark.parametrize("tag", ["a,b", " a", "a ", "latest", "", ".a", "a/b", "a\nb", "x" * 129])
def test_tags_that_are_refused(tag: str) -> None:
    with pytest.raises(InvalidReference):
        check_tag(tag)


@given(st.lists(names.filter(lambda n: "," not in n and n == n.strip() and n != "latest"), max_size=4))
def test_tags_joined_by_commas_come_apart_again(tags: list[str]) -> None:
    accepted = [check_tag(tag) for tag in tags]
    assert [tag for tag in ",".join(accepted).split(",") if tag] == tags


def test_nearest_names() -> None:
    assert nearest("digit", ["digits", "cats", "digest"])[0] == "digits"
    assert nearest("zzz", ["digits"]) == []
