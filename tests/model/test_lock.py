"""The lock file: it round-trips, malformed files are refused, and deviations are reported."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import LONG

from mlflow_dsver.errors import DsverError, InvalidArgument, InvalidReference, LockConflict, SettingsError
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.resolution.lock_file import (
    HEAD,
    LockEntry,
    ambiguities,
    deviation,
    find_lock,
    is_same_request,
    lock_entry,
    lock_text,
    read_lock,
    refuse_moved,
    write_lock,
)

ONE, TWO = f"blake3:{'1' * 64}", f"blake3:{'2' * 64}"


def version(reference: str, digest: str | None = ONE) -> DatasetVersion:
    return DatasetVersion(ref=parse(reference), content_digest=digest)


def entry(requested: str, reference: str, digest: str | None = ONE, role: str = "training") -> LockEntry:
    return LockEntry(role, requested, parse(reference), digest)


NAMES = st.text(
    st.characters(exclude_categories=("C",), exclude_characters="/\\\u2028\u2029"), min_size=1, max_size=12
).filter(lambda name: not name.startswith("."))
PROVIDERS = st.sampled_from(["local", "paperspace", "clarifai", "x-y+z"])
ROLES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
DIGESTS = st.none() | st.from_regex(r"blake3:[0-9a-f]{64}", fullmatch=True)


@st.composite
def entries(draw: st.DrawFn) -> LockEntry:
    provider = draw(PROVIDERS)
    dataset = "/".join(draw(st.lists(NAMES, min_size=1, max_size=3)))
    asked = DatasetRef(provider, dataset, draw(st.none() | NAMES))
    exact = asked.at(draw(NAMES.filter(lambda name: name != "latest")))
    decoded = f"{provider}://{dataset}"
    words = decoded if not set("@%:") & set(dataset) and decoded == decoded.strip() else str(asked)
    return LockEntry(draw(ROLES), draw(st.sampled_from([words, str(asked)])), exact, draw(DIGESTS))


@given(st.lists(entries(), max_size=5, unique_by=lambda each: each.role))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, made: list[LockEntry]) -> None:
    path = tmp_path_factory.mktemp("lock") / "dsver.lock"
    mapping = {each.role: each for each in made}
    write_lock(path, mapping)
    assert read_lock(path) == mapping
    assert list(read_lock(path)) == sorted(mapping)
    assert path.read_text(encoding="utf-8") == lock_text(dict(reversed(mapping.items())))


def test_the_text_of_a_lock_file() -> None:
    """As in the README and in code reviews."""
    mapping = {
        "validation": entry("local://val@clean", "local://val@3f9c", None, "validation"),
        "training": entry("paperspace://dst364npcw6ccok@latest", "paperspace://dst364npcw6ccok@fo5rp4m"),
    }
    assert lock_text(mapping) == (
        f"""{HEAD}
schema = 1

[inputs.training]
requested = "paperspace://dst364npcw6ccok@latest"
version = "paperspace://dst364npcw6ccok@fo5rp4m"
content_digest = "{ONE}"

