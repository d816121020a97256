"""The parts of a run's record are compared with each other; a contradiction is a finding and never a match."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_worlds import REF, World, world

from mlflow_dsver.checks.recorded_inputs import RecordLimits, records_of
from mlflow_dsver.checks.reports import Depth, Finding, Proof, Subject, Verdict
from mlflow_dsver.model.manifests import InvalidManifest, Manifest, ManifestLimits, read
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import InputFacts, Run

M, V, C = Verdict.MATCH, Verdict.UNVERIFIABLE, Verdict.CHANGED
SAVED = Path(__file__).parents[1] / "compat" / "schema1"
OTHER = "blake3:" + "e" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files."""
    made = tmp_path_factory.mktemp("cats")
    for name in ("a.txt", "b.txt", "labels.csv"):
        (made / name).write_text(f"{name}!")
    return made


def removed(parts: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in parts.items() if key != name}


def about_the_record(world: World) -> list[Finding]:
    return [each for each in world.check().findings if each.subject is Subject.RECORD]


# One part says something else


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("grade", ["A", "B", "C", "D"])
def test_a_whole_record_agrees_with_itself(folder: Path, grade: str, sums: bool) -> None:
    whole = world(grade, folder=folder, digest=True, immutable=grade in "AB", sums=sums)
    report = whole.check()
    assert (report.verdict, str(report.grade), report.findings, report.notes) == (M, grade, (), ())


def test_a_grade_that_was_raised_on_the_tag_is_found_when_the_link_is_gone(folder: Path) -> None:
    """`verify --require A` called this a match of grade A."""
    whole = world("C", folder=folder, digest=True, immutable=None)
    raised = replace(
        whole,
        tags={**whole.tags, "dsver.training.grade": "A"},
        files=removed(whole.files, "training.json"),
    )
    report = raised.check(require="A")
    assert (report.verdict, str(report.grade), bool(report)) == (C, "C", False)
    assert report.unmet == ("grade C, and A is required",)
    bare = replace(raised, inputs=()).check(require="A")  # nothing contradicts it but the provider
    assert (str(bare.grade), bool(bare)) == ("C", False)


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_digest_that_is_written_into_the_artifacts_alone_proves_nothing(
    folder: Path, with_manifest: bool, sums: bool
) -> None:
    """Such a digest once turned a link of grade D from UNVERIFIABLE into MATCH."""
    whole = world("D", folder=folder, digest=False, immutable=False, sums=sums)
    assert whole.check().verdict is V
    planted = world("D", folder=folder, digest=True, immutable=False, sums=sums).files
    files = dict(planted) if with_manifest else {"training.json": planted["training.json"]}
    report = replace(whole, files=files).check()
    assert (report.verdict, report.proof) == (C, Proof.NONE)
    only_there = replace(whole, files=files, params={}, inputs=()).check()
    assert only_there.verdict in (V, C)
    assert only_there.proof is Proof.NONE


@pytest.mark.parametrize("sums", [True, False])
def test_a_manifest_that_is_added_alone_proves_nothing(folder: Path, sums: bool) -> None:
    whole = world("D", folder=folder, digest=False, immutable=False, sums=sums)
    manifest = world("D", folder=folder, digest=True, immutable=False).files["training.manifest.jsonl.gz"]
    report = replace(whole, files={**whole.files, "training.manifest.jsonl.gz": manifest}).check()
    assert (report.verdict, report.proof) == (C if sums else V, Proof.NONE)


def test_a_manifest_of_a_version_whose_digest_its_provider_does_not_know_counts_with_its_sum(folder: Path) -> None:
    """Such as the export of a version at Clarifai."""
    whole = world("B", folder=folder, digest=False, immutable=True)
    manifest = world("B", folder=folder, digest=True, immutable=True).files["training.manifest.jsonl.gz"]
    files = {**whole.files, "training.manifest.jsonl.gz": manifest}
    tags = {**whole.tags, "dsver.training.artifacts": schema.artifacts_text(files)}
    report = replace(whole, files=files, tags=tags).check()
    assert (report.verdict, report.proof) == (M, Proof.CACHED)


def test_an_edited_header_of_the_manifest_is_found(folder: Path) -> None:
    """The patterns decide which files count; the content digest does not cover them."""
    whole = world("A", folder=folder, digest=True, immutable=True)
    name = "training.manifest.jsonl.gz"
    text = gzip.decompress(whole.files[name]).replace(b'"exclude":[]', b'"exclude":["*.new"]')
    assert text != gzip.decompress(whole.files[name])
    for files in ({**whole.files, name: gzip.compress(text)}, {**whole.files, name: gzip.compress(text, mtime=1)}):
        for tags in (whole.tags, removed(whole.tags, "dsver.training.artifacts")):
            [finding] = about_the_record(replace(whole, files=files, tags=tags))
            assert (finding.verdict, finding.what) == (
                C,
                f"the artifact dsver/{name} is not the one that was recorded, so somebody changed it",
            )


