"""`mlflow-dsver lock` as people and their hooks run it: what it writes, what it refuses, what it finds."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import SCRIPT, Run

from mlflow_dsver.resolution.lock_file import read_lock

ROOT = Path(__file__).parents[2]
INPUT = ("lock", "--input", "training=local://digits@latest")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dsver.lock"


def refused(run: Run, *arguments: str, code: int = 2, **variables: str) -> str:
    """The one line on standard error; the lock file is as it was."""
    file = Path(variables.pop("at"))
    before = file.read_bytes() if file.is_file() else None
    done = run(*arguments, **variables)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr[:-1].isprintable()
    assert (file.read_bytes() if file.is_file() else None) == before
    return done.stderr


def said(run: Run, *arguments: str, code: int = 0, **variables: str) -> str:
    done = run(*arguments, **variables)
    assert (done.returncode, done.stderr) == (code, ""), done.stderr + done.stdout
    return done.stdout


def answer(run: Run, *arguments: str, code: int = 0, **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(run, *arguments, "--json", code=code, **variables))
    return found


def next_version(run: Run, folder: Path, *options: str) -> str:
    """Change one file, add one and remove one; the reference of the version that this makes."""
    (folder / "0" / "0.txt").write_text("changed\n" * 100)
    (folder / "added.txt").write_text("added\n")
    (folder / "1" / "1.txt").unlink()
    return said(run, "versions", "create", "local://digits", str(folder), *options).split()[1]


def test_inputs_are_locked_and_shown(run: Run, made: str, file: Path) -> None:
    told = said(run, *INPUT, "--input", "test=local://digits@raw")
    assert f"added   training  local://digits@latest is {made}" in told
    assert told.endswith("dsver.lock: 2 inputs\n")
    content = tomllib.loads(file.read_text())
    assert content["schema"] == 1
    assert content["inputs"]["training"]["requested"] == "local://digits@latest"
    assert content["inputs"]["training"]["version"] == made
    assert content["inputs"]["training"]["content_digest"].startswith(f"blake3:{made.partition('@')[2]}")
    assert list(content["inputs"]) == ["test", "training"]
    table = said(run, "lock").splitlines()
    assert table[0].split() == ["ROLE", "REQUESTED", "VERSION", "CONTENT"]
    assert table[1].split()[:3] == ["test", "local://digits@raw", made]
    assert [each["role"] for each in answer(run, "lock")["inputs"]] == ["test", "training"]


def test_the_setting_is_locked_where_no_option_says_otherwise(run: Run, made: str, file: Path) -> None:
    said(run, "lock", MLFLOW_DSVER_INPUTS="training=local://digits@latest; test=local://digits@raw")
    assert sorted(read_lock(file)) == ["test", "training"]
    said(run, "lock", "--input", "eval=local://digits@raw", MLFLOW_DSVER_INPUTS="other=local://digits@raw")
    assert sorted(read_lock(file)) == ["eval", "test", "training"]


def test_locking_again_changes_nothing(run: Run, made: str, file: Path) -> None:
    said(run, *INPUT)
    before = (file.stat().st_ino, file.stat().st_mtime_ns)
    assert "nothing to change" in said(run, *INPUT)
    assert answer(run, "lock", "--update")["changes"] == []
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before


def test_what_moved_is_refused_and_only_update_moves_it(run: Run, made: str, file: Path, digits_folder: Path) -> None:
    """The way of a data version through a review: refused, moved on purpose, with what that means for the files."""
    said(run, *INPUT, "--input", "test=local://digits@raw")
    new = next_version(run, digits_folder)
    line = refused(run, *INPUT, code=1, at=str(file))
    assert f"training: local://digits@latest means {new} now; locked is {made}" in line
    assert line.endswith("Try: mlflow-dsver lock --update training\n")
    refused(run, *INPUT, "--input", "more=local://digits@raw", code=1, at=str(file))  # all or nothing
    told = said(run, "lock", "--update")
    assert (
        f"moved   training  {made} → {new}  3 files differ: 1 changed, 1 added, 1 removed; 3 files unchanged" in told
    )
    assert told.splitlines()[-1] == "dsver.lock: 2 inputs"
    assert {role: str(entry.version) for role, entry in read_lock(file).items()} == {"training": new, "test": made}


def test_update_of_one_role_leaves_the_others(run: Run, made: str, file: Path, digits_folder: Path) -> None:
    said(run, *INPUT, "--input", "test=local://digits@latest")
    new = next_version(run, digits_folder)
    [change] = answer(run, "lock", "--update", "test")["changes"]
    assert (change["role"], change["kind"], change["after"]["version"]) == ("test", "moved", new)
    counts = {"added": 1, "removed": 1, "changed": 1, "renamed": 0, "unchanged": 3}
    assert counts.items() <= change["difference"].items()
    assert change["difference"]["growth"] == len("changed\n" * 100) + len("added\n") - 2 * len("digit 0\n" * 10)
    assert str(read_lock(file)["training"].version) == made


def test_update_with_other_words_moves_those_roles_only(run: Run, made: str, file: Path, digits_folder: Path) -> None:
    said(run, *INPUT, "--input", "test=local://digits@latest")
    new = next_version(run, digits_folder, "--tag", "clean")
    line = refused(run, "lock", "--input", "training=local://digits@clean", code=1, at=str(file))
    tip = line.rpartition("Try: mlflow-dsver ")[2]
    said(run, *shlex.split(tip))  # the tip is the command that does it
    found = read_lock(file)
    assert (found["training"].requested, str(found["training"].version)) == ("local://digits@clean", new)
    assert str(found["test"].version) == made


def test_other_words_for_the_same_version_are_no_move(run: Run, made: str, file: Path) -> None:
    said(run, *INPUT)
    assert said(run, "lock", "--input", "training=local://digits@raw").startswith("changed training  ")
    assert read_lock(file)["training"].requested == "local://digits@raw"


def test_files_that_are_not_at_hand_are_said_to_be_unknown(
    run: Run, made: str, file: Path, digits_folder: Path
) -> None:
    said(run, *INPUT)
    new = next_version(run, digits_folder)
    said(run, "versions", "delete", made, "--yes")
    [change] = answer(run, "lock", "--update")["changes"]
    assert (change["after"]["version"], change["difference"]) == (new, None)
    assert change["difference_unknown"]


def test_a_role_is_removed(run: Run, made: str, file: Path) -> None:
    said(run, *INPUT, "--input", "test=local://digits@raw")
    assert said(run, "lock", "--remove", "test").startswith(f"removed test  {made}")
    assert list(read_lock(file)) == ["training"]
    assert "nothing is locked" in said(run, "lock", "--remove", "training") + said(run, "lock")


def test_the_file_is_found_from_below_and_another_can_be_named(
    run: Run, made: str, file: Path, tmp_path: Path
) -> None:
    said(run, *INPUT)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert answer(run, "lock", folder=tmp_path / "deep" / "er")["file"] == str(file)
    said(run, "lock", "--file", "other.lock", "--input", "test=local://digits@raw")
    assert list(read_lock(tmp_path / "other.lock")) == ["test"]
    assert answer(run, "lock", MLFLOW_DSVER_LOCK="other.lock")["file"] == str(tmp_path / "other.lock")
    assert list(read_lock(file)) == ["training"]


def test_check_tells_each_kind_of_finding(run: Run, made: str, file: Path, digits_folder: Path) -> None:
    """0 while all is the same; 1 when something moved, is gone, or has another content digest. Nothing is written."""
    said(run, *INPUT, "--input", "test=local://digits@raw")
    assert "2 inputs: 2 same" in said(run, "lock", "--check")
    new = next_version(run, digits_folder)
    before = file.read_bytes()
    told = said(run, "lock", "--check", code=1).splitlines()
    assert told[0] == f"dsver.lock: test: same: {made}, content digest compared"
    assert told[1].startswith(f"dsver.lock: training: moved: local://digits@latest means {new} now; locked is {made}")
    assert told[2:] == [
        "dsver.lock: 2 inputs: 1 same, 1 moved",
        "dsver.lock: to move: mlflow-dsver lock --update training",
    ]
    said(run, "versions", "tag", made, "--remove", "raw")
    told = said(run, "lock", "--check", code=1)
    assert "test: moved: local://digits@raw cannot be resolved now" in told
    said(run, "versions", "delete", made, "--yes")
    assert {each["state"] for each in answer(run, "lock", "--check", code=1)["inputs"]} == {"gone"}
    assert file.read_bytes() == before


def test_check_finds_another_content_digest(run: Run, made: str, file: Path) -> None:
    said(run, *INPUT)
    digest = tomllib.loads(file.read_text())["inputs"]["training"]["content_digest"]
    file.write_text(file.read_text().replace(digest, "blake3:" + "0" * 64))
    assert "training: changed: " in said(run, "lock", "--check", code=1)
    assert "another content digest" in refused(run, *INPUT, code=1, at=str(file))
    [change] = answer(run, "lock", "--update")["changes"]
    assert (change["kind"], change["difference"]) == ("moved", None)


def test_a_digest_that_was_not_locked_is_not_called_compared(run: Run, made: str, file: Path) -> None:
    said(run, *INPUT)
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "content_digest" not in line))
    assert "content digest unknown, not compared" in said(run, "lock", "--check")
    assert answer(run, "lock", "--check")["inputs"][0]["content_compared"] is False
    assert said(run, *INPUT).startswith("changed training")  # it is known now, and nothing moved
    assert answer(run, "lock", "--check")["inputs"][0]["content_compared"] is True


def test_a_provider_that_cannot_be_asked_is_no_pass(run: Run, file: Path, unused_port: int) -> None:
    """Nor a finding: exit code 3. The file by itself can still be looked at."""
    file.write_text(
        'schema = 1\n[inputs.training]\nrequested = "dst364npcw6ccok"\nversion = "paperspace://dst364npcw6ccok@fo5rp4m"\n'
        '[inputs.test]\nrequested = "nobody://x"\nversion = "nobody://x@1"\n'
    )
    down = {"PAPERSPACE_API_KEY": "Geheimnis", "PAPERSPACE_API_URL": f"http://127.0.0.1:{unused_port}/v1"}
    done = run("lock", "--check", MLFLOW_DSVER_PROVIDER_TIMEOUT="3", **down)
    assert done.returncode == 3, done.stdout
    assert "training: unknown: could not be resolved: " in done.stdout
    assert "test: unknown: could not be resolved: no provider is called 'nobody'" in done.stdout
    assert "Geheimnis" not in done.stdout + done.stderr
    assert "2 inputs: 2 not asked" in said(run, "lock", "--check", "--no-ask", **down)


def test_a_finding_counts_more_than_what_could_not_be_asked(
    run: Run, made: str, file: Path, digits_folder: Path
) -> None:
    said(run, *INPUT)
    file.write_text(file.read_text() + '\n[inputs.x]\nrequested = "nobody://x"\nversion = "nobody://x@1"\n')
    said(run, "lock", "--check", code=3)
    next_version(run, digits_folder)
    said(run, "lock", "--check", code=1)


@pytest.mark.parametrize("more", [(), ("--no-ask",)])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no lock file"),
        ("schema = 2\n", "schema 2"),
        ("schema = 1\n<<<<<<< HEAD\n=======\n", "merge"),
        ("schema = 1\n[inputs.training]\nrequested = 'local://a'\nversion = 'local://a'\n", "names no version"),
    ],
)
def test_a_broken_file_is_a_finding(run: Run, file: Path, content: str | None, says: str, more: tuple[str]) -> None:
    if content is not None:
        file.write_text(content)
    told = said(run, "lock", "--check", *more, code=1)
    assert told.startswith("dsver.lock: ")
    assert says in told
    assert told.count("\n") == 1
    assert says in answer(run, "lock", "--check", *more, code=1)["problem"]
    if content is not None:
        assert says in refused(run, "lock", at=str(file))
        assert says in refused(run, *INPUT, at=str(file))


def test_a_file_that_cannot_be_read_is_neither_good_nor_bad(run: Run, made: str) -> None:
    name = "x" * 300
    assert "cannot be read" in said(run, "lock", "--check", "--file", name, code=3)
    assert "no xxx" in refused(run, "lock", "--file", name, at="dsver.lock")
    assert "cannot be written" in refused(run, *INPUT, "--file", name, at="dsver.lock")


def test_entries_that_contradict_each_other_are_found_without_asking(run: Run, file: Path) -> None:
    entry = '[inputs.{}]\nrequested = "local://a{}"\nversion = "local://a@{}"\n'
    file.write_text("schema = 1\n" + entry.format("x", "", 1) + entry.format("y", "@latest", 2))
    told = said(run, "lock", "--check", "--no-ask", code=1)
    assert "y: ambiguous: local://a@latest is local://a@2 here and local://a@1 for x" in told


def test_wrong_usage_is_one_line_and_writes_nothing(run: Run, made: str, file: Path) -> None:
    at = {"at": str(file)}
    assert "--input ROLE=REFERENCE" in refused(run, "lock", **at)
    assert "role" in refused(run, "lock", "--input", "local://digits", **at)
    assert "twice" in refused(run, *INPUT, "--input", "training=local://x", **at)
    assert "no such dataset" in refused(run, "lock", "--input", "training=local://missing", **at)
    assert "no provider" in refused(run, "lock", "--input", "training=nobody://x", **at)
    assert "MLFLOW_DSVER_INPUTS" in refused(run, "lock", MLFLOW_DSVER_INPUTS="x", **at)
    assert "there is no lock file" in refused(run, "lock", "--update", **at)
    said(run, *INPUT)
    assert "--no-ask" in refused(run, "lock", "--no-ask", **at)
    assert "ROLE" in refused(run, "lock", "training", **at)
    assert "ROLE" in refused(run, "lock", "--check", "training", **at)
    assert "ROLE" in refused(run, "lock", "--remove", **at)
    assert "training" in refused(run, "lock", "--remove", "testing", **at)
    assert "training" in refused(run, "lock", "--update", "testing", **at)
    assert "exclude" in refused(run, *INPUT, "--check", **at)
    assert "cannot be written" in refused(run, *INPUT, "--file", "no/such/folder.lock", **at)


def test_lock_needs_no_mlflow(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = (
        "import sys; from mlflow_dsver.cli.main import run; "
        f"print(run({list(INPUT)!r}), run(['lock', '--check']), "
        "[name for name in ('mlflow', 'pandas', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 0 []", done.stdout + done.stderr


def test_the_hook_that_is_published(run: Run, made: str, file: Path, tmp_path: Path, digits_folder: Path) -> None:
    """Its entry, run as pre-commit does at the top of a repository: the same passes, the rest is stopped."""
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == "dsver-lock"
    assert hook["language"] == "python"
    assert hook["pass_filenames"] is False
    program, *arguments = shlex.split(hook["entry"])
    assert program == Path(SCRIPT).name

    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    said(run, *INPUT, folder=repository)
    assert not file.exists()
    said(run, *arguments, folder=repository)
    next_version(run, digits_folder)
    assert "moved" in said(run, *arguments, folder=repository, code=1)
    said(run, *arguments, "--no-ask", folder=repository)


@pytest.mark.parametrize(
    ("path", "looked_at"),
    [
        ("dsver.lock", True),
        ("project/dsver.lock", True),
        ("my-dsver.lock", False),
        ("dsver.lock.txt", False),
        ("dsver_lock", False),
    ],
)
def test_which_files_the_hook_is_for(path: str, looked_at: bool) -> None:
    import re

    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert bool(re.search(hook["files"], path)) is looked_at
