"""Comparing two runs."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.checks.compare import Sameness, compare, compare_role
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion

DIGEST = "blake3:" + "a" * 64


def version(text: str, digest: str | None) -> DatasetVersion:
    return DatasetVersion(parse(text), content_digest=digest)


def test_roles_are_told_apart_without_asking_anybody_where_digests_tell() -> None:
    one = version("local://d@1", DIGEST)
    assert compare_role("r", one, one).sameness is Sameness.SAME
    assert compare_role("r", one, version("local://e@1", DIGEST)).sameness is Sameness.RENAMED
    assert compare_role("r", one, None).sameness is Sameness.ONLY_FIRST
    assert compare_role("r", None, one).sameness is Sameness.ONLY_SECOND


def test_the_same_reference_with_another_digest_is_other_data() -> None:
    """The data of such a record changed under its name."""
    found = compare_role("r", version("local://d@1", DIGEST), version("local://d@1", "blake3:" + "b" * 64))
    assert found.sameness is Sameness.OTHER


def test_versions_whose_files_nobody_knows_are_unknown() -> None:
    found = compare_role("r", version("local://d@1", None), version("local://d@2", None))
    assert found.sameness is Sameness.UNKNOWN
    assert "no such dataset" in (found.reason or "")


@pytest.fixture
def runs(digits_folder: Path, tracking: object) -> dict[str, str]:
    """Runs: a and b on the same data, c on renamed files, d on other data, bare on none."""
    made = {}

    def fit(name: str, rate: str, **inputs: str) -> None:
        with dsver.start_run(inputs=inputs, run_name=name) as run:
            mlflow.log_param("rate", rate)
            mlflow.log_metric("loss", float(rate) / 3)
        made[name] = run.info.run_id

    dsver.create_version("local://digits", digits_folder)
    fit("a", "0.1", training="local://digits@latest")
    fit("b", "0.2", training="local://digits@latest")
    (digits_folder / "0" / "0.txt").rename(digits_folder / "zero.txt")
    dsver.create_version("local://digits", digits_folder)
    fit("c", "0.1", training="local://digits@latest")
    (digits_folder / "labels.csv").write_text("other")
    dsver.create_version("local://digits", digits_folder)
    fit("d", "0.1", training="local://digits@latest", test="local://digits@latest")
    fit("bare", "0.1")
    return made


def test_same_renamed_other_and_nothing(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    same = compare(runs["a"], runs["b"])
    assert (same.exit_code, bool(same)) == (0, False)
    assert same.params == {"rate": ("0.1", "0.2")}
    assert same.metrics == {"loss": ("0.0333333", "0.0666667")}
    renamed = compare(runs["a"], runs["c"])
    assert (renamed.roles[0].sameness, renamed.exit_code) == (Sameness.RENAMED, 0)
    other = compare(runs["a"], runs["d"])
    assert {each.role: each.sameness for each in other.roles} == {
        "training": Sameness.OTHER, "test": Sameness.ONLY_SECOND
    }  # fmt: skip
    assert other.exit_code == 1
    assert compare(runs["bare"], runs["bare"]).exit_code == 3

    assert command(["compare", runs["a"], runs["d"]]) == 1
    shown = capsys.readouterr().out
    assert "training: other data" in shown
    assert "changed  labels.csv" in shown
    assert command(["compare", runs["a"], runs["b"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["roles"][0]["sameness"] == "same data"
    assert command(["compare", runs["a"], "0" * 32]) == 2
