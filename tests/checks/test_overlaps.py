"""Files that occur in more than one role."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlflow_dsver as dsver
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.model.differences import find_overlaps
from mlflow_dsver.model.manifests import FileEntry, Manifest


def manifest(**files: int) -> Manifest:
    """Path to content number; content 0 is empty."""
    entries = (FileEntry(path, content, f"{content:064x}") for path, content in sorted(files.items()))
    return Manifest(tuple(entries))


def test_identical_bytes_under_other_names_are_found() -> None:
    [found] = find_overlaps({"training": manifest(a=1, b=2, c=3), "test": manifest(x=3, y=4)})
    assert (found.first, found.second, found.total, found.bytes) == ("training", "test", 2, 3)
    assert [(a.path, b.path) for a, b in found.pairs] == [("c", "x")]
    assert str(found) == "1 file of test (of 2; 3 B) is in training as well, such as x (training: c)"


def test_empty_files_do_not_count() -> None:
    assert find_overlaps({"training": manifest(a=0), "test": manifest(b=0)}) == ()


def test_each_two_of_three_roles_are_compared() -> None:
    same = manifest(a=1)
    found = find_overlaps({"training": same, "test": same, "validation": same})
    assert [(each.first, each.second) for each in found] == [
        ("test", "training"), ("test", "validation"), ("training", "validation")
    ]  # fmt: skip


contents = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 6), max_size=8)


@given(contents, contents)
def test_the_files_found_are_those_with_bytes_in_both(one: dict[str, int], two: dict[str, int]) -> None:
    overlaps = find_overlaps({"one": manifest(**one), "two": manifest(**two)})
    shared = set(one.values()) & set(two.values()) - {0}
    assert bool(overlaps) == bool(shared)
    for each in overlaps:
        sides = {"one": one, "two": two}
        expected = sorted(path for path, content in sides[each.second].items() if content in shared)
        assert [after.path for _, after in each.pairs] == expected
        assert all(before.digest == after.digest for before, after in each.pairs)


@pytest.fixture
def leaky(tmp_path: Path) -> dict[str, str]:
    refs = {}
    for role, files in {"training": "abc", "test": "cd", "validation": "e"}.items():
        folder = tmp_path / role
        folder.mkdir()
        for name in files:
            (folder / f"{role}-{name}").write_text(name)
        refs[role] = str(dsver.create_version(f"local://{role}", folder))
    return refs


def test_of_references(leaky: dict[str, str]) -> None:
    report = dsver.overlap(leaky)
    assert report
    assert report.exit_code == 1
    assert [str(each) for each in report.overlaps] == [
        "1 file of test (of 2; 1 B) is in training as well, such as test-c (training: training-c)"
    ]
    clean = dsver.overlap({role: leaky[role] for role in ("test", "validation")})
    assert (bool(clean), clean.exit_code) == (False, 0)


def test_of_a_run_and_on_the_command_line(
    leaky: dict[str, str], tracking: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with dsver.start_run(inputs=leaky) as run:
        pass
    assert dsver.overlap(run.info.run_id).exit_code == 1
    assert command(["overlap", run.info.run_id]) == 1
    assert "test-c  1 B  training: training-c" in capsys.readouterr().out
    words = [f"--input={role}={ref}" for role, ref in leaky.items() if role != "test"]
    assert command(["overlap", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overlaps"] == []
    assert command(["overlap"]) == 2
    assert command(["overlap", "--input", "training"]) == 2


def test_a_role_whose_files_nobody_knows_is_unknown_and_no_pass(
    leaky: dict[str, str], tracking: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_dsver.providers.local import LocalProvider

    monkeypatch.setattr(LocalProvider, "local_copy", lambda *_: None)
    monkeypatch.setattr(LocalProvider, "manifest", lambda *_: None)
    report = dsver.overlap({role: leaky[role] for role in ("test", "validation")})
    assert report.exit_code == 3
    assert set(report.unknown) == {"test", "validation"}
