"""Each renderer writes every report as in its golden file and escapes all text from outside."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest
from checks_samples import HOSTILE, MANY, REPORTS, SIGNATURES

from mlflow_dsver.checks.junit import report_junit
from mlflow_dsver.checks.render import report_json, report_lines, report_markdown
from mlflow_dsver.checks.reports import Report, Verdict

RENDERERS: dict[str, Callable[[Report], str]] = {
    "txt": lambda report: "".join(f"{line}\n" for line in report_lines(report)),
    "json": lambda report: json.dumps(report_json(report), indent=2) + "\n",
    "xml": report_junit,
    "md": report_markdown,
}


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("kind", RENDERERS)
def test_a_report_renders_as_the_golden_file_says(kind: str, name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"checks/verify-{name}.{kind}", RENDERERS[kind](REPORTS[name]))


def test_the_samples_have_every_verdict() -> None:
    """So that the rendering of every verdict is tested."""
    told = {each.verdict for run in MANY.runs for each in run.inputs}
    told |= {finding.verdict for run in MANY.runs for each in run.inputs for finding in each.findings}
    assert told == set(Verdict)


@pytest.mark.parametrize("report", [MANY, SIGNATURES])
@pytest.mark.parametrize("kind", ["txt", "xml", "md"])
def test_control_and_direction_characters_never_pass(kind: str, report: Report) -> None:
    text = RENDERERS[kind](report)
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("report", [MANY, SIGNATURES])
def test_markdown_from_outside_is_text(report: Report) -> None:
    text = report_markdown(report)
    assert not re.search(r"(?<!\\)[<\[]", text)
    for line in text.splitlines():
        if line.startswith("| ") and "Run |" not in line:
            assert line.replace("\\|", "").count("|") == 7


@pytest.mark.parametrize("report", [MANY, SIGNATURES])
def test_junit_is_xml_with_the_right_counts(report: Report) -> None:
    root = ElementTree.fromstring(report_junit(report))
    for suite in (root, *root.iter("testsuite")):
        cases = list(suite.iter("testcase"))
        assert int(suite.attrib["tests"]) == len(cases)
        for kind, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.attrib[count]) == len(list(suite.iter(kind)))
    wanted = {"links", "training local://big@1"} if report is MANY else {"signature run.dsse.json"}
    assert {case.attrib["name"] for case in root.iter("testcase")} >= wanted


def test_json_holds_texts_unchanged_and_everything_that_was_cut_for_people() -> None:
    data = json.loads(json.dumps(report_json(MANY)))
    assert data["runs"][1]["name"] == HOSTILE
    assert len(data["runs"][1]["inputs"][0]["difference"]["removed"]) == 25


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("many", 1), ("none", 3)])
def test_exit_codes(name: str, code: int) -> None:
    assert REPORTS[name].exit_code == code
    assert bool(REPORTS[name]) is (code == 0)


def test_runs_without_links_count_only_when_links_are_required() -> None:
    good, bare, refused = MANY.runs[0], MANY.runs[3], MANY.runs[4]
    assert Report((good, bare), MANY.depth, MANY.checked).exit_code == 0
    assert Report((good, refused), MANY.depth, MANY.checked).exit_code == 1
    assert Report((bare,), MANY.depth, MANY.checked).exit_code == 3


@pytest.mark.parametrize(
    ("index", "verdict", "code"),
    [(0, "MATCH", 0), (1, "CHANGED", 1), (2, "UNVERIFIABLE", 3), (3, "CHANGED", 1), (4, "UNVERIFIABLE", 3)],
)
def test_a_signature_belongs_to_the_verdict(index: int, verdict: str, code: int) -> None:
    """A bad one is a finding, also on a run without inputs; one that could not be checked is no match."""
    run = SIGNATURES.runs[index]
    whole = Report((run,), SIGNATURES.depth, SIGNATURES.checked)
    assert (run.verdict, run.exit_code, bool(run)) == (verdict, code, code == 0)
    assert (whole.verdict, whole.exit_code, bool(whole)) == (verdict, code, code == 0)


def test_findings_win_over_what_could_not_be_checked() -> None:
    good, bad, down = MANY.runs[:3]
    assert Report((good, down), MANY.depth, MANY.checked).exit_code == 3
    assert Report((bad, down), MANY.depth, MANY.checked).exit_code == 1
