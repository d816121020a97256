"""`mlflow-dsver verify`, `seal`, `reproduce`: is a run's data still available, and is it unchanged?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_dsver.content.atomic_files import atomic_write
from mlflow_dsver.content.progress import terminal
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option

if TYPE_CHECKING:
    from mlflow_dsver.checks.reports import Report

_FILE = click.Path(dir_okay=False, path_type=Path)
_AGO = re.compile(r"([0-9]{1,6})([mhdw])\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Since(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases of click alone
    """A date in ISO 8601 (UTC by default), or an age: 30m, 12h, 7d, 2w."""

    name = "date or age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The date and time; fails with a message that lists the accepted forms."""
        if isinstance(value, datetime):
            return value
        if ago := _AGO.match(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            date = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a date such as 2026-11-22 nor an age such as 7d, 12h, 30m or 2w")
        return date if date.tzinfo else date.replace(tzinfo=UTC)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--experiment", "experiments", multiple=True, help="All runs of this experiment; may be repeated.")
@click.option("--filter", "filter_text", help="Only runs that this filter, in MLflow's words, lets through.")
@click.option("--since", type=Since(), help="Only runs begun since: a date, or an age such as 7d.")
@click.option("--metadata", "depth", flag_value="metadata", help="Ask providers only; read no byte.")
@click.option("--full", "depth", flag_value="full", help="Read and hash every file now, without caches.")
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Hash N files of each input, drawn at random."
)
@click.option("--confidence", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Of a sample: 0.99.")
@click.option("--bound", type=click.FloatRange(0, 1, min_open=True), help="Share of altered files it finds: 0.001.")
@click.option("--seed", type=click.IntRange(min=0), help="Draw the same sample again.")
@click.option("--require", type=click.Choice(["A", "B", "C", "D"]), help="Links below this grade are findings.")
@click.option("--require-links", is_flag=True, help="Runs without a link are findings.")
@click.option("--signature", type=_FILE, help="A signed statement about the run, which it must still agree with.")
@click.option("--key", type=_FILE, help="The public key (PEM) of --signature.")
@click.option("--tag", is_flag=True, help="Write verdict and time to each run, as the tag dsver.verdict.")
@click.option("--junit", type=_FILE, help="Write JUnit XML to this file as well.")
@click.option("--markdown", type=_FILE, help="Append Markdown to this file.")
@json_option
def verify(
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_text: str | None,
    since: datetime | None,
    depth: str | None,
    sample: int | None,
    confidence: float | None,
    bound: float | None,
    seed: int | None,
    require: Any,
    require_links: bool,
    signature: Path | None,
    key: Path | None,
    tag: bool,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> int:
    """Check that the data of runs is still available and unchanged.

    Every version is requested from its provider and, if its files are on this machine, compared with the record; a
    version that many runs used is checked once. With --signature and --key, one run is also compared with a signed
    statement about it. Exit code 0: no findings. 1: something changed or is missing, a signature is invalid, or a
    requirement is not met. 3: something could not be checked.

    \b
    Examples:
      mlflow-dsver verify 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c
      mlflow-dsver verify 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --full --require A
      mlflow-dsver verify 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --confidence 0.99 --bound 0.001
      mlflow-dsver verify 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --signature run.dsse.json --key key.pem.pub
      mlflow-dsver verify --experiment digits --since 30d --junit report.xml --markdown summary.md
    """
    _refuse_contradictions(runs, experiments or filter_text or since, signature, key)
    sampling = _sampling(sample, confidence, bound, seed)
    if sampling is not None and depth is not None:
        raise click.UsageError(f"A sample and --{depth} exclude each other.")
    choice = {"runs": runs, "experiments": experiments, "filter_text": filter_text, "since": since}
    how = {"depth": depth or "default", "sampling": sampling, "require": require, "require_links": require_links}
    report = _verified(choice | how, signature, key)
    _write_files(report, junit, markdown)
    return _print_report(report, tag=tag, as_json=as_json)


def _refuse_contradictions(runs: tuple[str, ...], chosen: object, signature: Path | None, key: Path | None) -> None:
    """Raise UsageError for options of `verify` that exclude each other. chosen: runs are selected by options."""
    if runs and chosen:
        raise click.UsageError("Name runs, or choose them by --experiment, --filter and --since; not both.")
    if not (runs or chosen):
        raise click.UsageError("Name a run, or choose runs by --experiment, --filter or --since.")
    if (signature is None) is not (key is None) or (signature is not None and len(runs) != 1):
        raise click.UsageError("--signature FILE and --key FILE go together, with one RUN.")


def _verified(options: dict[str, Any], signature: Path | None, key: Path | None) -> Report:
    """The report on the runs, and on the signature of a single run where there is one."""
    from mlflow_dsver.checks.reports import with_signature
    from mlflow_dsver.checks.verify import verify_runs
    from mlflow_dsver.lineage.api import signature_of

    signed = signature_of(options["runs"][0], signature, key) if signature is not None and key is not None else None
    with terminal("checking") as progress:
        report = verify_runs(**options, progress=progress)
    return report if signed is None else with_signature(report, signed)


def _print_report(report: Report, *, tag: bool, as_json: bool) -> int:
    """Write the report to standard output, and to the runs as a tag if requested; return the exit code."""
    from mlflow_dsver.checks.render import report_json, report_lines
    from mlflow_dsver.checks.verify import tag as tag_run

    for run in report.runs if tag else ():
        tag_run(run)
    emit(as_json, report_json(report), render.Lines(report_lines(report)))
    return report.exit_code


@click.command()
@click.argument("run")
@click.option("--rehash", is_flag=True, help="Hash every byte, also of files whose dates did not change.")
@click.option("--no-tag", is_flag=True, help="Only report; write nothing to the run.")
@json_option
def seal(run: str, rehash: bool, no_tag: bool, as_json: bool) -> int:
    """Check whether a run's data changed during training.

    Run it on the machine that trained, right after the run ended. The result is logged as the tag dsver.ROLE.sealed;
    the grade of a changed input becomes D. Exit code 1: something changed. 3: something could not be checked.

    \b
    Examples:
      mlflow-dsver seal 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c
      mlflow-dsver seal 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --rehash
    """
    from mlflow_dsver.checks.seal import seal as look
    from mlflow_dsver.checks.seal import seal_json, seal_lines

    report = look(run, rehash=rehash, tag=not no_tag)
    emit(as_json, seal_json(report), render.Lines(seal_lines(report)))
    return report.exit_code


@click.command()
@click.argument("run")
@click.option(
    "--into", required=True, type=click.Path(file_okay=False, path_type=Path), help="A new or an empty folder."
)
@json_option
def reproduce(run: str, into: Path, as_json: bool) -> int:
    """Write everything that a run needs to a folder.

    The folder gets every input, verified, the environment and params that MLflow recorded, and a README that says how
    to run it again and, first, what is missing. Exit code 1: something changed or is missing. 3: something could not
    be fetched or verified.

    \b
    Examples:
      mlflow-dsver reproduce 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --into again
    """
    from mlflow_dsver.checks.reproduce import reproduce as put
    from mlflow_dsver.checks.reproduce import reproduce_json, reproduce_lines

    with terminal("fetching") as progress:
        report = put(run, into, progress=progress)
    emit(as_json, reproduce_json(report), render.Lines(reproduce_lines(report)))
    return report.exit_code


def _sampling(sample: int | None, confidence: float | None, bound: float | None, seed: int | None) -> Any:
    from mlflow_dsver.checks.sampling import Sampling

    given = {"files": sample, "confidence": confidence, "bound": bound, "seed": seed}
    known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not known:
        return None
    if set(known) == {"seed"}:
        raise click.UsageError("--seed is for a sample: give --sample, or --confidence and --bound.")
    if sample is not None and bound is not None:
        raise click.UsageError("--sample says how many files, --bound how many are needed; give one of them.")
    return Sampling(**known)


def _write_files(report: Report, junit: Path | None, markdown: Path | None) -> None:
    from mlflow_dsver.checks.junit import report_junit
    from mlflow_dsver.checks.render import report_markdown

    try:
        if junit is not None:
            with atomic_write(junit) as stream:
                stream.write(report_junit(report).encode())
        if markdown is not None:
            with markdown.open("ab") as stream:
                stream.write(report_markdown(report).encode())
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from error


COMMANDS = (verify, seal, reproduce)
