"""Tampering with data at Paperspace and Clarifai, over real HTTP with their emulators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import InputReport, Proof, Verdict
from mlflow_dsver.checks.verify import verify
from mlflow_dsver.providers.clarifai import polling
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator
from mlflow_dsver.providers.paperspace import provider as paperspace_module
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.testing import clarifai_emulator, paperspace_emulator

__all__ = ["clarifai_emulator", "paperspace_emulator"]

M, V, R, C, G = (Verdict.MATCH, Verdict.UNVERIFIABLE, Verdict.UNREACHABLE, Verdict.CHANGED, Verdict.MISSING)
pytestmark = pytest.mark.usefixtures("tracking")
CATS = "dst364npcw6ccok"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cached folder of another test, no user files, short time-outs."""
    monkeypatch.setattr(paperspace_module, "_known_folders", {})
    monkeypatch.setattr(polling, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(polling, "LAST_PAUSE", 0.02)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "1.5")


def linked(reference: str) -> str:
    with dsver.start_run(inputs={"training": reference}) as run:
        pass
    return str(run.info.run_id)


def check(run_id: str, depth: str = "default") -> InputReport:
    [report] = verify(run_id, depth=depth).inputs
    return report


# Paperspace, by its word alone

Paperspace = Callable[[PaperspaceEmulator], object]


def cats_version(emulator: PaperspaceEmulator) -> dict[str, object]:
    return emulator.versions[CATS]["fo5rp4m"]


