"""The provider of lakeFS: what selectors mean, where settings come from, where the key goes, what runs recorded."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from mlflow_dsver.errors import AuthenticationFailed, CorruptObject, DsverError, NotFound, UnexpectedResponse
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.providers.lakefs import LakefsProvider
from mlflow_dsver.providers.lakefs.emulator import LakefsEmulator
from mlflow_dsver.providers.lakefs.recorded import from_run
from mlflow_dsver.testing import EMULATED_KEY


def test_branches_tags_short_ids_and_expressions_are_resolved_to_the_commit(
    lakefs: LakefsEmulator, commit: str, provider: LakefsProvider
) -> None:
    newest = lakefs.commit("digits", {"train/a.csv": b"a,b\n9,9\n"}, "relabelled")
    lakefs.tag("digits", "v1.0", commit)
    for selector, expected in {
        None: newest, "latest": newest, "main": newest, "main@": newest, newest: newest, newest.upper(): newest,
        "main~1": commit, "main^": commit, "v1.0": commit, commit[:12]: commit,
    }.items():  # fmt: skip
        assert provider.resolve(DatasetRef("lakefs", "digits/train", selector)).id == expected
    with pytest.raises(NotFound, match="no such branch") as caught:
        provider.resolve(DatasetRef("lakefs", "digits", "mian"))
    assert "lakefs://digits@main" in str(caught.value)


def test_a_branch_that_moves_and_a_tag_that_moves_change_nothing_that_was_resolved(
    lakefs: LakefsEmulator, commit: str, provider: LakefsProvider
) -> None:
    lakefs.tag("digits", "v1", commit)
    before = provider.resolve(parse("lakefs://digits/train@v1"))
    newest = lakefs.commit("digits", {"train/a.csv": b"another"})
    lakefs.tag("digits", "v1", newest)
    again = provider.resolve(before.ref)
    assert (again.id, again.content_digest) == (before.id, before.content_digest)
    assert provider.resolve(parse("lakefs://digits/train@v1")).id == newest


def test_uncommitted_changes_of_a_branch_are_told_and_those_elsewhere_are_not(
    lakefs: LakefsEmulator, commit: str, provider: LakefsProvider, caplog: pytest.LogCaptureFixture
) -> None:
    lakefs.stage("digits", "train/new.csv")
    with caplog.at_level(logging.WARNING):
        provider.resolve(parse("lakefs://digits/train@main"))
        assert "uncommitted changes" in caplog.text
        caplog.clear()
        provider.resolve(DatasetRef("lakefs", "digits/train", commit))
        provider.resolve(parse("lakefs://digits/other.csv@main"))
        assert "uncommitted" not in caplog.text


def test_a_path_is_a_folder_or_an_object_and_never_what_only_begins_alike(
    lakefs: LakefsEmulator, commit: str, provider: LakefsProvider
) -> None:
    lakefs.commit("digits", {"training/c.csv": b"3", "train2": b"4"})
    folder = provider.resolve(parse("lakefs://digits/train"))
    assert [entry.path for entry in provider.manifest(folder).entries] == ["a.csv", "b.bin", "empty"]
    single = provider.resolve(parse("lakefs://digits/other.csv"))
    with provider.open(single, "other.csv") as stream:
        assert stream.read() == b"9"


@pytest.mark.parametrize("lakefs", [{}, {"disk": "yes", "presign": "refused"}], indirect=True, ids=["s3", "disk"])
def test_the_grade_is_b_and_c_where_an_object_was_imported(
    lakefs: LakefsEmulator, imported: str, provider: LakefsProvider
) -> None:
    new = provider.get("digits", imported)
    assert str(provider.grade(new)) == "C (1 imported object may change at the source)"
    assert new.immutable is None
    old = provider.resolve(parse("lakefs://digits@main~1"))
    assert str(provider.grade(old)) == "B (immutable by commit, ETag by lakeFS)"
    assert provider.manifest(new).entries[-1].evidence.checksums == ()  # type: ignore[union-attr]


def test_the_key_goes_to_no_other_host_and_into_no_error(
    lakefs: LakefsEmulator, imported: str, provider: LakefsProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.materialise(provider.get("digits", imported), tmp_path / "out")
    assert (tmp_path / "out/train/in.csv").read_bytes() == b"x,y\n5,6\n"
    stored = [request for request in lakefs.requests if request.path[0] == "emulated-store"]
    assert stored
    assert not any(request.authorization for request in stored)
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "another-secret-key")
    with pytest.raises(AuthenticationFailed) as caught:
        provider.get("digits", imported)
    pair = base64.b64encode(b"AKIAEMULATEDLAKEFS:another-secret-key").decode()
    assert not {"another-secret-key", pair} & set(str(caught.value).split())
    assert "another-secret-key" not in repr(provider._server()) + str(provider.health())


def test_an_answer_is_followed_nowhere_else(
    lakefs: LakefsEmulator, commit: str, provider: LakefsProvider, tmp_path: Path
) -> None:
    version = provider.get("digits", commit)
    lakefs.inject("redirect:on=objects")
    with pytest.raises(DsverError) as caught:
        provider.materialise(version, tmp_path / "out")
    assert "elsewhere.invalid" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["a//b", "../x", "/x", "a/../b", "file/x"],
    ids=["empty", "up", "root", "middle", "folder"],
)
def test_an_object_whose_name_no_file_can_have_is_refused(
    lakefs: LakefsEmulator, provider: LakefsProvider, name: str
) -> None:
    commit = lakefs.commit("hostile", {"file": b"1", name: b"2"})
    with pytest.raises(UnexpectedResponse, match="object"):
        provider.get("hostile", commit)


def test_settings_are_those_of_lakefs_tools(
    lakefs: LakefsEmulator, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = dict(lakefs.variables)
    for name in variables:
        monkeypatch.delenv(name)
    assert "LAKECTL_SERVER_ENDPOINT_URL is not set" in LakefsProvider().health().summary
    file = tmp_path / "lakectl.yaml"
    file.write_text(
        f"credentials:\n  access_key_id: AKIA\n  secret_access_key: {EMULATED_KEY}\n"
        f"server:\n  endpoint_url: {lakefs.address}/api/v1\n"
    )
    monkeypatch.setenv("LAKECTL_CONFIG_FILE", str(file))
    assert LakefsProvider().resolve(parse("lakefs://digits")).id == commit
    file.write_text("server: [1, 2]\n")
    monkeypatch.setenv("LAKEFS_HOST", lakefs.address)
    monkeypatch.setenv("LAKEFS_USERNAME", "AKIA")
    monkeypatch.setenv("LAKEFS_PASSWORD", EMULATED_KEY)
    assert LakefsProvider().health().ok


def test_runs_of_lakefs_recipe_are_understood() -> None:
    commit = "3afddad4" * 8
    (exact,) = from_run({"lakefs_repo": "my-repo", "lakefs_branch": "experiment-1", "lakefs_commit": commit})
    assert exact.reference == exact.requested == f"lakefs://my-repo@{commit}"
    (moving,) = from_run({"lakefs_repo": "my-repo", "lakefs_branch": "experiment-1"})
    assert (moving.reference, moving.requested) == ("lakefs://my-repo", "lakefs://my-repo@experiment-1")
    (older,) = from_run({"lakefs_repo": "my-repo", "lakefs_head_commit_id": commit})
    assert older.reference == exact.reference
    assert from_run({"lakefs_commit": commit}) == []


@pytest.mark.parametrize("lakefs", [{"page": "1"}], indirect=True)
def test_a_listing_that_ends_before_its_end_is_an_error(
    lakefs: LakefsEmulator, commit: str, provider: LakefsProvider
) -> None:
    assert len(provider.manifest(provider.get("digits", commit))) == 4
    lakefs.inject("cut:on=objects/ls:times=9")
    with pytest.raises(DsverError):
        provider.get("digits", commit)


def test_an_imported_object_that_was_overwritten_is_not_served(
    lakefs: LakefsEmulator, imported: str, provider: LakefsProvider
) -> None:
    version = provider.get("digits", imported)
    lakefs.overwrite("digits", "train/in.csv", imported, b"x,y\n7,8\n")
    with pytest.raises(CorruptObject, match=r"train/in\.csv"), provider.open(version, "train/in.csv") as stream:
        stream.read()
