"""Inputs from the environment: those of the user, and the versions that the launcher resolved."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_versions import versions

from mlflow_dsver.errors import DsverError, InvalidArgument, InvalidReference, SettingsError
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.resolution import inputs
from mlflow_dsver.resolution.inputs import (
    MAX_RESOLVED,
    format_inputs,
    inherited_offline,
    inherited_versions,
    parse_inputs,
    serialize_resolved,
)

VARIABLE = "MLFLOW_DSVER_INPUTS"
roles = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)


def _is_reference(text: str) -> bool:
    try:
        parse(text)
    except InvalidReference:
        return False
    return True


letters = st.characters(exclude_categories=["C"], exclude_characters="/\\@%\u2028\u2029")
names = st.lists(letters | st.sampled_from([";", "=", "%3B", "%40", "%25", " "]), min_size=1, max_size=9).map("".join)
references = st.builds("{}://{}@{}".format, st.sampled_from(["local", "x+y"]), names, names).filter(_is_reference)


@given(st.dictionaries(roles, references, max_size=4))
def test_what_is_written_is_read_back_and_means_the_same(wanted: dict[str, str]) -> None:
    read = parse_inputs(format_inputs(wanted), VARIABLE)
    assert {role: parse(text) for role, text in read.items()} == {role: parse(text) for role, text in wanted.items()}
    assert format_inputs(read) == format_inputs(wanted)


@given(st.dictionaries(roles, references.map(lambda text: str(parse(text))), max_size=4))
def test_canonical_references_come_back_letter_by_letter(wanted: dict[str, str]) -> None:
    assert parse_inputs(format_inputs(wanted), VARIABLE) == wanted


@pytest.mark.parametrize("text", ["", " ", ";;", "\n ; \r\n"])
def test_nothing_is_no_inputs(text: str) -> None:
    assert parse_inputs(text, VARIABLE) == {}


def test_lines_blanks_and_equal_signs() -> None:
    text = " training = local://a=b@latest ;\n\tvalidation=local://c d;\r\n"
    assert parse_inputs(text, VARIABLE) == {"training": "local://a=b@latest", "validation": "local://c d"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("local://digits@latest", "an input without a role"),
        ("local://digits=x", "an input without a role"),
        ("training", "an input without a role"),
        ("training=", "not a reference"),
        ("training=digits", "local://digits for a dataset"),
        ("tra in=local://a", "not a role"),
        ("=local://a", "not a role"),
        ("training=local://a;training=local://a", "training occurs twice"),
        ("training=local://a;b@c", "an input without a role"),
        ("training=local://a\x1b[31m", "not allowed"),
    ],
)
def test_malformed_inputs_are_refused_in_one_line_with_the_variable(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match="MLFLOW_DSVER_INPUTS") as caught:
        parse_inputs(text, VARIABLE)
    assert told in str(caught.value)
    assert "role=reference" in str(caught.value)
    assert str(caught.value).isprintable()
    with pytest.raises(InvalidArgument, match="--input"):
        parse_inputs(text, "--input")


def test_the_settings_are_read_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs.configured_inputs() == inputs.configured_overrides() == {}
    monkeypatch.setenv("MLFLOW_DSVER_INPUTS", "training=local://a")
    monkeypatch.setenv("MLFLOW_DSVER_OVERRIDE", "test=local://b")
    assert inputs.configured_inputs() == {"training": "local://a"}
    assert inputs.configured_overrides() == {"test": "local://b"}
    monkeypatch.setenv("MLFLOW_DSVER_OVERRIDE", "local://b")
    with pytest.raises(SettingsError, match="MLFLOW_DSVER_OVERRIDE"):
        inputs.configured_overrides()


@given(st.dictionaries(references, versions, max_size=3))
def test_inherited_versions_round_trip(answers: dict[str, DatasetVersion]) -> None:
    """By requested and by canonical reference; in ASCII, without a line break."""
    answers = {
        text: DatasetVersion.from_json({**version.to_json(), "reference": f"local://set-{number}@v"})
        for number, (text, version) in enumerate(answers.items())
    }
    text = serialize_resolved(answers, offline=list(answers)[:1])
    assert text.isascii()
    assert text.isprintable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DSVER_RESOLVED", text)
        read = inherited_versions()
        assert {each.strip(" \t\r\n") for each in list(answers)[:1]} <= inherited_offline()
    assert all(read[str(version.ref)] == version for version in answers.values())
    assert all(read[text.strip(" \t\r\n")] == version for text, version in answers.items())


def test_equivalent_references_have_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless they were resolved themselves, at another time."""
    one, two = _large(1), _large(2)
    monkeypatch.setenv(
        "MLFLOW_DSVER_RESOLVED", serialize_resolved({"local://a": one, "local://b c@latest": two}, ["local://a"])
    )
    assert set(inherited_versions()) == {
        "local://a", "local://a@latest", "local://a1@v",
        "local://b c@latest", "local://b%20c", "local://b%20c@latest", "local://a2@v",
    }  # fmt: skip
    assert inherited_offline() == {"local://a", "local://a@latest"}
    monkeypatch.setenv(
        "MLFLOW_DSVER_RESOLVED", serialize_resolved({"local://a": one, "local://a@latest": two}, ["local://a"])
    )
    assert inherited_versions()["local://a@latest"] == two
    assert inherited_offline() == {"local://a"}


