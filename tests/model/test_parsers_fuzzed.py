"""Every parser of runs, files and variables raises only its own error, for any bytes, text or JSON."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlflow_dsver.checks.manifest_stream import ManifestStream, diff_streams, parse_line
from mlflow_dsver.errors import InvalidArgument, InvalidReference, SettingsError
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest, read
from mlflow_dsver.model.refs import DatasetRef, parse, parse_recorded
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import schema
from mlflow_dsver.resolution import inputs, lock_file

WHOLE = Link(
    "training",
    "local://digits@latest",
    DatasetVersion(
        DatasetRef("local", "digits", "3f9c2a7d11e05b64"),
        tags=("clean",),
        message="first",
        metadata={"by": ["me", 1.5, None]},
        usage_bytes=20,
        content_digest="blake3:" + "a" * 64,
        created=datetime(2026, 11, 22, tzinfo=UTC),
        counts={"files": 3},
        raw={"id": "x"},
    ),
    Grade("A", ("attached later",)),
    datetime(2026, 11, 22, tzinfo=UTC),
).to_json()
MANIFEST = Manifest((FileEntry("a/b.txt", 3, "a" * 64), FileEntry("c", 0, "b" * 64)), made={"tool": "x"}).to_bytes()
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "D", "B (x", "latest", "\ud800", "\0"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def edited(draw: st.DrawFn, whole: Mapping[str, Any]) -> Any:
    """A JSON object of ours with some of its values replaced or taken away, at any depth."""
    made: Any = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 4))):
        here = made
        while True:
            if not here:
                break
            name = draw(st.sampled_from(sorted(here)))
            if isinstance(here[name], dict) and here[name] and draw(st.booleans()):
                here = here[name]
                continue
            if draw(st.booleans()):
                here[name] = draw(VALUES)
            else:
                del here[name]
            break
    return made


def only(errors: type[Exception] | tuple[type[Exception], ...], parser: Any, *arguments: Any) -> Any:
    """The parser's result; None if it raises one of its own errors. Other errors are not caught."""
    try:
        return parser(*arguments)
    except errors:
        return None


@given(edited(WHOLE) | VALUES)
@example({**WHOLE, "schema": True})
@example({**WHOLE, "linked": "0001-01-01T00:00:00+14:00"})
@example({**WHOLE, "version": {**WHOLE["version"], "usage_bytes": 10**400}})
@example({**WHOLE, "version": {**WHOLE["version"], "tags": "clean"}})
def test_a_link_is_read_or_refused_with_its_own_error(data: Any) -> None:
    """What is read can be written, shown and recorded: nothing of a wrong type comes in."""
    link = only(ValueError, Link.from_json, data)
    if link is not None:
        assert Link.from_json(json.loads(json.dumps(link.to_json()))) == link
        schema.params(link)
        schema.profile(link.version, link.requested, link.grade)
        schema.link_json(link)


@given(edited(WHOLE["version"]) | VALUES)
def test_a_version_is_read_or_refused_with_its_own_error(data: Any) -> None:
    version = only(ValueError, DatasetVersion.from_json, data)
    if version is not None:
        assert hash(version) == hash(DatasetVersion.from_json(version.to_json()))


def test_every_field_of_a_version_is_read_back() -> None:
    from mlflow_dsver.model.json_values import _fields

    assert [field.name for field in _fields(DatasetVersion)] == list(DatasetVersion.__slots__)


LINES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        VALUES.map(lambda value: json.dumps(value).encode("utf-8", "replace")),
        st.builds(
            lambda path, size, digest: json.dumps({"path": path, "bytes": size, "digest": digest}).encode(),
            st.sampled_from(["a", "a/b", "../x", "/x", "", "a//b", "a\\u0000"]) | st.text(max_size=5),
            st.integers() | st.just(10**30) | st.none(),
            st.sampled_from(["a" * 64, "A" * 64, "a" * 63, 7]),
        ),
    ),
    max_size=5,
)
HEADERS = st.one_of(
    edited({"schema": 1, "files": 1, "bytes": 1, "content_digest": "blake3:" + "a" * 64, "made": {}}), VALUES
).map(lambda value: json.dumps(value).encode("utf-8", "replace"))
COMPRESSED = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda header, lines: gzip.compress(b"\n".join([header, *lines]) + b"\n"), HEADERS, LINES),
    st.builds(
        lambda at, byte: MANIFEST[:at] + bytes([byte]) + MANIFEST[at + 1 :],
        st.integers(0, len(MANIFEST)),
        st.integers(0, 255),
    ),
    st.integers(0, len(MANIFEST)).map(lambda end: MANIFEST[:end]),
    st.just(MANIFEST + b"\x1f\x8b"),
)