PAPERSPACE_BETRAYALS: dict[str, tuple[Paperspace, Verdict]] = {
    "nothing": (lambda emulator: None, M),
    "deleted": (lambda emulator: emulator.versions[CATS].pop("fo5rp4m"), G),
    "dataset deleted": (lambda emulator: (emulator.versions.pop(CATS), emulator.datasets.pop(CATS)), G),
    "uncommitted": (lambda emulator: cats_version(emulator).update(isCommitted=False), C),
    "usage bytes": (lambda emulator: emulator.sizes.update({f"{CATS}:fo5rp4m": 7}), C),
    "message edited": (lambda emulator: cats_version(emulator).update(message="other"), M),
    "500": (lambda emulator: emulator.inject("500"), R),
    "503": (lambda emulator: emulator.inject("503"), R),
    "429": (lambda emulator: emulator.inject("429"), R),
    "key expired": (lambda emulator: emulator.inject("401"), R),
    "reset": (lambda emulator: emulator.inject("reset"), R),
    "hang": (lambda emulator: emulator.inject("hang:seconds=8"), R),
    "web firewall": (lambda emulator: emulator.inject("html"), R),
}
ODD = ["nonsense", "cut", "cut-unsaid", "ok-error", "redirect", "bomb"]


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)
@pytest.mark.parametrize("betrayal", PAPERSPACE_BETRAYALS)
def test_what_happens_at_paperspace(paperspace_emulator: PaperspaceEmulator, betrayal: str) -> None:
    run_id = linked(f"paperspace://{CATS}@fo5rp4m")
    act, expected = PAPERSPACE_BETRAYALS[betrayal]
    act(paperspace_emulator)
    report = check(run_id)
    assert report.verdict is expected
    assert report.proof is (Proof.PROVIDER if expected is M else Proof.NONE)


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)
@pytest.mark.parametrize("fault", ODD)
def test_odd_answers_of_paperspace_are_no_match(paperspace_emulator: PaperspaceEmulator, fault: str) -> None:
    run_id = linked(f"paperspace://{CATS}@fo5rp4m")
    paperspace_emulator.inject(fault)
    assert check(run_id, "metadata").verdict in (V, R)


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)
def test_words_alone_do_not_pass_where_bytes_were_asked_for(paperspace_emulator: PaperspaceEmulator) -> None:
    run_id = linked(f"paperspace://{CATS}@fo5rp4m")
    assert check(run_id, "full").verdict is V
    assert check(run_id, "sample").verdict is V


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)
def test_a_moved_tag_at_paperspace_is_told_beside_the_match(paperspace_emulator: PaperspaceEmulator) -> None:
    by_tag, by_latest = linked(f"paperspace://{CATS}@clean"), linked(f"paperspace://{CATS}")
    newer = paperspace_emulator.add_version(CATS, tags="clean", size=5)
    for run_id in (by_tag, by_latest):
        report = check(run_id)
        assert report.verdict is M
        assert [(each.verdict, each.found) for each in report.findings] == [
            (Verdict.ALIAS_MOVED, f"paperspace://{CATS}@{newer}")
        ]


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)
def test_a_tag_that_is_named_like_a_deleted_version_does_not_stand_in_for_it(
    paperspace_emulator: PaperspaceEmulator,
) -> None:
    run_id = linked(f"paperspace://{CATS}@fo5rp4m")
    size = paperspace_emulator.sizes[f"{CATS}:fo5rp4m"]
    paperspace_emulator.versions[CATS].pop("fo5rp4m")
    paperspace_emulator.add_version(CATS, tags="fo5rp4m", size=size)
    assert check(run_id).verdict is G


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)
def test_an_uncommitted_version_is_never_a_match(
    paperspace_emulator: PaperspaceEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_UNCOMMITTED", "link")
    run_id = linked(f"paperspace://{CATS}@8ngwr2a")
    assert check(run_id).verdict is V
    paperspace_emulator.versions[CATS]["8ngwr2a"]["isCommitted"] = True
    assert check(run_id).verdict is V


# Paperspace, with the bytes at hand


@pytest.fixture
def mounted(
    paperspace_emulator: PaperspaceEmulator, digits_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """A run that used a version whose files were hashed where they are mounted."""
    size = sum(path.stat().st_size for path in digits_folder.rglob("*") if path.is_file())
    dataset = paperspace_emulator.add_dataset("digits")
    paperspace_emulator.add_version(dataset, version="a1b2c3d", size=size)
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_PATHS", f"{dataset}@a1b2c3d={digits_folder}")
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_HASH", "yes")
    return linked(f"paperspace://{dataset}@latest"), digits_folder


MOUNT_BETRAYALS: dict[str, tuple[Callable[[Path], object], Verdict]] = {
    "nothing": (lambda folder: None, M),
    "edited": (lambda folder: (folder / "labels.csv").write_text("other"), C),
    "added": (lambda folder: (folder / "new").write_text("new"), C),
    "removed": (lambda folder: (folder / "0" / "0.txt").unlink(), C),
    "renamed": (lambda folder: (folder / "0" / "0.txt").rename(folder / "zero"), C),
}


@pytest.mark.parametrize("depth", ["default", "full"])
@pytest.mark.parametrize("betrayal", MOUNT_BETRAYALS)
def test_what_happens_to_a_mount(mounted: tuple[str, Path], betrayal: str, depth: str) -> None:
    run_id, folder = mounted
    act, expected = MOUNT_BETRAYALS[betrayal]
    act(folder)
    report = check(run_id, depth)
    assert report.verdict is expected
    assert (report.difference is not None) is (expected is C)
    assert str(report.grade).startswith("A")


def test_sound_bytes_do_not_make_up_for_a_service_that_is_down(
    mounted: tuple[str, Path], paperspace_emulator: PaperspaceEmulator
) -> None:
    paperspace_emulator.inject("503")
    assert check(mounted[0]).verdict is R
    (mounted[1] / "new").write_text("new")
    assert check(mounted[0]).verdict is C


def test_a_mount_that_is_not_there_leaves_the_word_of_the_service(
    mounted: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_DSVER_PAPERSPACE_PATHS")
    assert check(mounted[0]).proof is Proof.PROVIDER
    assert check(mounted[0], "full").verdict is V


# Clarifai

Clarifai = Callable[[ClarifaiEmulator], object]


def clarifai_versions(emulator: ClarifaiEmulator) -> dict[str, dict[str, object]]:
    versions: dict[str, dict[str, object]] = emulator._home()["datasets"]["cats"]["versions"]
    return versions


CLARIFAI_BETRAYALS: dict[str, tuple[Clarifai, Verdict]] = {
    "nothing": (lambda emulator: None, M),
    "deleted": (lambda emulator: clarifai_versions(emulator).pop("v1"), G),
    "description edited": (lambda emulator: clarifai_versions(emulator)["v1"].update(description="other"), M),
    "503": (lambda emulator: emulator.inject("503"), R),
    "key expired": (lambda emulator: emulator.inject("401"), R),
    "reset": (lambda emulator: emulator.inject("reset"), R),
    "hang": (lambda emulator: emulator.inject("hang:seconds=8"), R),
}


@pytest.mark.parametrize("clarifai_emulator", [{"seed": True}], indirect=True)
@pytest.mark.parametrize("betrayal", CLARIFAI_BETRAYALS)
def test_what_happens_at_clarifai(clarifai_emulator: ClarifaiEmulator, betrayal: str) -> None:
    run_id = linked("clarifai://cats@v1")
    act, expected = CLARIFAI_BETRAYALS[betrayal]
    act(clarifai_emulator)
    report = check(run_id)
    assert report.verdict is expected
    assert report.proof is (Proof.PROVIDER if expected is M else Proof.NONE)


@pytest.mark.parametrize("clarifai_emulator", [{"seed": True}], indirect=True)
@pytest.mark.parametrize("fault", ODD)
def test_odd_answers_of_clarifai_are_no_match(clarifai_emulator: ClarifaiEmulator, fault: str) -> None:
    run_id = linked("clarifai://cats@v1")
    clarifai_emulator.inject(fault)
    assert check(run_id, "metadata").verdict in (V, R)


@pytest.mark.parametrize("clarifai_emulator", [{"seed": True}], indirect=True)
def test_a_moved_tag_at_clarifai_is_told_beside_the_match(clarifai_emulator: ClarifaiEmulator) -> None:
    run_id = linked("clarifai://cats@clean")
    dsver.create_version("clarifai://cats", tags=["clean"])
    report = check(run_id)
    assert report.verdict is M
    assert [each.verdict for each in report.findings] == [Verdict.ALIAS_MOVED]


@pytest.mark.parametrize("clarifai_emulator", [{"seed": True}], indirect=True)
def test_an_export_that_was_loaded_before_is_held_against_the_manifest(
    clarifai_emulator: ClarifaiEmulator,
) -> None:
    """Once the export was loaded, its files are on the record; a changed copy and a differing export are told."""
    from mlflow_dsver.providers.clarifai import ClarifaiProvider

    provider = ClarifaiProvider()
    folder = provider.path(dsver.resolve("clarifai://cats@v1"))
    run_id = linked("clarifai://cats@v1")
    assert check(run_id).verdict is M
    assert check(run_id, "full").proof is Proof.HASHED
    victim = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes() + b" ")
    assert check(run_id).verdict is C
    assert check(run_id, "full").verdict is C
