"""`mlflow-dsver demo`: the whole job on bundled data, in a folder and with settings of its own."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from mlflow_dsver import settings

NEEDED = ("sqlalchemy", "sklearn", "PIL")
"""What the extra `demo` brings beyond the package itself; the first stands for MLflow with its server."""


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where everything of the demo lies.",
)
def demo(folder: Path) -> None:
    """See the main job done, from data to two linked runs.

    Two versions of real data, two models, both runs linked to the versions they used. Nothing is downloaded,
    no account is needed, your own store and runs are not touched: everything lies in FOLDER. It may be run again:
    the same versions come back, the runs are new.

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