@given(COMPRESSED)
def test_a_manifest_is_read_or_refused_with_its_own_error(content: bytes) -> None:
    def lines() -> list[FileEntry]:
        return [parse_line(line) for line in ManifestStream(BytesIO(content))]

    whole = only(InvalidManifest, read, BytesIO(content))
    quick = only(InvalidManifest, lines)
    if whole is not None:
        assert quick == list(whole.entries)
    only(InvalidManifest, diff_streams, BytesIO(content), BytesIO(MANIFEST))


@given(st.binary(max_size=100) | VALUES.map(lambda value: json.dumps(value).encode("utf-8", "replace")))
def test_a_line_of_a_manifest_is_read_or_refused_with_its_own_error(line: bytes) -> None:
    only(InvalidManifest, parse_line, line)


LOCK = """schema = 1
[inputs.training]
requested = "local://digits@latest"
version = "local://digits@3f9c2a7d11e05b64"
content_digest = "blake3:{}"
""".format("a" * 64)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
    | st.builds(
        lambda at, count, text: (LOCK[:at] + text + LOCK[at + count :]).encode("utf-8", "replace"),
        st.integers(0, len(LOCK)),
        st.integers(0, 20),
        st.text(alphabet=st.characters(codec="utf-8"), max_size=10)
        | st.sampled_from(["[[", "{", "'''", "1e999", "nan"]),
    )
)
@example(b"schema = 1\n" + b"a." * 900 + b"b = 1\n")
@example(b"schema = 1\ninputs = " + b"[" * 1900 + b"\n")
@example(b"schema = 1\n[inputs.x]\nrequested = 1979-05-27\n")
def test_a_lock_file_is_read_or_refused_with_its_own_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dsver.lock"
    path.write_bytes(content)
    entries = only(SettingsError, lock_file.read_lock, path)
    if entries is not None:
        assert lock_file._entries(lock_file._tables(lock_file.lock_text(entries).encode())) == entries


@given(
    st.text(max_size=100)
    | st.lists(st.sampled_from(["training", "=", ";", "\n", "local://a", "@", " ", "%"])).map("".join)
)
def test_inputs_are_read_or_refused_with_their_own_error(text: str) -> None:
    found = only(InvalidArgument, inputs.parse_inputs, text, "--input")
    again = only(SettingsError, inputs.parse_inputs, text, "MLFLOW_DSVER_INPUTS")
    assert found == again


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    VALUES | edited({"schema": 1, "versions": [WHOLE["version"]], "meaning": {"local://digits": "x"}, "offline": []})
)
def test_what_the_launcher_hands_down_is_read_or_refused_with_its_own_error(
    monkeypatch: pytest.MonkeyPatch, told: Any
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_RESOLVED", json.dumps(told))
    only(SettingsError, inputs.inherited_versions)
    only(SettingsError, inputs.inherited_offline)


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "local",
                "paperspace",
                "://",
                "@",
                "%",
                "%zz",
                "%00",
                "/",
                ":",
                "dst364npcw6ccok",
                "https://clarifai.com/",
            ]
        )
    ).map("".join)
    | VALUES
)
@example("local://" + "a" * 100_000)
def test_a_reference_is_read_or_refused_with_its_own_error(text: Any) -> None:
    for parser in (parse, parse_recorded):
        ref = only(InvalidReference, parser, text)
        if ref is not None:
            assert parse(str(ref)) == ref


@given(st.text(max_size=200) | st.just("a" * 64 + " x; " * 2000))
def test_sums_of_artifacts_are_read_or_nothing(text: str) -> None:
    assert schema.parse_artifacts(text) is None or isinstance(schema.parse_artifacts(text), dict)
    assert isinstance(schema.parse_tags(text), tuple)


@given(
    st.dictionaries(
        st.sampled_from(["training.json", "training.manifest.jsonl.gz", "x_-.json"]), st.binary(), min_size=1
    )
)
def test_sums_of_artifacts_are_read_back(files: dict[str, bytes]) -> None:
    import hashlib

    text = schema.artifacts_text(files)
    assert schema.parse_artifacts(text) == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert schema.artifacts_text({}, text) == text