def test_a_manifest_that_promises_another_number_of_files_is_found(folder: Path) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True, sums=False)
    name = "training.manifest.jsonl.gz"
    text = gzip.decompress(whole.files[name]).replace(b'"files":3', b'"files":9')
    assert replace(whole, files={**whole.files, name: gzip.compress(text)}).check().verdict is C


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"requested": "fake://cats@clean"}, "requested"),
        ({"tags": ["clean"]}, "tags"),
        ({"usage_bytes": None}, "usage bytes"),
        ({"usage_bytes": 21}, "usage bytes"),
        ({"content_digest": None}, "content digest"),
        ({"content_digest": OTHER}, "content digest"),
        ({"reference": "fake://cats@v2"}, "version"),
        ({"grade": "B"}, "grade"),
        ({"grade": "A (attached later)"}, "grade"),
    ],
)
def test_each_field_of_the_link_that_stands_elsewhere_too_is_compared(
    folder: Path, change: dict[str, object], about: str
) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True, sums=False)
    report = whole.with_link(**change).check()
    assert report.verdict is C
    assert any(f"about the {about}" in finding.what for finding in report.findings)


@pytest.mark.parametrize("change", [{"immutable": False}, {"message": "x"}, {"raw": {"a": 1}}, {"creator": "x"}])
def test_fields_that_stand_in_the_link_alone_are_covered_by_its_sum(folder: Path, change: dict[str, object]) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True)
    assert whole.with_link(**change).check().verdict is C


def test_immutability_that_was_edited_into_the_link_proves_nothing(folder: Path) -> None:
    """The grade records what the provider guaranteed."""
    now = DatasetVersion(REF, tags=("clean", "round-3"), message="relabelled", usage_bytes=20, immutable=True)
    whole = world("D", folder=None, digest=False, immutable=False, now=now, sums=False)
    assert whole.check().verdict is V
    assert whole.with_link(immutable=True).check().verdict is V


def test_a_role_of_which_only_an_artifact_tells_is_a_finding(folder: Path) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True)
    report = replace(whole, params={}, tags={}, inputs=()).check()
    assert (report.role, report.verdict) == ("training", C)


def test_data_that_changed_during_training_stays_a_finding(folder: Path) -> None:
    """Even if the tag with the details is overwritten: the grade keeps its note."""
    whole = world("A", folder=folder, digest=True, immutable=True)
    sealed = {
        **whole.tags,
        "dsver.training.grade": "D (changed during the run)",
        "dsver.training.sealed": "2026-11-22T05:00:00Z changed: 1 file differs: 1 changed (a.txt)",
    }
    report = replace(whole, tags=sealed).check()
    assert (report.verdict, str(report.grade)) == (C, "D (changed during the run)")
    [finding] = report.findings
    assert (finding.what, "a.txt" in (finding.found or "")) == ("the data changed while the run used it", True)
    sealed["dsver.training.sealed"] = "2026-11-22T06:00:00Z same"
    assert replace(whole, tags=sealed).check().verdict is C


# More than is read


def bomb(megabytes: int) -> bytes:
    """A manifest with a valid header that decompresses to the given number of MiB."""
    header = b'{"schema":1,"files":3,"bytes":3,"content_digest":"blake3:%s","made":{}}\n' % (b"a" * 64)
    line = b'{"path":"a","bytes":1,"digest":"%s"}\n' % (b"a" * 64)
    return gzip.compress(header + line * (megabytes * (1 << 20) // len(line)))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (ManifestLimits(unpacked=4 << 20), "more than 4,194,304 bytes when unpacked"),
        (ManifestLimits(files=1000), "more than 1,000 files"),
        (ManifestLimits(compressed=1000), "more than 1,000 bytes"),
        (ManifestLimits(seconds=0), "not read within 0 seconds"),
    ],
)
def test_a_manifest_that_unpacks_to_more_than_is_read_is_not_checked_and_says_which_limit(
    folder: Path, limits: ManifestLimits, says: str
) -> None:
    """The 200 MiB are neither decompressed nor held in memory."""
    whole = world("A", folder=folder, digest=True, immutable=True, sums=False)
    content = bomb(200)
    assert len(content) < 2 << 20
    tracemalloc.start()
    try:
        files = {**whole.files, "training.manifest.jsonl.gz": content}
        [found] = records_of(whole.facts(), files, limits=RecordLimits(limits))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    [finding] = found.record.findings
    assert (finding.verdict, finding.found) == (V, says)
    assert found.manifest is None
    assert peak < 24 << 20
    with pytest.raises(InvalidManifest):  # two equal paths, unless a limit is met before
        read(BytesIO(content), limits=limits)


