"""What verifying a run says after what can happen to a repository, its history, and the copy on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas
import pytest
from hub_files import DIGITS, FILES, content

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import InputReport, Verdict
from mlflow_dsver.errors import CorruptObject
from mlflow_dsver.lineage.retention import holds
from mlflow_dsver.providers.hf import HfProvider
from mlflow_dsver.providers.hf.emulator import HfEmulator

pytestmark = pytest.mark.usefixtures("tracking")


def used(hub: HfEmulator, reference: str = f"hf://{DIGITS}@main") -> str:
    """A run that used what `main` was."""
    with dsver.start_run(inputs={"training": reference}) as run:
        pass
    return str(run.info.run_id)


def checked(run: str, depth: str = "default") -> InputReport:
    (found,) = dsver.verify(run, depth=depth).inputs
    return found


def nothing(hub: HfEmulator, commit: str) -> None:
    """Neither a further commit nor a tag changes what was recorded."""
    hub.commit(DIGITS, {"data/train.csv": b"a,b\n9,9\n"})
    hub.tag(DIGITS, "v1.0", commit)


def squashed(hub: HfEmulator, commit: str) -> None:
    hub.commit(DIGITS, {"more.txt": b"more"})
    hub.squash(DIGITS)


def force_pushed(hub: HfEmulator, commit: str) -> None:
    hub.commit(DIGITS, {"data/train.csv": b"a,b\n9,9\n"}, force=True)


def lost(hub: HfEmulator, commit: str) -> None:
    """The bytes of a large file were deleted; the commit lists it still."""
    hub.lose(DIGITS, "data/images.bin", commit)


def lost_and_refused(hub: HfEmulator, commit: str) -> None:
    hub.switch("lost", "403")
    lost(hub, commit)


def made_anew(hub: HfEmulator, commit: str) -> None:
    """Another repository under the same name."""
    hub.delete(DIGITS)
    hub.commit(DIGITS, {"data/train.csv": b"others"})


def deleted(hub: HfEmulator, commit: str) -> None:
    hub.delete(DIGITS)


def renamed(hub: HfEmulator, commit: str) -> None:
    hub.rename(DIGITS, "datasets/someone/numbers")


def gated(hub: HfEmulator, commit: str) -> None:
    hub.repository(DIGITS).gated = True


def other_small_file(hub: HfEmulator, commit: str) -> None:
    """The Hub sends other bytes of the same size."""
    repository = hub.repository(DIGITS)
    repository.contents[repository.commits[commit].files["data/train.csv"].blob] = b"a,b\n1,9\n"


def other_large_file(hub: HfEmulator, commit: str) -> None:
    repository = hub.repository(DIGITS)
    file = repository.commits[commit].files["data/images.bin"]
    repository.contents[str(file.sha256)] = bytes(len(FILES["data/images.bin"]))


MATCH, CHANGED, MISSING = Verdict.MATCH, Verdict.CHANGED, Verdict.MISSING
UNREACHABLE, UNVERIFIABLE = Verdict.UNREACHABLE, Verdict.UNVERIFIABLE


@pytest.mark.parametrize(
    ("event", "default", "full"),
    [
        (nothing, MATCH, MATCH),
        (renamed, MATCH, MATCH),
        (squashed, MISSING, MISSING),
        (force_pushed, MISSING, MISSING),
        (made_anew, MISSING, MISSING),
        (lost, MISSING, MISSING),
        (lost_and_refused, UNVERIFIABLE, UNVERIFIABLE),
        (deleted, UNREACHABLE, UNREACHABLE),
        (gated, UNVERIFIABLE, UNVERIFIABLE),
        (other_small_file, MATCH, CHANGED),
        (other_large_file, MATCH, CHANGED),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_each_event_has_its_verdict(
    hub: HfEmulator,
    commit: str,
    event: Callable[[HfEmulator, str], None],
    default: Verdict,
    full: Verdict,
) -> None:
    run = used(hub)
    (link,) = dsver.inputs_of(run)
    assert (link.requested, link.version.id) == (f"hf://{DIGITS}@main", commit)
    assert link.grade.letter == "B"
    assert checked(run).verdict is MATCH
    assert checked(run, "full").verdict is MATCH
    event(hub, commit)
    found = [checked(run), checked(run, "full")]
    assert [each.verdict for each in found] == [default, full]
    if event in (squashed, force_pushed, made_anew):
        assert "history may have been rewritten" in str(found[0].findings)
    elif event in (lost, other_small_file, other_large_file):
        path = "data/train.csv" if event is other_small_file else "data/images.bin"
        assert found[1].findings[0].paths == (path,)
    elif event is deleted:
        assert "deleted" in str(found[0].findings)


def test_without_a_token_nothing_is_said_to_be_missing(
    hub: HfEmulator, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = used(hub)
    hub.repository(DIGITS).private = True
    monkeypatch.delenv("HF_TOKEN")
    found = checked(run)
    assert found.verdict in (UNREACHABLE, UNVERIFIABLE)
    assert "HF_TOKEN" in str(found.findings)


def test_a_changed_copy_on_this_machine_is_not_given_out(hub: HfEmulator, commit: str, provider: HfProvider) -> None:
    version = provider.get(DIGITS, commit)
    folder = provider.path(version)
    assert content(folder) == FILES
    (folder / "data/train.csv").write_bytes(b"a,b\n1,9\n")
    with pytest.raises(CorruptObject, match="was changed"):
        provider.path(version)


@pytest.mark.parametrize("event", [other_small_file, other_large_file])
def test_other_bytes_are_never_given_out(
    hub: HfEmulator,
    commit: str,
    provider: HfProvider,
    tmp_path: Path,
    event: Callable[[HfEmulator, str], None],
) -> None:
    version = provider.get(DIGITS, commit)
    event(hub, commit)
    with pytest.raises(CorruptObject, match="not what was recorded"):
        provider.materialise(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_changes_between_commits_are_named_without_fetching_a_file(hub: HfEmulator, commit: str) -> None:
    """Also those that change no size: small files are compared by their git blob ids."""
    newer = hub.commit(DIGITS, {"data/train.csv": b"a,b\n1,9\n", "README.md": None, "new.txt": b"new"})
    hub.requests.clear()
    found = dsver.diff(f"hf://{DIGITS}@{commit}", f"hf://{DIGITS}@{newer}").difference
    assert found is not None
    assert [after.path for _, after in found.changed] == ["data/train.csv"]
    assert ([each.path for each in found.added], [each.path for each in found.removed]) == (
        ["new.txt"],
        ["README.md"],
    )
    assert (found.unchanged, found.unknown) == (1, ())
    assert not [request for request in hub.requests if "resolve" in request.path]


def test_what_mlflow_recorded_is_an_input_where_it_names_the_commit(hub: HfEmulator, commit: str) -> None:
    """A commit is an exact version, which `attach_recorded` proves; a branch names none."""
    from mlflow.data.huggingface_dataset_source import HuggingFaceDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    with mlflow.start_run() as run:
        for name, revision in (("exact", commit), ("moving", "main")):
            source = HuggingFaceDatasetSource(path="someone/digits", split="train", revision=revision)
            context = "training" if name == "exact" else "test"
            mlflow.log_input(MetaDataset(source=source, name=name, digest=name), context=context)
    (link,) = dsver.inputs_of(run.info.run_id)
    assert (str(link.version.ref), str(link.grade)) == (f"hf://{DIGITS}@{commit}", "D (recorded by MLflow)")
    dsver.attach_recorded(run.info.run_id)
    (link,) = dsver.inputs_of(run.info.run_id)
    assert link.grade.letter == "B"
    assert link.version.content_digest is not None
    assert checked(run.info.run_id).verdict is MATCH


def test_a_run_is_told_the_commit(hub: HfEmulator, commit: str) -> None:
    with dsver.start_run(inputs={"training": f"hf://{DIGITS}"}) as run:
        assert run.datasets["training"].revision == commit
        assert run.datasets["training"].open("data/train.csv").read() == FILES["data/train.csv"]


@pytest.mark.parametrize("address", [f"hf://{DIGITS}@main/data/train.csv", f"hf://{DIGITS}/data/train.csv"])
def test_the_address_that_pandas_reads_is_a_source_of_mlflow(hub: HfEmulator, commit: str, address: str) -> None:
    """It is recorded as the file at its commit; MLflow has no source of its own for it."""
    frame = pandas.DataFrame({"a": [1]})
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_pandas(frame, source=address), context="test")
    (link,) = dsver.inputs_of(run.info.run_id)
    assert (link.role, str(link.version.ref)) == ("test", f"hf://{DIGITS}/data/train.csv@{commit}")


def test_what_runs_need_is_kept_by_tags_that_the_holds_print(hub: HfEmulator, commit: str, client: Any) -> None:
    """As the Hub's own client sets them; a squash then removes what no run needs."""
    kept, tagged = used(hub), hub.commit(DIGITS, {"a.txt": b"a"})
    used(hub)
    hub.tag(DIGITS, "v1.0", tagged)
    gone = hub.commit(DIGITS, {"a.txt": b"b"})
    lost_run = used(hub)
    mlflow.delete_run(lost_run)
    (keep,) = holds(dataset=f"hf://{DIGITS}").keep
    assert (keep.list.versions, keep.list.missing) == ((commit,), ())
    eval(keep.list.command, {"HfApi": client.HfApi})
    assert holds(dataset=f"hf://{DIGITS}").keep == ()
    hub.squash(DIGITS)
    assert checked(kept).verdict is MATCH
    mlflow.tracking.MlflowClient().restore_run(lost_run)
    assert checked(lost_run).verdict is MISSING
    (keep,) = holds(dataset=f"hf://{DIGITS}").keep
    assert (keep.list.versions, keep.list.missing) == ((), (gone,))
