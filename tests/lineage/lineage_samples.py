"""Runs as facts, made up: a plain history and a hostile one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlflow_dsver.lineage.export import RunRecord
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record.facts import Model, Run, Use

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
DIGEST = "blake3:" + "ab" * 32
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "a\nb\r\n# heading\x1b[31m",
    "\u202egpj.exe\u2066",
    "</style><svg onload=alert(1)>",
    "]]>--><!--",
    "{{ 7*7 }}{% raw %}",
    "|a|b|\\`[x](javascript:alert(1))",
    "x" * 1_000_000,
]


def use(version: str = "v1", role: str = "training", **fields: object) -> Use:
    """One role of a run."""
    given: dict[str, object] = {"requested": "local://digits@latest", "grade": "A", "usage_bytes": 2048, **fields}
    return Use(role, parse(version if "://" in version else f"local://digits@{version}"), **given)  # type: ignore[arg-type]


def history() -> list[Run]:
    """Five runs, newest first: three versions of one dataset, one of another, two models."""
    return [
        _run(4, use("v3", tags=("release",)), models=(Model("classifier", "2"),)),
        _run(3, use("v2"), use("v1", "validation"), verdict="CHANGED"),
        _run(2, use("v2"), models=(Model("model", None, "m-" + "0" * 32),), verdict="MATCH"),
        _run(1, use("v1"), use("paperspace://dst364npcw6ccok@fo5rp4m", "eval", grade="B", usage_bytes=None)),
        _run(0, use("v1"), models=(Model("classifier", "1"),)),
    ]


def _run(index: int, *uses: Use, models: tuple[Model, ...] = (), verdict: str | None = None) -> Run:
    started = START + timedelta(days=index)
    return Run(
        f"{index:032x}",
        name=f"run-{index}",
        experiment_id=str(index % 2),
        experiment="odd" if index % 2 else "even",
        started=started,
        ended=started + timedelta(hours=1),
        status="FINISHED",
        user="ann",
        git_commit="c0ffee" + "0" * 34,
        verdict=verdict,
        checked=started + timedelta(days=1) if verdict else None,
        uses=uses,
        models=models,
    )


def hostile_runs() -> list[Run]:
    """A run for each hostile text, which stands everywhere where a text may stand."""
    return [
        Run(
            f"{index:032x}",
            name=text,
            experiment_id=text[:50],
            experiment=text,
            started=START,
            status=text,
            user=text,
            git_commit=text,
            verdict=text,
            uses=(
                use(
                    "v1",
                    requested=text,
                    grade=text,
                    tags=(text,),
                    content_digest=text,
                    web_url=text,
                    dataset_name=text,
                ),
            ),
            models=(Model(text, text), Model(text, None, text)),
        )
        for index, text in enumerate(HOSTILE)
    ]


def run_record(text: str = "digits") -> RunRecord:
    """A run with two inputs, one with its files; `text` stands in its names."""
    files = [FileEntry("images/a.png", 10, "0" * 64), FileEntry(f"{text}.csv", 2, "1" * 64)]
    manifest = Manifest(tuple(sorted(files)))
    versions = [
        DatasetVersion(
            parse("local://digits@v1"),
            tags=("raw", text),
            message=text,
            usage_bytes=12,
            content_digest=manifest.digest,
            created=START,
            immutable=True,
        ),
        DatasetVersion(parse("paperspace://dst364npcw6ccok@fo5rp4m"), web_url="https://example.com/v"),
    ]
    links = (
        Link("training", "local://digits@latest", versions[0], Grade("A"), START),
        Link("eval", "paperspace://dst364npcw6ccok@fo5rp4m", versions[1], Grade("D"), START),
    )
    run = _run(0, use("v1"), models=(Model("classifier", "1"), Model("model", None, "m-" + "0" * 32)))
    return RunRecord(run, links, {"training": (manifest, "f" * 64)}, "http://127.0.0.1:5000")