def test_a_link_that_is_larger_than_is_read_is_not_checked(folder: Path) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True)
    [found] = records_of(whole.facts(), whole.files, limits=RecordLimits(link=100))
    assert [(each.verdict, each.found) for each in found.record.findings] == [(V, "more than 100 bytes")]


# What is no disagreement


def saved_run(name: str = "run.json") -> Run:
    saved = json.loads((SAVED / name).read_text())
    inputs = tuple(
        InputFacts(
            each["context"], each["name"], each["digest"], json.loads(each["source"]), json.loads(each["profile"])
        )
        for each in saved["inputs"]
    )
    sources = {each.role: each.source for each in inputs}
    return Run(
        "a" * 32, "n", "1", "e", "FINISHED", None, None, "x", saved["params"], saved["tags"], {}, sources, inputs
    )


def test_a_saved_record_of_schema_1_agrees_with_itself() -> None:
    files = {path.name: path.read_bytes() for path in SAVED.iterdir() if path.name not in ("run.json", "card.md")}
    found = {each.record.role: each for each in records_of(saved_run(), files)}
    assert set(found) == {"training", "validation"}
    for each in found.values():
        assert each.record.findings == ()
        assert each.record.notes == ()
    assert found["training"].manifest is not None


def test_labels_that_were_cut_are_no_disagreement() -> None:
    from mlflow_dsver.checks.record_consistency import Agreement, Parts
    from mlflow_dsver.model.versions import Link

    version = DatasetVersion(REF, tags=tuple(f"tag-{number}-{'x' * 90}" for number in range(80)))
    link = Link("training", "fake://cats@" + "y" * 6000, version, Grade("B"), saved_when())
    for limit in (schema.VALUE_LIMIT, schema.SHORT_LIMIT):
        params = {key.removeprefix("dsver.training."): text for key, text in schema.params(link, limit).items()}
        agreement = Agreement(Parts("training", REF, params, {"grade": "B"}, (), link))
        agreement.labels()
        assert agreement.findings == []


def saved_when():
    from record_worlds import WHEN

    return WHEN


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("part", ["params", "inputs"])
def test_a_server_without_params_or_inputs_is_no_disagreement(folder: Path, part: str, sums: bool) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True, sums=sums)
    report = replace(whole, **{part: {} if part == "params" else ()}).check()
    assert (report.verdict, str(report.grade), report.findings) == (M, "A", ())


def test_an_input_whose_profile_is_that_of_an_earlier_run_is_no_disagreement(folder: Path) -> None:
    """MLflow keeps the first source and profile that an experiment has of a version."""
    whole = world("B", folder=None, digest=False, immutable=True)
    [mine] = whole.inputs
    older = replace(
        mine,
        source={**mine.source, "usage_bytes": None, "requested": "fake://cats@clean"},
        profile={**mine.profile, "grade": "D", "size": "1 B", "message": "draft"},
    )
    report = replace(whole, inputs=(older,)).check()
    assert (report.verdict, str(report.grade), report.findings) == (M, "B", ())


@pytest.mark.parametrize(
    ("link", "tag"), [("D (offline)", "B"), ("B (offline)", "D (uncommitted)"), ("B (offline)", "B")]
)
def test_a_grade_that_was_confirmed_after_an_offline_start_is_no_disagreement(
    folder: Path, link: str, tag: str
) -> None:
    whole = world("B", folder=folder, digest=True, immutable=True, sums=False).with_link(grade=link)
    report = replace(whole, tags={**whole.tags, "dsver.training.grade": tag}).check()
    assert (report.findings, str(report.grade)) == ((), tag)


def test_another_input_that_training_logged_in_the_same_role_is_no_disagreement(folder: Path) -> None:
    """Such as a table that was read from the version, under a name and a digest of its own."""
    whole = world("A", folder=folder, digest=True, immutable=True)
    [mine] = whole.inputs
    table = replace(mine, name="labels", digest="12345678", profile={"num_rows": 3})
    assert replace(whole, inputs=(mine, table)).check().findings == ()


# What can be shown now


def test_a_grade_is_no_better_than_the_present_one_of_the_provider(folder: Path) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True)
    whole.provider.letter = "C"
    report = whole.check(require="A")
    assert (report.verdict, str(report.grade), bool(report)) == (M, "C", False)
    assert any("proves less" in note.what for note in report.notes)


def test_the_best_grade_of_bytes_that_were_compared_now_needs_no_provider_that_hashed_them(folder: Path) -> None:
    whole = world("A", folder=folder, digest=True, immutable=True)
    whole.provider.version = replace(whole.provider.version, content_digest=None)
    whole.provider.letter = "B"
    assert str(whole.check(require="A").grade) == "A"
    assert str(whole.check(Depth.METADATA).grade) == "B"


