"""`mlflow-dsver demo`: the main use case on bundled data, in a folder and with settings of its own."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from mlflow_dsver import settings

NEEDED = ("sqlalchemy", "sklearn", "PIL")
"""Modules of the extra `demo`; the first is one of MLflow's server."""


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="The folder for all files of the demo.",
)
def demo(folder: Path) -> None:
    """Run the main use case, from data to two linked runs.

    It creates two versions of real data and trains two models in runs that are linked to the versions. Nothing is
    downloaded, no account is needed, and everything is in FOLDER: your own store and runs are not touched. When it
    is run again, the versions are the same and the runs are new.

    \b
    Examples:
      mlflow-dsver demo
      mlflow-dsver demo --folder /tmp/digits-demo
    """
    if not all(find_spec(name) for name in NEEDED):
        raise click.UsageError("The demo needs MLflow with its server, scikit-learn and pillow: "
                               "pip install 'mlflow-dsver[demo]'.")  # fmt: skip
    from mlflow_dsver.demo.walkthrough import DemoFolder

    own = DemoFolder(folder.absolute())
    sys.stdout.flush()
    command = [sys.executable, "-P", "-m", "mlflow_dsver.cli.demo", str(own.folder)]
    os.execve(sys.executable, command, settings.child_environment(**own.variables()))  # noqa: S606


COMMANDS = (demo,)


def _in_its_own_process() -> None:
    """`python -m mlflow_dsver.cli.demo FOLDER`: the demo itself, with its own settings in the environment."""
    from mlflow_dsver.cli.failures import guarded
    from mlflow_dsver.demo.walkthrough import DemoFolder, run_demo

    sys.exit(guarded(lambda: run_demo(DemoFolder(Path(sys.argv[1])))))


if __name__ == "__main__":
    _in_its_own_process()
