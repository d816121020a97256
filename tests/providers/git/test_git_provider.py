"""Versions of git repositories: what names one, what they hold, and what is said when they are gone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from git_repositories import Checkout, served
from processes import Run

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import Verdict
from mlflow_dsver.errors import ContentError, CorruptObject, DsverError, InvalidReference, NotFound
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.providers.git import GitProvider, mirror
from mlflow_dsver.providers.git.lfs import object_path, pointer_in
from mlflow_dsver.providers.git.lfs_server import cached_path


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "repository")
    made.write("data/a.csv", "one")
    made.commit("first")
    made.git("tag", "v1")
    return made


@pytest.fixture
def reference(checkout: Checkout) -> str:
    return f"git://{checkout.folder}/data"


def only(reference: str) -> str:
    """The content of a.csv in a version."""
    with dsver.get_provider("git").open(dsver.resolve(reference), "a.csv") as stream:
        return stream.read().decode()


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("git:///home/me/repo/data@v1", DatasetRef("git", "file/home/me/repo/data", "v1")),
        ("git:///home/me/a b@feature/x", DatasetRef("git", "file/home/me/a b", "feature/x")),
        ("git://github.com/owner/repo/data@main", DatasetRef("git", "github.com/owner/repo/data", "main")),
        ("git://github.com/owner/repo", DatasetRef("git", "github.com/owner/repo")),
        ("git://https://github.com/owner/repo.git@v1", DatasetRef("git", "github.com/owner/repo.git", "v1")),
        ("git://https://me:secret@host.org/owner/repo", DatasetRef("git", "host.org/owner/repo")),
        ("git://git@github.com:owner/repo.git", DatasetRef("git", "github.com/owner/repo.git")),
        ("git://gitlab.com/a/b/c.git/data@v1", DatasetRef("git", "gitlab.com/a/b/c.git/data", "v1")),
    ],
)
def test_folders_and_addresses_are_references(text: str, ref: DatasetRef) -> None:
    assert parse(text) == ref
    assert parse(str(ref)) == ref


def test_a_relative_path_is_of_the_present_folder(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout.folder)
    assert parse("git://./data") == parse(f"git://{checkout.folder}/data")


@pytest.mark.parametrize("name", ["github.com/owner", "nothing", "file"])
def test_a_name_without_a_repository_is_refused(name: str) -> None:
    with pytest.raises(InvalidReference, match="names no repository"):
        GitProvider().resolve(DatasetRef("git", name))


def test_branches_tags_and_beginnings_of_ids_are_resolved_to_whole_ids(checkout: Checkout, reference: str) -> None:
    first = checkout.git("rev-parse", "HEAD")
    checkout.git("checkout", "--quiet", "-b", "feature/x")
    checkout.write("data/a.csv", "two")
    second = checkout.commit("second")
    checkout.git("checkout", "--quiet", "main")
    ids = {text: dsver.resolve(f"{reference}@{text}").id for text in ("main", "v1", "feature/x", first[:8], "latest")}
    assert ids == {"main": first, "v1": first, "feature/x": second, first[:8]: first, "latest": first}
    assert only(f"{reference}@feature/x") == "two"


def test_a_working_tree_is_not_what_was_committed(checkout: Checkout, reference: str, run: Run) -> None:
    """An edit is not part of any version, and is told where the path is asked about."""
    assert run("versions", "resolve", str(checkout.folder / "data")).stdout.strip() == str(dsver.resolve(reference))
    checkout.write("data/a.csv", "edited")
    checkout.write("data/new.csv", "new")
    assert only(reference) == "one"
    told = run("versions", "resolve", str(checkout.folder / "data"))
    assert (told.returncode, "2 files here are not as committed" in told.stderr) == (1, True)


def test_files_of_lfs_are_what_their_pointers_stand_for(checkout: Checkout, reference: str, tmp_path: Path) -> None:
    content = os.urandom(1000)
    sha256 = hashlib.sha256(content).hexdigest()
    checkout.write(".gitattributes", "*.bin filter=lfs\n")
    checkout.git("config", "filter.lfs.clean", "cat")
    checkout.write("data/x.bin", f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize 1000\n")
    checkout.commit("large")
    version = dsver.resolve(reference)
    provider = GitProvider()
    entry = next(each for each in provider.manifest(version).entries if each.path == "x.bin")
    assert (entry.bytes, entry.digest) == (1000, f"sha256:{sha256}")
    assert str(provider.grade(version)) == "B (immutable by git commit, SHA-1 by git, SHA-256 by git-LFS)"
    with pytest.raises(NotFound, match=r"git-LFS has not fetched the file x\.bin"):
        provider.path(version)
    kept = object_path(checkout.folder / ".git", sha256)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    assert (provider.path(version) / "x.bin").read_bytes() == content
    kept.write_bytes(content[:-1] + b"?")
    with pytest.raises(CorruptObject):
        provider.materialise(version, tmp_path / "out")


def test_large_files_of_another_machine_come_from_its_server_checked(checkout: Checkout, tmp_path: Path) -> None:
    """Bytes with another SHA-256 are not kept; what the server does not have is missing, by name."""
    right, wrong, none = os.urandom(1000), os.urandom(10), os.urandom(10)
    checkout.write(".gitattributes", "*.bin filter=lfs\n")
    checkout.git("config", "filter.lfs.clean", "cat")
    sums = {}
    for name, content in (("right", right), ("wrong", wrong), ("none", none)):
        sums[name] = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sums[name]}\nsize {len(content)}\n"
        checkout.write(f"{name}/x.bin", pointer)
    checkout.commit("large")
    bare = tmp_path / "served" / "owner" / "repo.git"
    checkout.git("clone", "--quiet", "--bare", str(checkout.folder), str(bare))
    checkout.git("--git-dir", str(bare), "update-server-info")
    with served(tmp_path / "served", {sums["right"]: right, sums["wrong"]: b"0123456789"}) as host:
        provider = GitProvider()
        versions = {name: provider.resolve(DatasetRef("git", f"{host}/owner/repo.git/{name}")) for name in sums}
        manifests = {name: provider.manifest(version) for name, version in versions.items()}
        for name, missing in (("right", ()), ("none", ("x.bin",))):
            found = provider.check_files(versions[name], manifests[name].entries, manifests[name], read=False)
            assert found is not None
            assert found.missing == missing
        assert (provider.path(versions["right"]) / "x.bin").read_bytes() == right
        with pytest.raises(CorruptObject, match="sent other bytes"):
            provider.path(versions["wrong"])
        assert not cached_path(sums["wrong"]).exists()
        with pytest.raises(NotFound, match="git-LFS does not have the file"):
            provider.path(versions["none"])


@pytest.mark.parametrize(
    "text",
    [
        b"", b"version https://git-lfs.github.com/spec/v2\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:../../x\nsize 1\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize -1\n",
    ],
)  # fmt: skip
def test_what_is_no_pointer_is_an_ordinary_file(text: bytes) -> None:
    assert pointer_in(text) is None


@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/passwd", "nowhere", "images", "loop.csv"])
def test_a_link_that_leads_to_no_file_of_the_commit_is_refused(
    checkout: Checkout, reference: str, target: str
) -> None:
    checkout.write("data/images/0.bin", "0")
    (checkout.folder / "data" / "loop.csv").symlink_to(target)
    checkout.commit("a link")
    with pytest.raises(ContentError, match=r"the link data/loop\.csv leads to no file"):
        dsver.resolve(reference)


def test_names_that_look_like_options_or_patterns_are_names(checkout: Checkout) -> None:
    checkout.write("--output=x/*.csv", "odd")
    checkout.write("data/b.csv", "two")
    made = checkout.commit("odd names")
    provider = GitProvider()
    version = provider.resolve(DatasetRef("git", f"file{checkout.folder}/--output=x"))
    assert [entry.path for entry in provider.manifest(version).entries] == ["*.csv"]
    for selector in ("--all", "-x", ":/first", "HEAD^{/first}", "@{-1}", "v1..main"):
        try:
            found = provider.resolve(DatasetRef("git", f"file{checkout.folder}", selector)).id
        except DsverError:
            continue
        assert len(found) == 40
        assert found in {made, checkout.git("rev-parse", "v1")}
    assert not list(checkout.folder.glob("x*"))


def test_a_repository_of_another_machine_is_mirrored_and_asked_anew(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a force push takes out of the history is not found any more, although the mirror has it still."""
    monkeypatch.setattr(mirror, "FRESH_SECONDS", 0.0)
    bare = tmp_path / "served" / "owner" / "repo.git"
    checkout.git("clone", "--quiet", "--bare", str(checkout.folder), str(bare))
    checkout.git("remote", "add", "there", str(bare))
    checkout.git("--git-dir", str(bare), "update-server-info")
    with served(tmp_path / "served") as host:
        provider = GitProvider()
        name = f"{host}/owner/repo.git/data"
        first = provider.resolve(DatasetRef("git", name))
        assert (provider.path(first) / "a.csv").read_bytes() == b"one"
        checkout.write("data/a.csv", "two")
        checkout.git("tag", "--delete", "v1")
        checkout.git("add", "--all")
        checkout.git("commit", "--quiet", "--amend", "--message", "rewritten")
        checkout.git("push", "--quiet", "--force", "there", "main", ":refs/tags/v1")
        checkout.git("--git-dir", str(bare), "update-server-info")
        second = provider.resolve(DatasetRef("git", name))
        assert second.id == checkout.git("rev-parse", "HEAD")
        with pytest.raises(NotFound, match="history may have been rewritten"):
            provider.get(name, first.id)
        with pytest.raises(NotFound, match="no such repository"):
            provider.resolve(DatasetRef("git", f"{host}/owner/none.git"))