# The law

WORLDS: dict[str, Callable[[Path, bool], World]] = {
    "hashed": lambda folder, sums: world("A", folder=folder, digest=True, immutable=True, sums=sums),
    "referred to": lambda folder, sums: world("C", folder=folder, digest=True, immutable=None, sums=sums),
    "vouched for": lambda _, sums: world("B", folder=None, digest=False, immutable=True, sums=sums),
    "unknown": lambda folder, sums: world("D", folder=folder, digest=False, immutable=False, sums=sums),
    "withdrawn": lambda _, sums: world(
        "B",
        folder=None,
        digest=False,
        immutable=True,
        now=DatasetVersion(REF, tags=("clean", "round-3"), message="relabelled", usage_bytes=20, immutable=False),
        sums=sums,
    ),
}
VALUES = [
    "A", "B", "C", "D", "A (attached later)", "", "garbage", "unknown", "20", "21", "clean", "clean,round-3",
    "fake://cats@v1", "fake://cats@v2", "fake://cats@latest", "fake", "v2", OTHER, None, True, [], {}, 0, "1",
]  # fmt: skip
FREE = {
    *(f"source.{name}" for name in ("requested", "usage_bytes", "url", "schema")),
    *(f"profile.{name}" for name in ("grade", "size", "files", "tags", "created", "requested", "message", "changes")),
    "tag.dsver.schema",
    "link.schema",
}
"""What belongs to the first run of the experiment, or names a form."""


def changed(whole: World, data: st.DataObject) -> tuple[World, str | None, bool]:
    """The world with one part changed or removed; which part, None for nothing; whether it was removed."""
    kind = data.draw(st.sampled_from(["param", "tag", "source", "profile", "link", "version", "digest", "part"]))
    value = data.draw(st.sampled_from(VALUES))
    gone = data.draw(st.booleans())
    [mine] = whole.inputs
    link = json.loads(whole.files["training.json"])
    holders: dict[str, Mapping[str, object]] = {
        "param": whole.params, "tag": whole.tags, "source": mine.source, "profile": mine.profile, "link": link,
        "version": link["version"],
    }  # fmt: skip
    if kind == "digest":
        return replace(whole, inputs=(replace(mine, digest="0123456789abcdef"),)), "digest", False
    if kind == "part":
        part = data.draw(st.sampled_from(["params", "inputs", "training.json", "training.manifest.jsonl.gz"]))
        if part in ("params", "inputs"):
            return replace(whole, **{part: {} if part == "params" else ()}), part, True
        return replace(whole, files=removed(whole.files, part)), part, True
    name = data.draw(st.sampled_from(sorted(holders[kind])))
    nothing = value is None
    if kind in ("param", "tag"):
        value = str(value)
    if not gone and holders[kind][name] == value and type(holders[kind][name]) is type(value):
        return whole, None, False
    made = removed(holders[kind], name) if gone else {**holders[kind], name: value}
    if kind == "param":
        return replace(whole, params=made), f"param.{name}", gone
    if kind == "tag":
        return replace(whole, tags=made), f"tag.{name}", gone
    if kind in ("source", "profile"):
        return replace(whole, inputs=(replace(mine, **{kind: made}),)), f"{kind}.{name}", gone or nothing
    text = json.dumps(made if kind == "link" else {**link, "version": made}).encode()
    return replace(whole, files={**whole.files, "training.json": text}), f"{kind}.{name}", gone or nothing


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("kind", WORLDS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_changed_part_never_makes_a_verdict_better_and_is_told(
    folder: Path, kind: str, sums: bool, data: st.DataObject
) -> None:
    whole = WORLDS[kind](folder, sums)
    before = whole.check()
    after_world, part, gone = changed(whole, data)
    facts = after_world.facts()
    if not list(records_of(facts, after_world.files)):
        return
    after = after_world.check()
    assert after.verdict.rank >= before.verdict.rank, part
    if before.grade is not None and after.grade is not None:
        assert after.grade.letter >= before.grade.letter, part
    told = [each for each in after.findings if each.subject is Subject.RECORD and each.verdict is C]
    compared = part is not None and part not in FREE and not gone
    elsewhere = part is not None and part.split(".")[0] in ("link", "version") and not sums
    if compared and not elsewhere:
        assert told, part


def test_a_manifest_that_was_made_by_this_package_is_read_back_as_the_one_that_was_recorded(folder: Path) -> None:
    content = world("A", folder=folder, digest=True, immutable=True).files["training.manifest.jsonl.gz"]
    manifest = read(BytesIO(content))
    assert Manifest(manifest.entries, made=manifest.made).to_bytes() == content
    assert re.fullmatch("[0-9a-f]{64}", next(iter(manifest.entries)).digest)
