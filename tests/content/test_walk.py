"""What of a folder is content, in which order, and what is refused by name."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_dsver.content.walk import Rules, walk
from mlflow_dsver.errors import ContentError


def make(folder: Path, *paths: str) -> Path:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return folder


def paths(folder: Path, **rules: tuple[str, ...]) -> list[str]:
    return [found.path for found in walk(folder, Rules(**rules))]


def refused(folder: Path) -> ContentError:
    with pytest.raises(ContentError) as caught:
        list(walk(folder))
    return caught.value


def test_files_come_in_the_order_of_whole_paths(tmp_path: Path) -> None:
    """`a.b` sorts before `a/x`, as the dot sorts before the slash, although the folder is named `a`."""
    make(tmp_path, "a/x", "a.b", "a-", "a0", "a/b/c", "B", "é", "z/1", "😀", "\uffff")
    assert paths(tmp_path) == ["B", "a-", "a.b", "a/b/c", "a/x", "a0", "z/1", "é", "\uffff", "😀"]


segments = st.text(st.sampled_from("aB.-/0é~"), min_size=1, max_size=9).map(lambda text: text.strip("/."))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(segments.filter(lambda text: text and "//" not in text and "/." not in text and "./" not in text))
)
def test_order_is_that_of_sorted_paths(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    folder = tmp_path_factory.mktemp("order")
    made = []
    for name in sorted(names):
        try:
            make(folder, name)
        except OSError:  # a name that is a folder already, or the other way round
            continue
        made.append(name)
    assert paths(folder) == sorted(made)


def test_stat_is_that_of_the_file(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (found,) = walk(tmp_path)
    assert found.stat == (tmp_path / "a").stat()


def test_hidden_files_are_content_and_empty_folders_are_not(tmp_path: Path) -> None:
    make(tmp_path, ".hidden", ".git/config")
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    assert paths(tmp_path) == [".git/config", ".hidden"]


def test_more_files_than_one_run_holds_all_come(tmp_path: Path) -> None:
    make(tmp_path, *(f"{number:04}" for number in range(1001)), "0500d/x")
    assert paths(tmp_path) == sorted([*(f"{number:04}" for number in range(1001)), "0500d/x"])


def test_very_deep_folders_are_walked(tmp_path: Path) -> None:
    deep = "d/" * 400 + "file"
    make(tmp_path, deep, "d/" * 150 + "a")
    assert paths(tmp_path) == ["d/" * 150 + "a", deep]


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c", "a/b/d", "e")
    descriptors = Path("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd")
    before = len(list(descriptors.iterdir()))
    walking = walk(tmp_path)
    next(walking)
    del walking
    paths(tmp_path)
    assert len(list(descriptors.iterdir())) == before


class TestLinks:
    def test_links_to_files_and_folders_are_read_as_what_they_point_to(self, tmp_path: Path) -> None:
        outside = make(tmp_path / "outside", "data", "deep/er")
        folder = make(tmp_path / "folder", "plain")
        (folder / "file").symlink_to(outside / "data")
        (folder / "tree").symlink_to(outside)
        assert paths(folder) == ["file", "plain", "tree/data", "tree/deep/er"]

    def test_the_folder_itself_may_be_a_link(self, tmp_path: Path) -> None:
        make(tmp_path / "real", "a")
        (tmp_path / "link").symlink_to("real")
        assert paths(tmp_path / "link") == ["a"]

    def test_two_links_to_one_folder_are_no_loop(self, tmp_path: Path) -> None:
        make(tmp_path, "real/a")
        (tmp_path / "one").symlink_to("real")
        (tmp_path / "two").symlink_to("real")
        assert paths(tmp_path) == ["one/a", "real/a", "two/a"]

    def test_a_link_that_points_nowhere_is_named(self, tmp_path: Path) -> None:
        make(tmp_path, "fine")
        (tmp_path / "dangling").symlink_to("gone")
        error = refused(tmp_path)
        assert error.paths == ("dangling",)
        assert "points nowhere" in str(error)

    def test_a_link_to_a_folder_above_is_named(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b/c")
        (tmp_path / "a" / "b" / "up").symlink_to("..")
        error = refused(tmp_path)
        assert error.paths == ("a/b/up",)
        assert "a folder that it lies in" in str(error)

    def test_a_link_out_and_back_in_is_named(self, tmp_path: Path) -> None:
        make(tmp_path, "folder/a")
        (tmp_path / "folder" / "out").symlink_to("..")
        assert refused(tmp_path / "folder").paths == ("out/folder",)

    def test_links_in_a_circle_are_named(self, tmp_path: Path) -> None:
        make(tmp_path, "fine")
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        error = refused(tmp_path)
        assert error.paths == ("a", "b")
        assert "circular" in str(error)


class TestRefused:
    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ContentError, match="does not exist"):
            walk(tmp_path / "gone")

    def test_a_missing_folder_comes_with_what_may_be_meant(self, tmp_path: Path) -> None:
        """A neighbour of nearly the same name, else where it was looked for."""
        (tmp_path / "digits").mkdir()
        with pytest.raises(ContentError) as near:
            walk(tmp_path / "digit")
        assert near.value.tip == str(tmp_path / "digits")
        with pytest.raises(ContentError) as far:
            walk(tmp_path / "no" / "such")
        assert str(tmp_path / "no" / "such") in str(far.value.tip)

    def test_a_file_instead_of_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ContentError, match="is a file; expected a folder"):
            walk(make(tmp_path, "file") / "file")

    def test_a_name_with_nul(self) -> None:
        with pytest.raises(ContentError, match="does not exist"):
            walk(Path("a\0b"))

    def test_special_files_are_named_all_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make(tmp_path, "fine")
        os.mkfifo(tmp_path / "pipe")
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("socket")
            (tmp_path / "device").symlink_to("/dev/null")
            error = refused(tmp_path)
        assert error.paths == ("device", "pipe", "socket")
        assert "neither a file nor a folder" in str(error)

    def test_names_that_are_not_utf8(self, tmp_path: Path) -> None:
        make(tmp_path, "fine", "sub/fine")
        for name in (b"bad\xff", b"sub/\xe9t\xe9"):
            (tmp_path / os.fsdecode(name)).write_bytes(b"")
        error = refused(tmp_path)
        assert [os.fsencode(path) for path in error.paths] == [b"bad\xff", b"sub/\xe9t\xe9"]
        assert "not UTF-8" in str(error)
        str(error).encode()  # the message itself can be printed

    def test_a_message_names_a_few_and_paths_names_up_to_a_thousand(self, tmp_path: Path) -> None:
        for number in range(1100):
            (tmp_path / f"{number:04}").symlink_to("nowhere")
        error = refused(tmp_path)
        assert len(error.paths) == 1000
        assert "and 1,095 more" in str(error)

    def test_folders_that_may_not_be_listed_are_named(self, reachable: Path) -> None:
        """Run as a user without privileges, since nothing is forbidden to root."""
        make(reachable, "fine", "locked/secret", "half/file")
        (reachable / "locked").chmod(0)
        (reachable / "half").chmod(0o444)  # names can be listed, and nothing more
        code = (
            f"import os, sys; sys.path[:0] = {sys.path!r}\n"
            "from pathlib import Path\n"
            "from mlflow_dsver.content.walk import walk; from mlflow_dsver.errors import ContentError\n"
            f"os.chdir({str(reachable)!r}); os.geteuid() or os.seteuid(65534)\n"
            "try: list(walk(Path('.')))\n"
            "except ContentError as error: print(error.paths, error)\n"
        )
        try:
            ran = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
            )
        finally:
            for name in ("locked", "half"):
                (reachable / name).chmod(0o755)
        assert ran.stderr == ""
        assert ran.stdout.startswith("('half/file', 'locked') ")
        assert "no permission to read it" in ran.stdout


class TestLikeNames:
    @pytest.mark.parametrize(
        "names",
        [("readme", "README"), ("é", "e\u0301"), ("É", "e\u0301"), ("dir/a", "DIR/b"), ("straße", "STRASSE")],
    )
    def test_names_alike_are_kept_apart_with_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, str]
    ) -> None:
        make(tmp_path, *names, "other")
        with caplog.at_level(logging.WARNING):
            assert paths(tmp_path) == sorted((*names, "other"))
        (record,) = caplog.records
        assert "cannot keep apart" in record.message
        assert ascii(names[0].split("/")[0])[1:-1] in record.message

    def test_no_warning_where_names_differ(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        make(tmp_path, "a", "b/a", "c/A", "é", "e")
        with caplog.at_level(logging.DEBUG):
            paths(tmp_path)
        assert not caplog.records


class TestPatterns:
    def test_exclude_leaves_out(self, tmp_path: Path) -> None:
        make(tmp_path, "a.tmp", "sub/b.tmp", "keep", "build/x", "sub/build")
        assert paths(tmp_path, exclude=("*.tmp", "build/")) == ["keep", "sub/build"]

    def test_the_last_matching_pattern_wins(self, tmp_path: Path) -> None:
        make(tmp_path, "a.tmp", "keep.tmp")
        assert paths(tmp_path, exclude=("*.tmp", "!keep.tmp")) == ["keep.tmp"]

    def test_nothing_below_an_excluded_folder_comes_back(self, tmp_path: Path) -> None:
        make(tmp_path, "build/keep", "a")
        assert paths(tmp_path, exclude=("build/", "!build/keep")) == ["a"]

    def test_include_takes_these_only(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png", "sub/b.png", "c.txt", "labels/d.csv")
        assert paths(tmp_path, include=("*.png", "labels/")) == ["a.png", "labels/d.csv", "sub/b.png"]

    def test_exclude_wins_over_include(self, tmp_path: Path) -> None:
        make(tmp_path, "a.png", "raw/b.png")
        assert paths(tmp_path, include=("*.png",), exclude=("raw",)) == ["a.png"]

    def test_a_pattern_with_a_slash_in_front_is_bound_to_the_root(self, tmp_path: Path) -> None:
        make(tmp_path, "a", "sub/a")
        assert paths(tmp_path, exclude=("/a",)) == ["sub/a"]

    def test_ignore_file_applies_and_is_not_content(self, tmp_path: Path) -> None:
        make(tmp_path, "a.tmp", "b", "sub/.dsverignore", "sub/c.tmp")
        (tmp_path / ".dsverignore").write_text("# nothing temporary\r\n\r\n*.tmp\r\n")
        assert paths(tmp_path) == ["b", "sub/.dsverignore"]

    def test_rules_may_take_back_what_the_ignore_file_leaves_out(self, tmp_path: Path) -> None:
        make(tmp_path, "a.tmp", "b.tmp")
        (tmp_path / ".dsverignore").write_text("*.tmp")
        assert paths(tmp_path, exclude=("!a.tmp",)) == ["a.tmp"]

    def test_what_is_left_out_is_not_looked_at(self, tmp_path: Path) -> None:
        make(tmp_path, "a")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "dangling").symlink_to("gone")
        assert paths(tmp_path, exclude=("pipe", "dangling")) == ["a"]

    def test_patterns_that_are_none_are_refused(self, tmp_path: Path) -> None:
        make(tmp_path, "a")
        with pytest.raises(ContentError, match="not a pattern"):
            walk(tmp_path, Rules(exclude=("!",)))

    def test_patterns_have_a_bound(self, tmp_path: Path) -> None:
        with pytest.raises(ContentError, match="too many patterns"):
            walk(tmp_path, Rules(include=("x" * 10_001,)))

    @pytest.mark.parametrize("content", [b"\xff\xfe*", b"*" * 200_000])
    def test_an_ignore_file_that_is_none_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / ".dsverignore").write_bytes(content)
        with pytest.raises(ContentError):
            walk(tmp_path)

    def test_a_folder_named_like_the_ignore_file_is_refused(self, tmp_path: Path) -> None:
        make(tmp_path, ".dsverignore/a")
        with pytest.raises(ContentError, match="dsverignore cannot be read") as caught:
            walk(tmp_path)
        assert caught.value.paths == (".dsverignore",)
