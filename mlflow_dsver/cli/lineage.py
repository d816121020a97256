"""`mlflow-dsver lineage`, `open`, `export` and `statement`: show and export the lineage of data, runs and models."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from mlflow_dsver.errors import DsverError, InvalidArgument
from mlflow_dsver.terminal.output import emit, json_option, workspace_options
from mlflow_dsver.terminal.render import Lines

_OUT = click.Path(dir_okay=False, path_type=Path, allow_dash=True)
_FILE = click.Path(dir_okay=False, path_type=Path)
_DAY = click.DateTime(["%Y-%m-%d"])
_STDOUT = Path("-")


@click.command()
@click.option("--experiment", "experiments", multiple=True, help="Name or id; repeatable. Default: all experiments.")
@click.option("--html", type=_OUT, help="Write one self-contained page to this file.")
@click.option("--markdown", type=_OUT, help="Write Markdown to this file.")
@click.option("--svg", type=_OUT, help="Write the drawing alone to this file.")
@click.option("--json", "json_", type=_OUT, help="Write JSON to this file, - to print it.")
@click.option("--role", help="Only versions that were used in this role.")
@click.option("--grade", type=click.Choice(["A", "B", "C", "D"]), help="Only links of this grade.")
@click.option("--verdict", help="Only runs whose last check said this, such as CHANGED; none: never checked.")
@click.option("--since", type=_DAY, help="Only runs that were started on this day (UTC) or later.")
@click.option("--until", type=_DAY, help="Only runs that were started before this day (UTC).")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most that many runs.")
@workspace_options
def lineage(
    experiments: tuple[str, ...],
    html: Path | None,
    markdown: Path | None,
    svg: Path | None,
    json_: Path | None,
    role: str | None,
    grade: str | None,
    verdict: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    workspace: str | None,
) -> None:
    """Show which data went into which runs and models.

    The newest runs first. Without a format, Markdown is printed. A file named - is standard output.

    \b
    Examples:
      mlflow-dsver lineage
      mlflow-dsver lineage --experiment digits --html lineage.html
      mlflow-dsver lineage --role training --since 2026-01-01 --markdown LINEAGE.md --svg lineage.svg
    """
    from mlflow_dsver.lineage import svg as drawing
    from mlflow_dsver.lineage.api import report_of, web_root
    from mlflow_dsver.lineage.render import report_json, report_markdown
    from mlflow_dsver.record.facts import Filter
    from mlflow_dsver.record.mlflow_urls import MLflow

    first, last = (day.replace(tzinfo=UTC) if day else None for day in (since, until))
    filters = Filter(None, role, grade, verdict, first, last)
    report = report_of(experiments, limit=limit, wanted=filters, workspace=workspace)
    mlflow = MLflow(web_root())
    if html is not None:
        _need_pages()
        from mlflow_dsver.lineage.html import static_page

        _write(html, static_page(report, mlflow))
    if markdown is not None or not (html or svg or json_):
        _write(markdown or _STDOUT, report_markdown(report, mlflow))
    if svg is not None:
        _write(svg, drawing.standalone(report.graph))
    if json_ is not None:
        _write(json_, report_json(report))


@click.command("open")
@click.argument("run")
@click.option("--print", "only_print", is_flag=True, help="Print the address and open nothing.")
def open_(run: str, only_print: bool) -> None:
    """Open the page of a run in the browser.

    The run's page in MLflow at MLFLOW_TRACKING_URI, which must be an http or https address.

    \b
    Examples:
      mlflow-dsver open 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c
      mlflow-dsver open 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --print
    """
    from mlflow_dsver.lineage.api import web_root
    from mlflow_dsver.record.mlflow_urls import MLflow
    from mlflow_dsver.tracking.mlflow_private import active_workspace
    from mlflow_dsver.tracking.queries import Tracking

    facts = Tracking().run(run)
    root = web_root()
    if not root:
        raise InvalidArgument(
            "MLFLOW_TRACKING_URI is no address of a server, so there is no page",
            tip="mlflow server --app-name dsver --backend-store-uri …, and MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
        )
    address = MLflow(root, active_workspace()).run(facts.experiment_id, facts.run_id)
    click.echo(address)
    if not only_print:
        click.launch(address)


@click.command()
@click.argument("run")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["openlineage", "croissant", "ro-crate", "prov"]),
    required=True,
    help="The standard.",
)
@click.option("--role", help="Which input, for Croissant, which describes one dataset.")
@click.option("--sha256", is_flag=True, help="Read local files for their sha256, which Croissant wants.")
@click.option("--output", "-o", type=_OUT, default=_STDOUT, help="Write to this file; default: standard output.")
@click.option("--send", "url", help="Send the OpenLineage events to this endpoint instead.")
def export(run: str, format_: str, role: str | None, sha256: bool, output: Path, url: str | None) -> None:
    """Write a run in an open standard format.

    OpenLineage run events (one JSON object a line), Croissant, RO-Crate (the content of ro-crate-metadata.json)
    or W3C PROV.

    \b
    Examples:
      mlflow-dsver export 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --format prov
      mlflow-dsver export 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --format croissant --role training --sha256
      mlflow-dsver export 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --format openlineage --send http://127.0.0.1:5000
    """
    from mlflow_dsver.lineage.api import export, record_of
    from mlflow_dsver.lineage.export import openlineage

    if url is not None and format_ != "openlineage":
        raise click.UsageError("--send goes with --format openlineage")
    record = record_of(run, sha256=sha256)
    if url is not None:
        click.echo(f"sent {openlineage.send(record, url)} events")
        return
    document = export(record, format_, role=role)
    if isinstance(document, list):
        _write(output, "".join(json.dumps(event) + "\n" for event in document))
    else:
        _write(output, json.dumps(document, indent=2) + "\n")


@click.command()
@click.argument("run")
def describe(run: str) -> None:
    """Write what a run used into its description.

    The block is between two markers, at the end or where it was before; the rest of the description is not changed.

    \b
    Examples:
      mlflow-dsver describe 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c
    """
    from mlflow_dsver.tracking.description import describe as write

    click.echo(write(run))


@click.group()
def statement() -> None:
    """Sign what a run used, and check it later.

    The result is an in-toto statement in a DSSE envelope, signed with your own key, without a service or account.

    \b
    Examples:
      mlflow-dsver statement key ~/.config/mlflow-dsver/key.pem
      mlflow-dsver statement sign RUN --key ~/.config/mlflow-dsver/key.pem -o run.dsse.json
      mlflow-dsver statement verify RUN run.dsse.json --key ~/.config/mlflow-dsver/key.pem.pub
    """


@statement.command("key")
@click.argument("file", type=_FILE)
def statement_key(file: Path) -> None:
    """Create a key pair: FILE for signing, readable by you only, and FILE.pub for verification.

    \b
    Examples:
      mlflow-dsver statement key ~/.config/mlflow-dsver/key.pem
    """
    from mlflow_dsver.lineage.export.statement import make_key

    click.echo(f"private key {file}\npublic key  {make_key(file)}")


@statement.command("sign")
@click.argument("run")
@click.option("--key", type=_FILE, required=True, help="Private key (PEM).")
@click.option("--output", "-o", type=_OUT, default=_STDOUT, help="Write to this file; default: standard output.")
def statement_sign(run: str, key: Path, output: Path) -> None:
    """Sign what a run used: versions, content digests, roles, grades, git commit.

    \b
    Examples:
      mlflow-dsver statement sign 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --key key.pem -o run.dsse.json
    """
    from mlflow_dsver.lineage.api import record_of
    from mlflow_dsver.lineage.export import statement as statements

    _write(output, statements.sign(statements.statement(record_of(run)), key).decode())


@statement.command("verify")
@click.argument("run")
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="Public key (PEM).")
@json_option
def statement_verify(run: str, file: Path, key: Path, as_json: bool) -> int:
    """Check a statement's signature, and that the run still agrees with the statement.

    Reads no data: `mlflow-dsver verify RUN --signature FILE --key PUB` does both. Exit code 1: the signature
    is invalid or the run disagrees. 3: a package is missing.

    \b
    Examples:
      mlflow-dsver statement verify 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c run.dsse.json --key key.pem.pub
    """
    from mlflow_dsver.checks.render import finding_text, signature_json
    from mlflow_dsver.lineage.api import signature_of

    report = signature_of(run, file, key)
    found = [finding_text(finding) for finding in report.findings]
    data = {"run_id": run, "good": bool(report), "differences": found, **signature_json(report)}
    emit(as_json, data, Lines(tuple(found or ["the signature is good, and the run says the same"])))
    return report.exit_code


def _write(path: Path, text: str) -> None:
    """Write a file atomically, or print the text when the path is -."""
    from mlflow_dsver.content.atomic_files import atomic_write

    if path == _STDOUT:
        click.echo(text, nl=False)
        return
    try:
        with atomic_write(path) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DsverError(f"{path} cannot be written: {error.strerror}") from error


def _need_pages() -> None:
    from importlib.util import find_spec

    from mlflow_dsver.errors import SettingsError

    if find_spec("jinja2") is None:
        raise SettingsError("pages need Jinja2", tip="pip install mlflow-dsver[pages]")


COMMANDS = (lineage, open_, describe, export, statement)
