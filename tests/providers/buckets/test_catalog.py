"""Where snapshots are kept: nothing is lost, nothing is replaced, and what is read is checked."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_servers import Bucket

from mlflow_dsver import settings
from mlflow_dsver.errors import CorruptObject, InvalidReference, NotFound, SettingsError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.buckets import GsProvider, S3Provider, catalog, connect
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.local import LocalProvider

DIGESTS = [f"blake3:{number}{0:063x}" for number in range(1, 4)]


def created(digest: str, tags: tuple[str, ...] = (), at: str = "2026-12-01T00:00:00Z") -> dict[str, Any]:
    return {
        "op": "create", "version": digest[7:23], "at": at, "by": "me@here", "digest": digest, "files": 1, "bytes": 1,
        "kept": False, "manifest": "0" * 32, "add_tags": list(tags),
    }  # fmt: skip


operations = st.one_of(
    st.builds(created, st.sampled_from(DIGESTS), st.lists(st.sampled_from("xyz"), max_size=2).map(tuple)),
    st.builds(
        lambda digest, add, remove: {
            "op": "update", "version": digest[7:23], "at": "2026-12-01T00:00:00Z", "by": "me@here",
            "add_tags": add, "remove_tags": remove,
        },
        st.sampled_from(DIGESTS), st.lists(st.sampled_from("xyz")), st.lists(st.sampled_from("xyz")),
    ),
    st.builds(
        lambda digest: {"op": "delete", "version": digest[7:23], "at": "2026-12-01T00:00:00Z", "by": "me@here"},
        st.sampled_from(DIGESTS),
    ),
)  # fmt: skip


def encoded(operation: dict[str, Any]) -> bytes:
    return json.dumps({"dataset": "b/p", **operation}).encode()


def test_a_held_version_outlasts_a_deletion_by_somebody_who_did_not_know() -> None:
    version = DIGESTS[0][7:23]
    base = {"version": version, "at": "2026-12-01T00:00:00Z", "by": "me@here"}
    hold = {"op": "update", **base, "hold": [{"reason": "note:audit"}]}
    delete = {"op": "delete", **base}
    release = {"op": "update", **base, "release": [{"reason": "note:audit"}]}
    made = created(DIGESTS[0], ("t",))
    assert catalog.fold("b/p", map(encoded, [made, hold, delete])).tags == {"t": version}
    assert not catalog.fold("b/p", map(encoded, [made, hold, release, delete])).versions


@given(st.lists(operations, max_size=8), operations)
def test_a_later_operation_changes_nothing_but_what_it_is_about(
    some: list[dict[str, Any]], last: dict[str, Any]
) -> None:
    before = catalog.fold("b/p", list(map(encoded, some)))
    after = catalog.fold("b/p", list(map(encoded, [*some, last])))
    others = set(before.versions) - {last["version"]}
    assert {each: after.versions[each] for each in others} == {each: before.versions[each] for each in others}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"op":"create"}', b"\xff", b"[" * 5000,
        encoded({**created(DIGESTS[0]), "op": "explode"}),
        encoded({**created(DIGESTS[0]), "version": "../../etc"}),
        encoded({**created(DIGESTS[0]), "digest": DIGESTS[1]}),
        encoded({**created(DIGESTS[0]), "dataset": "other"}),
        encoded({**created(DIGESTS[0]), "bytes": -1}),
        encoded({**created(DIGESTS[0]), "hold": [{"reason": "none"}]}),
    ],
    ids=range(13),
)  # fmt: skip
def test_operations_that_are_none_are_refused(content: bytes) -> None:
    with pytest.raises(CorruptObject, match="b/p"):
        catalog.fold("b/p", [encoded(created(DIGESTS[0])), content])


def test_names_come_after_the_last_one_whatever_the_clock_says() -> None:
    assert catalog.event_name("999999999999998-0123456789abcdef.json").startswith("999999999999999-")
    assert catalog.event_name("") < catalog.event_name("999999999999998-0123456789abcdef.json")


def test_many_writers_at_once_lose_nothing(bucket: Bucket) -> None:
    bucket.put("data/a", b"a")
    first = S3Provider().create(f"{bucket.name}/data")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: S3Provider().update(first, add_tags=(f"tag-{number}",)), range(16)))
    found = S3Provider().get(first.ref.dataset, first.id)
    assert found.tags == tuple(sorted(f"tag-{number}" for number in range(16)))


@pytest.mark.parametrize("where", ["beside", "folder", "address", "default"])
def test_snapshots_are_kept_where_the_user_says(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, where: str
) -> None:
    folder = tmp_path_factory.mktemp("team")
    values = {"beside": "beside", "folder": str(folder), "address": f"s3://{bucket.name}/team/snapshots"}
    if where in values:
        monkeypatch.setenv("MLFLOW_DSVER_SNAPSHOTS", values[where])
    bucket.put("data/a", b"a")
    version = S3Provider().create(f"{bucket.name}/data", tags=("t",), message="m")
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("another machine")))
    ref = DatasetRef("s3", f"{bucket.name}/data", "t")
    if where == "default":
        with pytest.raises(NotFound, match="versions create"):
            S3Provider().resolve(ref)
        return
    assert S3Provider().resolve(ref) == version
    again = S3Provider().create(f"{bucket.name}/data")
    assert again == version, "what is kept beside the data is no data"
    assert list(S3Provider().datasets()) == ([] if where == "beside" else [f"{bucket.name}/data"])
    assert S3Provider().manifest(version).digest == version.content_digest


def test_a_damaged_manifest_is_never_served(bucket: Bucket) -> None:
    bucket.put("data/a", b"a")
    version = S3Provider().create(f"{bucket.name}/data")
    (path,) = (settings.home() / "snapshots").rglob("*.jsonl.gz")
    content = path.read_bytes()
    for damaged in (b"", content[:-5], content[:20] + b"x" + content[21:]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptObject, match="copy of it"):
            S3Provider().manifest(version)
    again = S3Provider().create(f"{bucket.name}/data")
    assert (again.ref, again.content_digest, again.created) == (version.ref, version.content_digest, version.created)
    assert S3Provider().manifest(version).digest == version.content_digest, "taking it again mends it"


def test_a_process_reads_each_operation_once_and_a_manifest_once_for_all_files(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("data/a", b"a")
    bucket.put("data/b", b"b")
    version = S3Provider().create(f"{bucket.name}/data")
    reference = LocalProvider().create_from("pets", S3Provider(), version, reference=True)
    read: list[str] = []
    unwatched = catalog.FolderFiles.read

    def watched(self: catalog.FolderFiles, name: str, most: int) -> bytes | None:
        read.append(name)
        return unwatched(self, name, most)

    monkeypatch.setattr(catalog.FolderFiles, "read", watched)
    for _ in range(3):
        assert S3Provider().resolve(version.ref.at(None)) == version
    assert len(read) <= 1, "the operation, where another test's forgot it"
    manifests: list[str] = []
    monkeypatch.setattr(
        catalog.Catalog,
        "manifest",
        lambda self, digest, of=catalog.Catalog.manifest: manifests.append(digest) or of(self, digest),
    )
    for name in "ab":
        assert S3Provider().open(version, name).read() == name.encode()
        assert LocalProvider().open(reference, name).read() == name.encode()
    assert manifests == [version.content_digest]


def test_what_sub_prefixes_keep_beside_their_data_is_no_data(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_SNAPSHOTS", "beside")
    bucket.put("data/cats/a", b"a")
    bucket.put("data/cats/.dsver/mine", b"a file of the user's own")
    before = S3Provider().create(f"{bucket.name}/data")
    S3Provider().create(f"{bucket.name}/data/cats")
    assert S3Provider().create(f"{bucket.name}/data").id == before.id
    assert [each.path for each in S3Provider().manifest(before).entries] == ["cats/.dsver/mine", "cats/a"]


def test_doctor_asks_no_service_for_settings_that_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "bucket_region", None)
    assert all(provider().health().ok for provider in (S3Provider, GsProvider))


def test_nothing_is_ever_replaced(bucket: Bucket) -> None:
    bucket.put("data/a", b"a")
    version = S3Provider().create(f"{bucket.name}/data")
    root = settings.home() / "snapshots"
    before = {path: path.stat().st_ino for path in root.rglob("*") if path.is_file()}
    S3Provider().update(version, message="m")
    S3Provider().create(f"{bucket.name}/data")
    S3Provider().delete(S3Provider().get(version.ref.dataset, version.id))
    assert {path: path.stat().st_ino for path in before} == before


@pytest.mark.parametrize("value", ["http://x", "s3://", "s3://b?X-Amz-Signature=secretvalue", "ftp://a/b"])
def test_places_that_are_none_are_settings_errors(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_SNAPSHOTS", value)
    with pytest.raises(SettingsError, match="MLFLOW_DSVER_SNAPSHOTS") as caught:
        list(S3Provider().versions("b/data"))
    assert "secretvalue" not in str(caught.value)


def test_a_tag_is_no_id(bucket: Bucket) -> None:
    bucket.put("data/a", b"a")
    version = S3Provider().create(f"{bucket.name}/data")
    with pytest.raises(InvalidReference):
        S3Provider().update(version, add_tags=(version.id,))


def test_a_file_that_swells_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0" * 100)
    with pytest.raises(CorruptObject):
        catalog.FolderFiles(tmp_path).read("x", 99)
    assert catalog.FolderFiles(tmp_path).read("none", 99) is None
    assert catalog.FolderFiles(tmp_path / "x").names("y") == []


def test_a_location_prints_as_other_tools_write_it() -> None:
    assert Location("s3", "b", "").uri == "s3://b"
    assert Location("gs", "b", "p/q").uri == "gs://b/p/q"
    assert Location("s3", "b", "p").key("x") == "p/x"
    assert Location("s3", "b", "").key("x") == "x"