def test_nothing_is_inherited_without_a_launcher() -> None:
    assert inherited_versions() == {}
    assert inherited_offline() == frozenset()


def _large(number: int, **parts: object) -> DatasetVersion:
    return DatasetVersion.from_json({"reference": f"local://a{number}@v", **parts})


def test_a_variable_never_becomes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest versions lose `raw` first, then metadata, then messages; small ones keep all fields."""
    big = "ü" * 20_000
    small = _large(0, raw={"kept": True}, metadata={"round": 1}, message="first")
    answers = {"local://a0": small, "local://a1": _large(1, raw={"x": big}, metadata={"y": 1}, message="second")}
    monkeypatch.setenv("MLFLOW_DSVER_RESOLVED", serialize_resolved(answers))
    assert inherited_versions()["local://a0"] == small
    assert inherited_versions()["local://a1"] == _large(1, metadata={"y": 1}, message="second")
    answers["local://a2"] = _large(2, raw={"x": 1}, metadata={"y": big}, message=big)
    text = serialize_resolved(answers)
    assert len(text) <= MAX_RESOLVED
    monkeypatch.setenv("MLFLOW_DSVER_RESOLVED", text)
    assert inherited_versions()["local://a2"] == _large(2)
    assert inherited_versions()["local://a0"].message == "first"


def test_too_many_inputs_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="too many inputs"):
        serialize_resolved({f"local://a{number}": _large(number) for number in range(1000)})


@pytest.mark.parametrize(
    "text",
    [
        "x", "[]", "{}", '{"schema":2}', "[" * 100_000, '{"schema":1,"versions":[{}]}', '{"schema":1,"versions":3}',
        '{"schema":1,"versions":["a"]}', '{"schema":1,"meaning":{"local://a":"local://a@v"}}',
        '{"schema":1,"meaning":[]}', '{"schema":1,"versions":[{"reference":"local://a"}]}',
        '{"schema":1,"versions":[{"reference":"a"}]}',
    ],
)  # fmt: skip
def test_a_value_that_the_launcher_did_not_write_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_RESOLVED", text)
    with pytest.raises(SettingsError, match="MLFLOW_DSVER_RESOLVED was not set by"):
        inherited_versions()


@pytest.mark.parametrize("offline", [3, ["a", 1], "a", {"a": 1}])
def test_an_offline_list_that_is_none_is_refused(offline: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_RESOLVED", json.dumps({"schema": 1, "offline": offline}))
    with pytest.raises(DsverError, match="MLFLOW_DSVER_RESOLVED"):
        inherited_offline()


def test_a_version_asked_for_by_its_own_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    version = DatasetVersion(DatasetRef("local", "a", "v"))
    monkeypatch.setenv("MLFLOW_DSVER_RESOLVED", serialize_resolved({" local://a@v\n": version}))
    assert inherited_versions() == {"local://a@v": version}
