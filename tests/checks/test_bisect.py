"""Bisection over versions: each step returns the right version to test, and the last step the first bad version."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlflow_dsver as dsver
from mlflow_dsver.checks.bisect import CommandFailed, Result, bisect_with, command_result, step
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion


def versions(count: int) -> list[DatasetVersion]:
    return [DatasetVersion(DatasetRef("local", "d", str(number))) for number in range(count)]


@given(st.integers(2, 200), st.data())
def test_it_ends_at_the_first_bad_version_in_no_more_tries_than_promised(count: int, data: st.DataObject) -> None:
    every = versions(count)
    first_bad = data.draw(st.integers(1, count - 1))
    goods, bads = {"0"}, {str(count - 1)}
    promised = step(every, goods, bads, set()).tries
    tries = 0
    while (found := step(every, goods, bads, set())).next is not None:
        (bads if int(found.next.id) >= first_bad else goods).add(found.next.id)
        tries += 1
    assert found.bad.id == str(first_bad)
    assert found.suspects == (found.bad,)
    assert tries <= promised <= count.bit_length()


@given(st.integers(3, 60), st.data())
def test_with_skipped_versions_the_first_bad_one_is_among_the_suspects(count: int, data: st.DataObject) -> None:
    every = versions(count)
    first_bad = data.draw(st.integers(1, count - 1))
    broken = data.draw(st.sets(st.integers(1, count - 2)))
    goods, bads, skips = {"0"}, {str(count - 1)}, set()
    while (found := step(every, goods, bads, skips)).next is not None:
        number = int(found.next.id)
        (skips if number in broken else bads if number >= first_bad else goods).add(found.next.id)
    assert str(first_bad) in {each.id for each in found.suspects}


def test_results_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="contradict"):
        step(versions(5), {"0", "3"}, {"2", "4"}, set())


@pytest.fixture
def seven(tmp_path: Path) -> list[str]:
    """Seven versions, oldest first; from the fourth on a 3 in the file makes them bad."""
    folder = tmp_path / "data"
    folder.mkdir()
    made = []
    for number in range(7):
        (folder / "number").write_text(str(number))
        made.append(str(dsver.create_version("local://seven", folder)))
    return made


def test_the_library_names_the_next_version_and_the_answer(seven: list[str]) -> None:
    found = dsver.bisect(seven[0], seven[6])
    assert (str(found.next), found.between, found.tries) == (seven[3], 5, 3)
    found = dsver.bisect(seven[0], seven[6], tested_bad=[seven[3]], tested_good=[seven[2]])
    assert found.next is None
    assert str(found.bad) == seven[3]
    for wrong in ((seven[6], seven[0]), (seven[1], seven[1])):
        with pytest.raises(InvalidArgument):
            dsver.bisect(*wrong)


def test_ends_may_be_runs(seven: list[str], tracking: object) -> None:
    runs = []
    for reference in (seven[1], seven[4]):
        with dsver.start_run(inputs={"training": reference}) as run:
            runs.append(run.info.run_id)
    assert str(dsver.bisect(*runs).next) == seven[3]
    with pytest.raises(InvalidArgument, match="no version in the role test"):
        dsver.bisect(*runs, role="test")


def test_a_command_tries_versions_by_itself(
    seven: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "check.py"
    order = {reference: number for number, reference in enumerate(seven)}
    script.write_text(
        "import os, sys\n"
        f"order = {order!r}\n"
        "assert os.environ['MLFLOW_DSVER_OVERRIDE'] == 'training=' + sys.argv[1]\n"
        "number = order[sys.argv[1]]\n"
        "sys.exit(125 if number == 3 else 1 if number >= 5 else 0)\n"
    )
    words = ["bisect", seven[0], seven[6], "--run", f"{sys.executable} {script} {{}}", "--json"]
    assert command(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["next"], answer["suspects"]) == (None, [seven[5]])


def test_a_command_that_is_stopped_or_missing_stops_the_search(
    seven: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "die.py"
    script.write_text("import sys\nsys.exit(200)\n")
    assert command(["bisect", seven[0], seven[6], "--run", f"{sys.executable} {script}"]) != 0
    assert "exited with 200" in capsys.readouterr().err
    for wrong in ("/no/such/program {}", "", "'"):
        assert command(["bisect", seven[0], seven[6], "--run", wrong]) == 2
    assert command(["bisect", seven[0], seven[6]]) == 0
    assert f"next  {seven[3]}" in capsys.readouterr().out


def test_the_command_uses_the_same_stores_and_servers_as_this_process(
    seven: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without these settings it would resolve the same reference in another store."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "bisect")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_DSVER_OVERRIDE", "test=local://seven@latest")
    script = tmp_path / "check.py"
    script.write_text(
        "import os, sys\n"
        f"assert os.environ['MLFLOW_DSVER_HOME'] == {str(tmp_path / 'dsver-home')!r}\n"
        "assert os.environ['MLFLOW_TRACKING_URI'].startswith('sqlite:')\n"
        "assert os.environ['MLFLOW_EXPERIMENT_NAME'] == 'bisect'\n"
        "assert 'MLFLOW_RUN_ID' not in os.environ\n"
        "assert 'test=local://seven@latest' in os.environ['MLFLOW_DSVER_OVERRIDE'].split(';')\n"
        "print('noise')\n"
        f"sys.exit({seven!r}.index(sys.argv[1]) >= 4)\n"
    )
    assert command(["bisect", seven[0], seven[6], "--run", f"{sys.executable} {script} {{}}", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["suspects"] == [seven[4]]


@pytest.mark.parametrize(
    ("wrong", "at"),
    [("good", Result.BAD), ("good", Result.SKIP), ("bad", Result.GOOD), ("bad", Result.SKIP)],
)
def test_a_command_that_contradicts_an_end_is_refused_before_the_search(
    seven: list[str], wrong: str, at: Result
) -> None:
    ends = {seven[0]: Result.GOOD, seven[6]: Result.BAD}
    liar = ends | {seven[0] if wrong == "good" else seven[6]: at}
    with pytest.raises(CommandFailed, match=f"expected {wrong}; got {at}"):
        bisect_with(seven[0], seven[6], liar.__getitem__)  # any other version is a KeyError


def test_both_ends_are_tried_once_and_before_all_others(seven: list[str]) -> None:
    tried: list[str] = []

    def try_version(reference: str) -> Result:
        tried.append(reference)
        return Result.BAD if seven.index(reference) >= 5 else Result.GOOD

    assert str(bisect_with(seven[0], seven[6], try_version).bad) == seven[5]
    assert tried[:2] == [seven[0], seven[6]]
    assert len(tried) == len(set(tried)) <= 5


@pytest.mark.parametrize("code", [0, 1, 2, 124, 125])
def test_exit_codes_that_speak_of_the_version(code: int) -> None:
    expected = {0: Result.GOOD, 125: Result.SKIP}.get(code, Result.BAD)
    assert command_result(code, "local://d@1") is expected


@pytest.mark.parametrize("code", [126, 127, 128, 130, 139, 255, -9, -11])
def test_a_command_that_was_not_found_or_crashed_says_nothing_of_the_version(code: int) -> None:
    with pytest.raises(CommandFailed, match="without testing the version"):
        command_result(code, "local://d@1")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit(127)", "sys.exit(1)"])
def test_a_command_that_fails_everywhere_is_no_answer(
    seven: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    script = tmp_path / "crash.py"
    script.write_text(f"import os, sys\n{end}\n")
    assert command(["bisect", seven[0], seven[6], "--run", f"{sys.executable} {script}"]) == 3
    assert "first bad version" not in capsys.readouterr().out
