"""Sample reports for the renderers: every verdict, every kind of finding, and markup injection."""

from __future__ import annotations

from datetime import UTC, datetime

from mlflow_dsver.checks.reports import (
    Depth,
    Finding,
    InputReport,
    Note,
    Proof,
    Report,
    RunReport,
    SignatureReport,
    Subject,
    Verdict,
)
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import Grade

WHEN = datetime(2026, 11, 22, 4, 30, 1, 500, tzinfo=UTC)
HOSTILE = 'a|b <script>alert("1")</script> [x](javascript:1) `c`\n\x1b[31m\x00\u202egnp.exe'


def entry(path: str, size: int = 10, digit: str = "a") -> FileEntry:
    return FileEntry(path, size, digit * 64)


DIFFERENCE = Difference(
    added=(entry("new.txt", 2048),),
    removed=tuple(entry(f"old/{number:02}.txt") for number in range(25)),
    changed=((entry("labels.csv", 100), entry("labels.csv", 120, "b")),),
    renamed=((entry("a.png"), entry(HOSTILE)),),
    unchanged=7,
)
MATCHED = InputReport(
    "training", "local://digits@latest", parse("local://digits@3f9c2a7d11e05b64"), Grade("A"), Verdict.MATCH,
    Proof.HASHED, (Finding(Verdict.ALIAS_MOVED, Subject.ALIAS,
    "local://digits@latest now resolves to another version", "local://digits@3f9c2a7d11e05b64",
    "local://digits@77aa2a7d11e05b64"),), files_read=1797, bytes_read=3_355_443,
)  # fmt: skip
CHANGED = InputReport(
    "test", None, parse("local://digits-test@0123456789abcdef"), Grade("A", ("attached later",)), Verdict.CHANGED,
    Proof.NONE, (Finding(Verdict.CHANGED, Subject.BYTES, "28 files differ", "blake3:aa", "blake3:bb",
    ("labels.csv", "new.txt")),), (Note("tags changed", "clean", HOSTILE),), difference=DIFFERENCE, files_read=12,
)  # fmt: skip
DAMAGED = InputReport(
    "validation", None, parse("local://v@1"), None, Verdict.MISSING, Proof.NONE,
    (Finding(Verdict.MISSING, Subject.BYTES, "the files are gone", None, "1 file gone, of 5 looked at", (HOSTILE,)),),
    unmet=("grade unknown, and A is required",),
)  # fmt: skip
DOWN = InputReport(
    "training", "x", parse("paperspace://dst364npcw6ccok@fo5rp4m"), Grade("B", ("offline",)), Verdict.UNREACHABLE,
    Proof.NONE, (Finding(Verdict.UNREACHABLE, Subject.PROVIDER, "the provider could not be reached", None, HOSTILE),),
)  # fmt: skip
UNPROVEN = InputReport(
    "eval", "x", parse("clarifai://me/app/cats@v3"), Grade("D"), Verdict.UNVERIFIABLE, Proof.NONE,
    (Finding(Verdict.UNVERIFIABLE, Subject.BYTES, "nothing proves that the data is the same"),),
)  # fmt: skip
SAMPLED = InputReport(
    "training", "x", parse("local://big@1"), Grade("A"), Verdict.MATCH, Proof.SAMPLED, files_read=459,
    bytes_read=5000, statement="459 of 10,000 files drawn at random (seed 7) and all as recorded",
)  # fmt: skip


def run(number: int, name: str, *inputs: InputReport, **more: object) -> RunReport:
    return RunReport(f"{number:032x}", name, "demo", inputs, Depth.DEFAULT, WHEN, **more)  # type: ignore[arg-type]


SIGNED = SignatureReport("run.dsse.json", "key.pem.pub")
FORGED = SignatureReport(
    HOSTILE, "key.pem.pub", (Finding(Verdict.CHANGED, Subject.SIGNATURE, "training: grade was A and is D"),
    Finding(Verdict.CHANGED, Subject.SIGNATURE, "the signature is not good", found=HOSTILE)),
)  # fmt: skip
UNSEEN = SignatureReport(
    "x", "y", (Finding(Verdict.UNVERIFIABLE, Subject.SIGNATURE, "signatures need another package"),)
)

GOOD = Report((run(1, "fit-digits", MATCHED),), Depth.DEFAULT, WHEN, 2)
MANY = Report(
    (
        run(1, "fit-digits", MATCHED, SAMPLED),
        run(2, HOSTILE, CHANGED, DAMAGED, notes=(Note("linking failed (dsver.error)", found=HOSTILE),)),
        run(3, "", DOWN, UNPROVEN),
        run(4, "bare"),
        run(5, "bare, and that is not allowed", unmet=("no link to a dataset version",)),
    ),
    Depth.DEFAULT,
    WHEN,
    6,
)
NONE = Report((), Depth.FULL, WHEN)
SIGNATURES = Report(
    (
        run(1, "signed", MATCHED, signature=SIGNED),
        run(2, "forged", MATCHED, signature=FORGED),
        run(3, "bare", signature=SIGNED),
        run(4, "forged and bare", signature=FORGED),
        run(5, "no library", MATCHED, signature=UNSEEN),
    ),
    Depth.DEFAULT,
    WHEN,
    1,
)
REPORTS = {"good": GOOD, "many": MANY, "none": NONE, "signatures": SIGNATURES}