[inputs.validation]
requested = "local://val@clean"
version = "local://val@3f9c"
""".replace("\n\nschema", "\nschema", 1)
    )
    assert tomllib.loads(lock_text({})) == {"schema": 1}


def test_a_file_that_says_it_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "dsver.lock"
    mapping = {"training": entry("local://a", "local://a@1")}
    write_lock(path, mapping)
    before = (path.stat().st_ino, path.stat().st_mtime_ns)
    write_lock(path, mapping)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        write_lock(tmp_path / "missing" / "dsver.lock", {})
    with pytest.raises(SettingsError, match="cannot be written"):
        write_lock(tmp_path / "file" / "dsver.lock", {})


def test_more_than_can_be_read_is_not_written(tmp_path: Path) -> None:
    roles = [f"role-{number}" for number in range(1500)]
    with pytest.raises(SettingsError, match="too much"):
        write_lock(tmp_path / "dsver.lock", {role: entry("local://a", "local://a@1", role=role) for role in roles})
    assert not list(tmp_path.iterdir())


def test_an_entry_under_another_role_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        write_lock(tmp_path / "dsver.lock", {"test": entry("local://a", "local://a@1")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("role", "requested", "reference", "digest"),
    [
        ("train ing", "local://a", "local://a@1", None),
        ("training", "nonsense", "local://a@1", None),
        ("training", " local://a", "local://a@1", None),
        ("training", "local://a", "local://a", None),
        ("training", "local://a", "local://a@latest", None),
        ("training", "local://a", "paperspace://a@1", None),
        ("training", "local://a", "local://a@1", "md5:1"),
        ("training", "local://a", "local://a@1", ONE + "\n"),
    ],
)
def test_what_cannot_be_locked(role: str, requested: str, reference: str, digest: str | None) -> None:
    with pytest.raises((InvalidReference, InvalidArgument)):
        LockEntry(role, requested, parse(reference), digest)


GOOD = '[inputs.training]\nrequested = "local://a"\nversion = "local://a@1"\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "schema None"),
        (b"\x00\xff\xfe", "not TOML"),
        (b"schema = 1\n" + b"x = " + b"[\n" * 50_000, "not TOML"),
        (b"schema = 1\nx = " + b"[" * 50_000, "a line longer"),
        (b"schema = 1\n" + b"[a]\n" * 2, "not TOML"),
        (b"schema = 1\n" + (GOOD * 2).encode(), "not TOML"),
        (b"schema = 1\n<<<<<<< HEAD\n" + GOOD.encode(), "merge"),
        (b"schema = 2\n", "schema 2; this version reads 1"),
        (b"schema = true\n", "schema True"),
        (b'schema = "1"\n', "schema '1'"),
        (b"schema = " + b"9" * 1500, "schema 9999"),
        (b"schema = 1\ninputs = 7\n", "inputs is not a table"),
        (b"schema = 1\nother = 7\n", "unknown key other"),
        (b"schema = 1\n[inputs]\ntraining = 7\n", "training is not a table of texts"),
        (b"schema = 1\n[[inputs.training]]\nrequested = 'x'\n", "training is not a table of texts"),
        (b"schema = 1\n" + GOOD.encode() + b"content_digest = 7\n", "not a table of texts"),
        (b"schema = 1\n" + GOOD.encode() + b"content_digest = '7'\n", "not a content digest"),
        (b"schema = 1\n" + GOOD.encode() + b"content-digest = '7'\n", "unknown key content-digest"),
        (b"schema = 1\n[inputs.training]\nversion = 'local://a@1'\n", "training has no requested"),
        (b"schema = 1\n[inputs.training]\nrequested = 'local://a'\n", "training has no version"),
        (b"schema = 1\n" + GOOD.replace("@1", "").encode(), "names no version"),
        (b"schema = 1\n" + GOOD.replace("@1", "@latest").encode(), "names no version"),
        (b"schema = 1\n" + GOOD.replace("@1", "@../1").encode(), "dot"),
        (b"schema = 1\n" + GOOD.replace("@1", "@%31").encode(), "not written as local://a@1"),
        (b"schema = 1\n" + GOOD.replace("local://a@1", "nonsense").encode(), "not a reference"),
        (b"schema = 1\n" + GOOD.replace('"local://a"', '"local://\\u202ea"').encode(), "character"),
        (b"schema = 1\n" + GOOD.replace("training", "'tr aining'").encode(), "not a role"),
        (b"schema = 1\n" + GOOD.replace("training", '"\\u001b[2J"').encode(), "not a role"),
        (b"schema = 1\n" + GOOD.replace("training", "''").encode(), "not a role"),
        (b"#\n" * (1 << 16) + b"#", "larger than"),
        (b"#\n" * (1 << 20), "larger than"),
    ],
)
def test_a_hostile_or_broken_file_is_one_clear_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "dsver.lock"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_lock(path)
    told = str(caught.value)
    assert says in told
    assert str(path) in told
    assert told.isprintable()
    assert len(told) < 800
    assert path.read_bytes() == content


@pytest.mark.parametrize("shape", ["[{}]\n", "{} = 1\n"])
def test_no_file_keeps_a_run_waiting(tmp_path: Path, shape: str) -> None:
    """TOML is read in the square of a key's dots: the worst that fits is over in a moment, all else is not read."""
    path = tmp_path / "dsver.lock"
    lines = (shape.format(f"k{number}." + ".".join("a" * 900)) for number in range(60))
    path.write_text("schema = 1\n" + "".join(lines))
    began = time.process_time()  # seconds of computing, whatever else the machine does
    with pytest.raises(SettingsError, match="unknown key"):
        read_lock(path)
    assert time.process_time() - began < LONG
    path.write_text("schema = 1\n" + shape.format(".".join("a" * 60_000)))
    with pytest.raises(SettingsError, match="a line longer"):
        read_lock(path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("folder", "zeros"):
        with pytest.raises(SettingsError, match="is not a file"):
            read_lock(tmp_path / name)
    with pytest.raises(SettingsError, match="there is no lock file"):
        read_lock(tmp_path / "missing")


def test_line_ends_of_another_system_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "dsver.lock"
    mapping = {"training": entry("local://a", "local://a@1")}
    path.write_bytes(lock_text(mapping).replace("\n", "\r\n").encode())
    assert read_lock(path) == mapping


def test_where_the_lock_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest one, not beyond the top of the repository; else in the working folder; a setting names another."""
    deep = tmp_path / "repository" / "project" / "scripts"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_lock() == deep / "dsver.lock"
    (tmp_path / "dsver.lock").touch()
    assert find_lock() == tmp_path / "dsver.lock"
    (tmp_path / "repository" / ".git").mkdir()
    assert find_lock() == deep / "dsver.lock"
    (tmp_path / "repository" / "dsver.lock").touch()
    assert find_lock() == tmp_path / "repository" / "dsver.lock"
    (deep.parent / "dsver.lock").touch()
    assert find_lock() == deep.parent / "dsver.lock"
    monkeypatch.setenv("MLFLOW_DSVER_LOCK", "other.lock")
    assert find_lock() == deep / "other.lock"


def test_the_words_mean_the_same_however_they_are_spelled() -> None:
    have = entry("paperspace://dst364npcw6ccok", "paperspace://dst364npcw6ccok@fo5rp4m")
    assert is_same_request(have, "paperspace://dst364npcw6ccok@latest")
    assert is_same_request(have, "paperspace/dst364npcw6ccok")
    assert is_same_request(have, "dst364npcw6ccok:fo5rp4m")  # the locked version itself
    assert not is_same_request(have, "paperspace://dst364npcw6ccok@clean")
    assert not is_same_request(have, "paperspace://dst364npcw6ccok@other")
    assert not is_same_request(have, "paperspace://dstotheronexxxx")


def test_an_unknown_digest_is_no_deviation() -> None:
    assert deviation(entry("local://a", "local://a@1"), version("local://a@1", None)) is None
    assert deviation(entry("local://a", "local://a@1", None), version("local://a@1")) is None
    assert deviation(entry("local://a", "local://a@1"), version("local://a@1")) is None
    assert deviation(entry("local://a", "local://a@1"), version("local://a@1", TWO)) is not None
    assert deviation(entry("local://a", "local://a@1", None), version("local://a@2", None)) is not None


def test_entries_that_cannot_all_be_true() -> None:
    a = entry("local://a", "local://a@1", ONE, "a")
    assert ambiguities({"a": a, "b": entry("local://a@1", "local://a@1", ONE, "b")}) == []
    assert ambiguities({"a": a, "b": entry("local://a@latest", "local://a@1", None, "b")}) == []
    [(role, why)] = ambiguities({"a": a, "b": entry("local://a@latest", "local://a@2", TWO, "b")})
    assert (role, "local://a@2" in why) == ("b", True)
    [(role, why)] = ambiguities({"a": a, "b": entry("local://a@x", "local://a@1", TWO, "b")})
    assert (role, "digest" in why) == ("b", True)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "dsver.lock"
    mapping = {
        "training": entry("local://a@latest", "local://a@1"),
        "test": entry("local://t@clean", "local://t@7", None, "test"),
    }
    write_lock(path, mapping)
    return path


def refusal(asked: dict[str, str], found: dict[str, DatasetVersion], path: Path | None = None) -> LockConflict:
    with pytest.raises(LockConflict) as caught:
        refuse_moved(asked, found, path)
    assert caught.value.exit_code == 1
    assert isinstance(caught.value, DsverError)
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("words", ["local://a@latest", "local://a", " local://a@latest\n", "local://a@1"])
@pytest.mark.parametrize("digest", [ONE, None])
def test_what_is_as_locked_passes(lock: Path, words: str, digest: str | None) -> None:
    """By the same reference or by the locked version; an unknown digest is not a conflict."""
    refuse_moved({"training": words}, {"training": version("local://a@1", digest)})
    refuse_moved({"training": words}, {"training": version("local://a@1", digest)}, lock)


def test_a_digest_that_was_unknown_when_it_was_locked_is_no_conflict(lock: Path) -> None:
    refuse_moved({"test": "local://t@clean"}, {"test": version("local://t@7", TWO)})


def test_nothing_asked_is_nothing_refused(tmp_path: Path) -> None:
    refuse_moved({}, {}, tmp_path / "missing")


def test_a_selector_that_moved_is_refused(lock: Path) -> None:
    error = refusal({"training": "local://a@latest"}, {"training": version("local://a@2")})
    assert error.roles == ("training",)
    assert "training: local://a@latest means local://a@2 now; locked is local://a@1" in str(error)
    assert error.tip == "mlflow-dsver lock --update training"


def test_other_words_are_refused_although_they_mean_the_same_now(lock: Path) -> None:
    error = refusal({"training": "local://a@clean"}, {"training": version("local://a@1")})
    assert "asked for as local://a@clean; locked is local://a@latest" in str(error)
    assert error.tip == "mlflow-dsver lock --update --input training=local://a@clean"


def test_another_version_by_its_own_reference_is_refused(lock: Path) -> None:
    error = refusal({"training": "local://a@2"}, {"training": version("local://a@2")})
    assert "asked for as local://a@2" in str(error)


def test_another_content_digest_is_refused(lock: Path) -> None:
    error = refusal({"training": "local://a@1"}, {"training": version("local://a@1", TWO)})
    assert f"content digest now, {TWO}; locked is {ONE}" in str(error)


def test_a_role_that_is_not_locked_is_refused(lock: Path) -> None:
    error = refusal({"eval": "local://it's@1"}, {"eval": version("local://it%27s@1")})
    assert "eval: not in the lock file" in str(error)
    assert error.tip == """mlflow-dsver lock --input 'eval=local://it'"'"'s@1'"""


def test_what_is_not_known_is_no_pass(lock: Path) -> None:
    """A role without a version is refused, without a tip to update it."""
    error = refusal({"test": "local://t@clean"}, {})
    assert "not known" in str(error)
    assert error.tip is None


def test_all_that_deviates_is_told_at_once_with_one_tip(lock: Path) -> None:
    asked = {"training": "local://a@latest", "test": "local://t@raw", "eval": "local://e"}
    found = {"training": version("local://a@2"), "test": version("local://t@7"), "eval": version("local://e@1")}
    error = refusal(asked, found)
    assert error.roles == ("eval", "test", "training")
    assert "3 inputs are not as locked" in str(error)
    assert error.tip == (
        "mlflow-dsver lock --update training --input eval=local://e --input test=local://t@raw"
    )  # fmt: skip


def test_only_what_was_asked_for_counts(lock: Path) -> None:
    """A script may use fewer roles than are locked."""
    refuse_moved({"training": "local://a"}, {"training": version("local://a@1"), "other": version("local://x@1")})


def test_a_missing_lock_file_refuses_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = refusal({"training": "local://a"}, {"training": version("local://a@1")})
    assert "there is no lock file" in str(error)
    assert error.tip == "mlflow-dsver lock --input training=local://a"
    error = refusal({"training": "local://a"}, {"training": version("local://a@1")}, tmp_path / "my own.lock")
    assert f"--file '{tmp_path}/my own.lock'" in (error.tip or "")
    assert not list(tmp_path.iterdir())


def test_a_broken_lock_file_lets_nothing_pass(lock: Path) -> None:
    lock.write_text("schema = 1\n[inputs")
    with pytest.raises(SettingsError, match="no lock file"):
        refuse_moved({"training": "local://a"}, {"training": version("local://a@1")})


def test_what_is_locked_comes_from_the_version() -> None:
    assert lock_entry("training", " local://a \n", version("local://a@1")) == entry("local://a", "local://a@1")