def rewritten(checkout: Checkout) -> None:
    """A force push, or an amended commit, and then a collection of garbage."""
    checkout.write("data/a.csv", "two")
    checkout.git("tag", "--delete", "v1")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--amend", "--message", "rewritten")
    checkout.forget()


def damaged(checkout: Checkout) -> None:
    """The object of a file is overwritten."""
    oid = checkout.git("rev-parse", "HEAD:data/a.csv")
    path = checkout.folder / ".git" / "objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(b"damaged")


def removed(checkout: Checkout) -> None:
    """The object of a file is gone."""
    oid = checkout.git("rev-parse", "HEAD:data/a.csv")
    (checkout.folder / ".git" / "objects" / oid[:2] / oid[2:]).unlink()


def tag_moved(checkout: Checkout) -> None:
    """The run used the tag; it has recorded the commit."""
    checkout.write("data/a.csv", "two")
    checkout.commit("second")
    checkout.git("tag", "--force", "v1")


def edited(checkout: Checkout) -> None:
    """The working tree is another matter."""
    checkout.write("data/a.csv", "edited")


@pytest.mark.parametrize(
    ("betrayal", "verdict"),
    [
        (rewritten, Verdict.MISSING),
        (removed, Verdict.MISSING),
        (damaged, Verdict.MISSING),
        (tag_moved, Verdict.MATCH),
        (edited, Verdict.MATCH),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_verify_tells_what_happened_to_a_commit(
    checkout: Checkout, reference: str, tracking: object, betrayal: object, verdict: Verdict
) -> None:
    from mlflow_dsver.providers.git import provider

    with dsver.start_run(inputs={"training": f"{reference}@v1"}) as run:
        assert run.datasets["training"].revision == checkout.git("rev-parse", "HEAD")
    assert dsver.verify(run.info.run_id).verdict is Verdict.MATCH
    betrayal(checkout)  # type: ignore[operator]
    provider._manifests.clear()
    report = dsver.verify(run.info.run_id)
    assert report.verdict is verdict, [str(each) for each in report.inputs]
    assert dsver.verify(run.info.run_id, depth="full").verdict in (verdict, Verdict.CHANGED)
