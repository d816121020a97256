"""Settings files of this package and of vendors: any content is read or refused as a whole, quickly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlflow_dsver import config_files, settings
from mlflow_dsver.errors import DsverError, SettingsError
from mlflow_dsver.providers.clarifai import info as clarifai_info
from mlflow_dsver.providers.paperspace import info, local_files

KEYS = ["contexts", "current_context", "integrations", "keys", "team", "apiKey", "ref", "id"]
PATIENT = hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)

NASTY = [
    b"\xff\xfe",
    b"[" * 60_000,
    b"a = " + b"[" * 60_000,
    b"a = " + b"{b=" * 20_000,
    b"{" * 60_000,
    b"- " * 30_000,
    b"a." * 30_000 + b"a = 1",
    b"'a'.\"b\"." * 6_000 + b"a = 1",
    b"[" + b"a." * 30_000 + b"a]",
    b"x = {" + b"a . " * 15_000 + b"a = 1}",
    b"a = 1" + b"0" * 5000,
    b"a: &a [x]\nb: *a\n",
    b"&a [*a]",
    b"k0: &k0 {x: 1}\n" + b"".join(b"k%d: &k%d {<<: [*k%d, *k%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 31)),
    b"current_context: [a]\ncontexts: {}\n",
    b"current_context: {a: 1}\ncontexts: {a: 1}\n",
    b"contexts: {? [a] : b}\n",
    b"contexts: {1: 2, null: 3}\n",
    b"integrations: {1: {ref: 2}}\n",
    b"integrations: {x: {type: dataset, ref: ds:v, version: [1]}}\n",
    b"!!python/object/apply:os.system ['true']",
    b"x: 9999-99-99\n",
    b"{\"apiKey\": " + b"[" * 60_000,
    b'{"apiKey": 1e999}',
    b'keys = {a = 1}\nteam = 2',
    b'keys = "x"',
    b"a: b\n" * 20_000,
]  # fmt: skip


def read_settings(path: Path) -> object:
    return config_files.toml_file(path)


def read_clarifai(path: Path) -> object:
    return clarifai_info._context(None)


def read_paperspace_mounts(path: Path) -> object:
    return local_files._integrations(path)


def read_paperspace_keys(path: Path) -> object:
    return info._pspace(path)


def read_gradient_key(path: Path) -> object:
    return info._gradient(path)


READERS = [read_settings, read_clarifai, read_paperspace_mounts, read_paperspace_keys, read_gradient_key]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "file"
    monkeypatch.setattr(clarifai_info, "CONFIG_FILE", path)
    return path


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("number", range(len(NASTY)))
def test_nasty_file_is_read_or_refused_by_name(reader: Callable[[Path], object], number: int, path: Path) -> None:
    path.write_bytes(NASTY[number])
    try:
        reader(path)
    except SettingsError as error:
        assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("reader", READERS)
def test_any_bytes_are_read_or_refused(reader: Callable[[Path], object], path: Path) -> None:
    @PATIENT
    @given(
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                    st.sampled_from(KEYS),
                    inner,
                    max_size=3,
                ),
                max_leaves=12,
            ).map(lambda value: json.dumps(value).encode()),
        )
    )  # fmt: skip
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            reader(path)
        except DsverError:
            pass

    check()


def test_large_file_is_refused(path: Path) -> None:
    path.write_bytes(b"#" * (config_files.MAX_SETTINGS + 1))
    for reader in (read_settings, read_clarifai, read_paperspace_mounts):
        with pytest.raises(SettingsError, match="larger"):
            reader(path)


def test_a_settings_file_is_parsed_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a setting is read, as for each version of a listing; and again after it was changed."""
    parsed: list[str] = []
    original = config_files.tomllib.loads

    def loads(text: str) -> dict[str, object]:
        parsed.append(text)
        return original(text)

    monkeypatch.setattr(config_files.tomllib, "loads", loads)
    monkeypatch.setenv("MLFLOW_DSVER_CONFIG", str(path))
    path.write_text('on_error = "warn"\n')
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert [settings.on_error() for _ in range(50)] == ["warn"] * 50
    assert len(parsed) == 1
    path.write_text('on_error = "raise"\n')
    os.utime(path, (1_000_000_001, 1_000_000_001))
    assert settings.on_error() == "raise"
    path.unlink()
    assert settings.setting("ON_ERROR") is None


def test_a_file_that_was_just_written_is_not_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times may be the same after the next write."""
    monkeypatch.setenv("MLFLOW_DSVER_CONFIG", str(path))
    for value in ("warn", "raise", "warn"):
        path.write_text(f'on_error = "{value}"\n'.ljust(30))
        assert settings.on_error() == value
