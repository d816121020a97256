"""What verifying a run says after what can happen to a lakeFS repository, and to what lies below it."""

from __future__ import annotations

from collections.abc import Callable

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import InputReport, Verdict
from mlflow_dsver.providers.lakefs.emulator import LakefsEmulator
from mlflow_dsver.tracking.api import attach_recorded

pytestmark = pytest.mark.usefixtures("tracking")
MATCH, CHANGED, MISSING, UNVERIFIABLE = Verdict.MATCH, Verdict.CHANGED, Verdict.MISSING, Verdict.UNVERIFIABLE


def used(reference: str = "lakefs://digits/train@main") -> str:
    with dsver.start_run(inputs={"training": reference}) as run:
        pass
    return str(run.info.run_id)


def checked(run: str, depth: str = "default") -> InputReport:
    (found,) = dsver.verify(run, depth=depth).inputs
    return found


def nothing(lakefs: LakefsEmulator, commit: str) -> None:
    """Neither a further commit nor a tag changes what was recorded."""
    lakefs.tag("digits", "v1", lakefs.commit("digits", {"train/a.csv": b"9"}))


def collected(lakefs: LakefsEmulator, commit: str) -> None:
    """Garbage collection removed an object, although a tag names the commit."""
    lakefs.tag("digits", "v1", commit)
    lakefs.collect("digits", "train/a.csv", commit)


def made_anew(lakefs: LakefsEmulator, commit: str) -> None:
    """Another repository under the same name."""
    lakefs.delete("digits")
    lakefs.commit("digits", {"train/a.csv": b"others"})


def source_overwritten(lakefs: LakefsEmulator, commit: str) -> None:
    lakefs.overwrite("digits", "train/in.csv", commit, b"x,y\n7,8\n")


def source_removed(lakefs: LakefsEmulator, commit: str) -> None:
    lakefs.collect("digits", "train/in.csv", commit)


@pytest.mark.parametrize(
    ("event", "verdict"),
    [(nothing, MATCH), (collected, MISSING), (made_anew, MISSING), (source_overwritten, CHANGED),
     (source_removed, MISSING)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_each_event_has_its_verdict(
    lakefs: LakefsEmulator, imported: str, event: Callable[[LakefsEmulator, str], None], verdict: Verdict
) -> None:
    run = used()
    assert checked(run).verdict is MATCH
    event(lakefs, imported)
    for depth in ("default", "full"):
        found = checked(run, depth)
        assert found.verdict is verdict, found


@pytest.mark.parametrize(
    "lakefs",
    [
        {"stat-of-lost": stat, "lost": lost, "ranges": ranges}
        for stat, lost, ranges in (("shown", "410", "served"), ("410", "404", "ignored"), ("404", "500", "served"))
    ],
    indirect=True,
    ids=str,
)
def test_what_garbage_collection_removed_is_missing_however_the_server_says_it(
    lakefs: LakefsEmulator, commit: str
) -> None:
    run, single = used(), used("lakefs://digits/other.csv@main")
    lakefs.collect("digits", "train/a.csv", commit)
    assert checked(run).verdict is MISSING
    lakefs.collect("digits", "other.csv", commit)
    assert checked(single).verdict is MISSING


@pytest.mark.parametrize("lakefs", [{"presign": "refused"}], indirect=True)
def test_an_imported_object_is_unknown_and_no_match_where_its_store_cannot_be_asked(
    lakefs: LakefsEmulator, imported: str
) -> None:
    run = used()
    found = checked(run)
    assert found.verdict is UNVERIFIABLE
    assert "imported" in str(found)


def test_a_run_that_followed_lakefs_recipe_is_linked_by_attach(lakefs: LakefsEmulator, commit: str) -> None:
    with mlflow.start_run() as run:
        mlflow.set_tag("lakefs_repo", "digits")
        mlflow.set_tag("lakefs_branch", "main")
        mlflow.set_tag("lakefs_commit", commit)
    (link,) = dsver.inputs_of(run.info.run_id)
    assert str(link.version.ref) == f"lakefs://digits@{commit}"
    assert link.grade.letter == "D"
    assert attach_recorded(run.info.run_id)["training"].revision == commit
    (link,) = dsver.inputs_of(run.info.run_id)
    assert link.grade.letter == "B"
    assert checked(run.info.run_id).verdict is MATCH
