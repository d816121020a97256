"""Versions of what DVC tracks: how they are found, where files come from, and what is said when they are gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc_repositories import DvcCheckout, md5
from object_servers import new_bucket, s3_server
from processes import Run

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import Verdict
from mlflow_dsver.errors import CorruptObject, NotFound, UnexpectedResponse
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.providers.dvc import DvcProvider, provider
from mlflow_dsver.providers.dvc.outs import outs_in

CATS = {"x.txt": b"one\n", "sub/y.txt": b"two\n"}


@pytest.fixture
def checkout(tmp_path: Path) -> DvcCheckout:
    made = DvcCheckout(tmp_path / "repository")
    made.add("data/cats", CATS)
    made.commit("first cats\n\nof many")
    made.git("tag", "v1")
    return made


@pytest.fixture
def reference(checkout: DvcCheckout) -> str:
    return f"dvc://{checkout.folder}/data/cats"


def content(reference: str, name: str = "x.txt") -> bytes:
    with dsver.get_provider("dvc").open(dsver.resolve(reference), name) as stream:
        return stream.read()


def test_one_file_a_path_inside_a_folder_and_an_output_of_a_stage_are_targets(checkout: DvcCheckout) -> None:
    checkout.add("data/a.csv", {"": b"a,b\n"})
    digest = md5(b"a,b\n")
    checkout.write(
        "dvc.lock",
        "schema: '2.0'\nstages:\n  prep:\n    cmd: x\n    outs:\n"
        f"    - path: out/b.csv\n      hash: md5\n      md5: {digest}\n      size: 4\n",
    )
    checkout.commit("more")
    base = f"dvc://{checkout.folder}"
    assert content(f"{base}/data/a.csv", "a.csv") == content(f"{base}/out/b.csv", "b.csv") == b"a,b\n"
    assert content(f"{base}/data/cats/sub", "y.txt") == content(f"{base}/data/cats/sub/y.txt", "y.txt") == b"two\n"
    with pytest.raises(NotFound, match="DVC tracks nothing at 'notes'"):
        dsver.resolve(f"{base}/notes")


def test_commits_that_changed_something_else_are_no_versions(checkout: DvcCheckout, reference: str) -> None:
    first = checkout.git("rev-parse", "HEAD")
    checkout.write("README.md", "words")
    checkout.commit("words")
    checkout.add("data/dogs", {"z.txt": b"3\n"})
    checkout.commit("dogs")
    provider = DvcProvider()
    assert [each.id for each in provider.versions(parse(reference).dataset)] == [first]
    assert dsver.resolve(reference).id == first
    assert dsver.resolve(f"{reference}@HEAD").content_digest == dsver.resolve(f"{reference}@v1").content_digest


@pytest.mark.parametrize("lost", ["nothing", "the cache", "the cache and the remote", "everything"])
def test_files_come_from_the_cache_else_the_remote_else_the_unchanged_working_tree(
    checkout: DvcCheckout, reference: str, lost: str, tmp_path: Path
) -> None:
    checkout.push()
    version = dsver.resolve(reference)
    one = md5(CATS["x.txt"])
    if lost != "nothing":
        checkout.object(one).unlink()
    if lost in ("the cache and the remote", "everything"):
        checkout.object(one, checkout.remote).unlink()
    if lost == "everything":
        checkout.write("data/cats/x.txt", b"eno\n")  # of the same size
        with pytest.raises(NotFound, match=r"DVC has the file data/cats/x\.txt neither"):
            DvcProvider().materialise(version, tmp_path / "out")
        return
    DvcProvider().materialise(version, tmp_path / "out")
    assert (tmp_path / "out" / "x.txt").read_bytes() == b"one\n"


def test_a_remote_in_object_storage_is_read(
    checkout: DvcCheckout, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as address:
        bucket = new_bucket(address, versions=False)
        for name, value in bucket.variables.items():
            monkeypatch.setenv(name, value)
        for path in [each for each in checkout.cache.rglob("*") if each.is_file()]:
            bucket.put(f"dvc/{path.relative_to(checkout.cache).as_posix()}", path.read_bytes())
            path.unlink()
        checkout.write("data/cats/x.txt", b"edited")
        checkout.write(".dvc/config.local", f"['remote \"store\"']\n    url = s3://{bucket.name}/dvc\n")
        assert content(reference) == b"one\n"
        bucket.client.close()


def test_a_damaged_file_of_the_cache_is_not_served(checkout: DvcCheckout, reference: str) -> None:
    version = dsver.resolve(reference)
    checkout.object(md5(CATS["x.txt"])).write_bytes(b"eno\n")
    with pytest.raises(CorruptObject, match=r"x\.txt is not what was recorded"):
        DvcProvider().path(version)


def test_a_damaged_list_of_files_is_not_believed(checkout: DvcCheckout, reference: str) -> None:
    (path,) = checkout.cache.rglob("*.dir")
    path.write_text(json.dumps([{"md5": "0" * 32, "relpath": "../../x"}]))
    with pytest.raises(CorruptObject, match="damaged"):
        dsver.resolve(reference)


@pytest.mark.parametrize("relpath", ["../x", "/etc/passwd", "", "a//b"])
def test_a_list_that_leaves_its_folder_is_not_believed(checkout: DvcCheckout, reference: str, relpath: str) -> None:
    rows = json.dumps([{"md5": "0" * 32, "relpath": relpath}]).encode()
    digest = md5(rows)
    path = Path(f"{checkout.object(digest)}.dir")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rows)
    checkout.write("data/cats.dvc", f"outs:\n- md5: {digest}.dir\n  hash: md5\n  path: cats\n")
    checkout.commit("hostile")
    with pytest.raises(CorruptObject, match="cannot be read"):
        dsver.resolve(f"{reference}@HEAD")


@pytest.mark.parametrize(
    "text",
    [
        "outs: 3", "outs:\n- md5: ../../x\n  path: a", "outs:\n- path: a", "- 1",
        "outs:\n- md5: " + "0" * 32 + "\n  path: ../../x",
        "outs:\n- md5: " + "0" * 32 + "\n  path: [a]", "outs:\n- md5: " + "0" * 32 + "\n  path: /etc",
    ],
)  # fmt: skip
def test_what_is_no_out_is_none(text: str) -> None:
    assert list(outs_in(text.encode(), "data/x.dvc")) == []


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system ['x']", "\0"])
def test_what_is_no_yaml_of_dvc_is_an_error(text: str) -> None:
    with pytest.raises(UnexpectedResponse, match="cannot be read as a file of DVC"):
        list(outs_in(text.encode(), "data/x.dvc"))


def test_a_folder_is_named_and_edits_are_noticed(checkout: DvcCheckout, reference: str, run: Run) -> None:
    folder = str(checkout.folder / "data" / "cats")
    assert run("versions", "resolve", folder).stdout.strip() == str(dsver.resolve(reference))
    checkout.write("data/cats/x.txt", b"eno\n")
    checkout.write("data/cats/new.txt", b"new")
    edited = run("versions", "resolve", folder)
    assert (edited.returncode, "2 files here differ" in edited.stderr) == (1, True)
    checkout.add("data/cats", CATS | {"x.txt": b"eno\n"})
    assert "cats.dvc here is not as committed" in run("versions", "resolve", folder).stderr


def test_a_history_becomes_local_versions_once(checkout: DvcCheckout, run: Run) -> None:
    gone = checkout.add("data/cats", CATS | {"x.txt": b"lost\n"})
    checkout.commit("second")
    checkout.add("data/cats", CATS | {"x.txt": b"three\n"})
    checkout.commit("third")
    Path(f"{checkout.object(gone)}.dir").unlink()
    planned = run("import", "dvc", str(checkout.folder), "--dry-run", "--json")
    assert [each["new"] for each in json.loads(planned.stdout)["imported"]] == [True, False, True]
    done = run("import", "dvc", str(checkout.folder), "data/cats", "--to", "local://kittens")
    assert done.returncode == 1
    assert "neither in its cache nor" in " ".join(done.stdout.split())
    versions = list(dsver.get_provider("local").versions("kittens"))
    assert [(each.message, each.tags) for each in versions] == [("third", ()), ("first cats", ("v1",))]
    assert versions[1].metadata["md5"] == dsver.resolve(f"dvc://{checkout.folder}/data/cats@v1").raw["md5"]
    again = json.loads(
        run("import", "dvc", str(checkout.folder), "data/cats", "--to", "local://kittens", "--json").stdout
    )
    assert [each["new"] for each in again["imported"]] == [False, False, False]


def test_an_import_of_nothing_says_so(tmp_path: Path, run: Run) -> None:
    empty = DvcCheckout(tmp_path / "repository")
    assert "DVC tracks nothing in the newest commit" in run("import", "dvc", str(empty.folder)).stderr
    assert run("import", "dvc", str(tmp_path)).returncode == 2


def collected(checkout: DvcCheckout) -> None:
    """`dvc gc`: one file is in no cache any more, and the working tree has another version."""
    checkout.object(md5(CATS["x.txt"])).unlink()
    checkout.write("data/cats/x.txt", b"another")


def list_collected(checkout: DvcCheckout) -> None:
    """`dvc gc` of the whole folder."""
    for path in [each for each in checkout.cache.rglob("*") if each.is_file()]:
        path.unlink()
    for path in (checkout.folder / "data" / "cats").rglob("*.txt"):
        path.write_bytes(b"another")


def overwritten(checkout: DvcCheckout) -> None:
    """A file of the cache has other bytes of the same size; only reading tells."""
    checkout.object(md5(CATS["x.txt"])).write_bytes(b"eno\n")


def rewritten(checkout: DvcCheckout) -> None:
    """A force push, and a collection of garbage."""
    checkout.add("data/cats", CATS | {"x.txt": b"two\n"})
    checkout.git("tag", "--delete", "v1")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--amend", "--message", "rewritten")
    checkout.forget()


def tag_moved(checkout: DvcCheckout) -> None:
    """The run has recorded the commit."""
    checkout.add("data/cats", CATS | {"x.txt": b"two\n"})
    checkout.commit("second")
    checkout.git("tag", "--force", "v1")


@pytest.mark.parametrize(
    ("betrayal", "stated", "read"),
    [
        (collected, Verdict.MISSING, Verdict.MISSING),
        (list_collected, Verdict.MISSING, Verdict.MISSING),
        (overwritten, Verdict.MATCH, Verdict.CHANGED),
        (rewritten, Verdict.MISSING, Verdict.MISSING),
        (tag_moved, Verdict.MATCH, Verdict.MATCH),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_verify_tells_what_happened(
    checkout: DvcCheckout,
    reference: str,
    tracking: object,
    betrayal: Callable[[DvcCheckout], None],
    stated: Verdict,
    read: Verdict,
) -> None:
    with dsver.start_run(inputs={"training": f"{reference}@v1"}) as run:
        assert run.datasets["training"].grade.letter == "B"
    assert dsver.verify(run.info.run_id, depth="full").verdict is Verdict.MATCH
    betrayal(checkout)
    provider._manifests.clear()
    verdicts = [dsver.verify(run.info.run_id, depth=depth).verdict for depth in ("default", "full")]
    assert verdicts == [stated, read]


def test_a_mirror_of_another_machines_repository_reads_its_remote(checkout: DvcCheckout, tmp_path: Path) -> None:
    from git_repositories import served

    checkout.push()
    bare = tmp_path / "served" / "owner" / "repo.git"
    checkout.git("clone", "--quiet", "--bare", str(checkout.folder), str(bare))
    checkout.git("--git-dir", str(bare), "update-server-info")
    with served(tmp_path / "served") as host:
        version = DvcProvider().resolve(DatasetRef("dvc", f"{host}/owner/repo.git/data/cats", "v1"))
        assert (DvcProvider().path(version) / "sub" / "y.txt").read_bytes() == b"two\n"
