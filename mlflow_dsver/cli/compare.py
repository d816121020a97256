"""`mlflow-dsver diff`, `compare`, `overlap`, `contains`, `bisect`: comparison of versions, runs and files."""

from __future__ import annotations

from typing import Any

import click

from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option

paths_option = click.option(
    "--paths", type=click.IntRange(min=0), default=20, show_default=True, help="Paths of each kind that are shown."
)


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--rows", is_flag=True, help="Also compare rows and columns of changed tables; needs pandas.")
@paths_option
@json_option
def diff(before: str, after: str, rows: bool, paths: int, as_json: bool) -> int:
    """Show what changed from one version to another.

    Files are compared by their manifests, with whatever checksum, version id or ETag both have; no data is fetched.
    Exit code 1: they differ. 3: nothing is known to differ, and some files have nothing to compare them by.

    \b
    Examples:
      mlflow-dsver diff local://digits@raw local://digits@clean
      mlflow-dsver diff local://digits@raw local://digits@clean --rows
    """
    from mlflow_dsver.checks.diff import diff as difference
    from mlflow_dsver.checks.diff import diff_json, diff_lines

    report = difference(before, after, rows=rows)
    emit(as_json, diff_json(report), render.Lines(diff_lines(report, paths)))
    return report.exit_code


@click.command()
@click.argument("first")
@click.argument("second")
@paths_option
@json_option
def compare(first: str, second: str, paths: int, as_json: bool) -> int:
    """Compare the data, params and metrics of two runs.

    For each role, the output says whether the data was the same, the same bytes under other names, or different.
    Exit code 0: the same bytes. 1: different data. 3: unknown.

    \b
    Examples:
      mlflow-dsver compare 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c 7c1d0e9f3b2a4d5c8e7f6a5b4c3d2e1f
    """
    from mlflow_dsver.checks.compare import compare as comparison
    from mlflow_dsver.checks.compare import compare_json, compare_lines

    report = comparison(first, second)
    emit(as_json, compare_json(report), render.Lines(compare_lines(report, paths)))
    return report.exit_code


@click.command()
@click.argument("run", required=False)
@click.option("--input", "inputs", multiple=True, metavar="ROLE=REFERENCE", help="Compare these instead of a run's.")
@paths_option
@json_option
def overlap(run: str | None, inputs: tuple[str, ...], paths: int, as_json: bool) -> int:
    """Find files that are in more than one role.

    For example test images among the training images, also under other names. Exit code 1: there are some. 3: the
    files of a role are unknown.

    \b
    Examples:
      mlflow-dsver overlap 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c
      mlflow-dsver overlap --input training=local://digits@v2 --input test=local://digits-test
    """
    from mlflow_dsver.checks.diff import overlap as find
    from mlflow_dsver.checks.diff import overlap_json, overlap_lines

    pairs = [each.partition("=") for each in inputs]
    if (run is None) == (not inputs) or not all(role and ref for role, _, ref in pairs):
        raise click.UsageError("Give a run, or --input ROLE=REFERENCE at least twice.")
    report = find(run if run is not None else {role: ref for role, _, ref in pairs})
    emit(as_json, overlap_json(report), render.Lines(overlap_lines(report, paths)))
    return report.exit_code


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--digest", help="Look for the file of this BLAKE3 or SHA-256, or of sha1:… or md5:….")
@click.option("--path", help="Look for this path, exactly as in a version.")
@click.option(
    "--refresh",
    type=click.Choice(["auto", "all", "none"]),
    default="auto",
    show_default=True,
    help="How much of the index is brought up to date first.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Runs shown of a content.")
@json_option
def contains(file: str | None, digest: str | None, path: str | None, refresh: Any, limit: int, as_json: bool) -> None:
    """Find the versions, runs and models that used a file.

    The file is given by a copy of it, its digest or its path. No data is fetched: an index of manifests is searched,
    which is updated automatically.

    \b
    Examples:
      mlflow-dsver contains ./suspicious.png
      mlflow-dsver contains --path images/0007.png
      mlflow-dsver contains --digest 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    """
    from mlflow_dsver.checks.contains import contains as look
    from mlflow_dsver.checks.contains import contains_json, contains_lines

    if sum(each is not None for each in (file, digest, path)) != 1:
        raise click.UsageError("Give one of: a file, --digest, --path.")
    report = look(file, digest=digest, path=path, refresh=refresh)
    emit(as_json, contains_json(report), render.Lines(contains_lines(report, limit)))


@click.command()
@click.argument("good")
@click.argument("bad")
@click.option("--role", default="training", show_default=True, help="Role of the versions, where runs are given.")
@click.option("--good", "tested_good", multiple=True, metavar="REFERENCE", help="A version that was tried: good.")
@click.option("--bad", "tested_bad", multiple=True, metavar="REFERENCE", help="A version that was tried: bad.")
@click.option("--skip", multiple=True, metavar="REFERENCE", help="A version that cannot be tried.")
@click.option("--run", "command", help="Test versions with this command; {} in it is replaced by the reference.")
@json_option
def bisect(
    good: str,
    bad: str,
    role: str,
    tested_good: tuple[str, ...],
    tested_bad: tuple[str, ...],
    skip: tuple[str, ...],
    command: str | None,
    as_json: bool,
) -> None:
    """Find the first bad version between a good and a bad one.

    GOOD and BAD are references, or runs. No state is stored: give the tested versions with --good, --bad and --skip;
    the output is the next version to test, or the result. With --run the versions are tested by a command, GOOD and
    BAD first. Its exit code 0 means good, 1 to 124 bad, 125 that the version cannot be tested; 126 and above, or a
    signal, end the search, as does a GOOD that tests bad or a BAD that tests good. The command has this process's
    environment, with ROLE=REFERENCE in MLFLOW_DSVER_OVERRIDE, and writes to standard error.

    \b
    Examples:
      mlflow-dsver bisect local://digits@v1 local://digits@latest
      mlflow-dsver bisect local://digits@v1 local://digits@latest --good local://digits@3f9c2a7d11e05b64
      mlflow-dsver bisect local://digits@v1 local://digits@latest --run "python check.py {}"
    """
    from mlflow_dsver.checks.bisect import bisect as next_step
    from mlflow_dsver.checks.bisect import bisect_with, run_command, step_json, step_lines

    if command is None:
        found = next_step(good, bad, role=role, tested_good=tested_good, tested_bad=tested_bad, skip=skip)
    else:

        def run_test(reference: str) -> Any:
            result = run_command(command, role, reference)
            click.echo(f"{result:<5}{reference}", err=True)
            return result

        found = bisect_with(good, bad, run_test, role=role, tested_good=tested_good, tested_bad=tested_bad, skip=skip)
    emit(as_json, step_json(found), render.Lines(step_lines(found)))


COMMANDS = (diff, compare, overlap, contains, bisect)
