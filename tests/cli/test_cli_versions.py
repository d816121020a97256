"""`mlflow-dsver versions …`, each command as a real process on a real store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import blake3
import pytest
from processes import Run

FIRST_FILE = "0/0.txt"


def test_create_prints_the_canonical_reference_and_the_facts(run: Run, digits_folder: Path) -> None:
    done = run("versions", "create", "local://digits", str(digits_folder), "--json", "-m", "first", "--tag", "raw")
    version = json.loads(done.stdout)
    digest = version["content_digest"].removeprefix("blake3:")
    assert version["reference"] == f"local://digits@{digest[:16]}"
    assert version["usage_bytes"] == sum(path.stat().st_size for path in digits_folder.rglob("*") if path.is_file())
    assert (version["message"], version["tags"], version["counts"]["files"]) == ("first", ["raw"], 5)


def test_the_same_content_is_the_same_version(run: Run, made: str, digits_folder: Path) -> None:
    again = run("versions", "create", "local://digits", str(digits_folder), "--json")
    assert json.loads(again.stdout)["reference"] == made
    assert len(json.loads(run("versions", "list", "local://digits", "--json").stdout)["versions"]) == 1


def test_list_is_newest_first_and_filters(run: Run, made: str, digits_folder: Path) -> None:
    (digits_folder / "labels.csv").write_text("file,label\n")
    second = json.loads(run("versions", "create", "local://digits", str(digits_folder), "--json").stdout)["reference"]
    listed = json.loads(run("versions", "list", "local://digits", "--json").stdout)["versions"]
    assert [each["reference"] for each in listed] == [second, made]
    tagged = json.loads(run("versions", "list", "local://digits", "--tag", "raw", "--json").stdout)["versions"]
    assert [each["reference"] for each in tagged] == [made]
    newest = json.loads(run("versions", "list", "local://digits", "--limit", "1", "--json").stdout)["versions"]
    assert [each["reference"] for each in newest] == [second]


def test_list_without_a_reference_lists_every_local_dataset(run: Run, made: str, digits_folder: Path) -> None:
    other = run("versions", "create", "local://other", str(digits_folder)).stdout.split()[1]
    table = run("versions", "list").stdout.splitlines()
    assert table[0].split() == ["VERSION", "CREATED", "SIZE", "TAGS", "MESSAGE"]
    assert {row.split()[0] for row in table[1:]} == {made, other}


def test_show_takes_id_tag_latest_and_nothing(run: Run, made: str) -> None:
    for reference in (made, "local://digits@raw", "local://digits@latest", "local://digits"):
        assert run("versions", "show", reference).stdout.split()[1] == made


def test_update_changes_message_and_metadata_and_not_the_content(run: Run, made: str) -> None:
    before = json.loads(run("versions", "show", made, "--json").stdout)
    done = run("versions", "update", made, "-m", "better", "--metadata", '{"round": 3}', "--json")
    after = json.loads(done.stdout)
    assert (after["message"], after["metadata"]) == ("better", {"round": 3})
    assert after["content_digest"] == before["content_digest"]


def test_a_tag_moves_to_the_version_that_it_is_given_to(run: Run, made: str, digits_folder: Path) -> None:
    (digits_folder / "labels.csv").write_text("file,label\n")
    second = run("versions", "create", "local://digits", str(digits_folder)).stdout.split()[1]
    assert run("versions", "tag", second, "raw", "clean").returncode == 0
    assert json.loads(run("versions", "show", made, "--json").stdout)["tags"] == []
    assert json.loads(run("versions", "tag", second, "--remove", "raw", "--json").stdout)["tags"] == ["clean"]


def test_files_are_listed_with_their_digests(run: Run, made: str, digits_folder: Path) -> None:
    listed = json.loads(run("versions", "files", made, "--json").stdout)
    content = (digits_folder / FIRST_FILE).read_bytes()
    first = {"path": FIRST_FILE, "bytes": len(content), "digest": blake3.blake3(content).hexdigest()}
    assert first in listed["files"]
    assert len(listed["files"]) == 5
    lines = run("versions", "files", made).stdout.splitlines()
    assert [line.split()[-1] for line in lines] == [each["path"] for each in listed["files"]]


def test_materialise_gives_the_same_bytes(run: Run, made: str, digits_folder: Path, tmp_path: Path) -> None:
    content = {path.relative_to(digits_folder): path.read_bytes() for path in digits_folder.rglob("*.*")}
    done = run("versions", "materialise", made, "copy")
    copy = tmp_path / "copy"
    assert done.stdout == f"{made} is in copy\n"
    assert {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*.*")} == content


def test_delete_without_a_terminal_wants_yes(run: Run, made: str) -> None:
    refused = run("versions", "delete", made)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert run("versions", "show", made).returncode == 0
    told = json.loads(run("versions", "delete", made, "--yes", "--json").stdout)
    assert (told["deleted"], told["runs"]) == (made, [])
    assert run("versions", "show", made).returncode == 2


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 0)])
def test_delete_asks_on_a_terminal(
    run: Run, on_terminal: Callable[..., tuple[int, str]], made: str, answer: str, code: int
) -> None:
    ended, shown = on_terminal("versions", "delete", made, answer=answer)
    assert ended == code, shown
    assert "first labels" in shown
    assert "Delete it?" in shown
    assert (run("versions", "show", made).returncode == 0) == (answer == "n")


def test_delete_wants_a_version_and_not_a_dataset(run: Run, made: str) -> None:
    done = run("versions", "delete", "local://digits", "--yes")
    assert done.returncode == 2
    assert "local://digits@latest" in done.stderr
    assert run("versions", "show", made).returncode == 0


def test_resolve_tells_what_a_reference_means_now_and_that_nothing_names_a_path(
    run: Run, made: str, tmp_path: Path
) -> None:
    assert run("versions", "resolve", "local://digits@raw").stdout.strip() == made
    assert json.loads(run("versions", "resolve", "local://digits", "--json").stdout)["reference"] == made
    unknown = run("versions", "resolve", str(tmp_path))
    assert unknown.returncode == 2
    assert "no provider knows this path" in unknown.stderr
    assert "versions create local://NAME" in unknown.stderr
    assert "no such file or folder" in run("versions", "resolve", str(tmp_path / "none")).stderr
