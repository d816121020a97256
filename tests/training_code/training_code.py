"""Training scripts as users write them, in `scripts/`: which there are, what each needs, and how one is run.

None of them knows of this package. Each reads `data/flowers.csv` in the folder in which it runs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SCRIPTS = Path(__file__).with_name("scripts")
REFERENCE = "local://flowers"
PYTHON = ("python",)


@dataclass(frozen=True)
class Script:
    """One way to train: `runs` is how many runs it makes, `needs` the modules that must be installed."""

    name: str
    runs: int
    needs: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """Empty: Python with the script of that name."""
    volatile: str = "$."
    """Names of what differs from one run to the next: metrics, params, tags, artifacts, `digest` of other inputs."""
    volatile_output: str = "$."
    programs: tuple[str, ...] = ()
    ci: bool = True
    """Whether CI runs it. What other tests run as well, in a shorter form, waits for `make frameworks`."""
    variables: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """What it needs and is not installed."""
        modules = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return modules + [name for name in self.programs if shutil.which(name) is None]


SKLEARN = (
    Script("sklearn_autolog", 1, ci=False),
    Script("sklearn_grid_search", 13, volatile="_time$"),
    Script("sklearn_randomized_search", 6, volatile="_time$"),
    Script("best_params_back", 4),
    Script("mlflow_client", 5),
    Script("mlproject", 1, command=("mlflow", "run", "mlproject", "--env-manager", "local", "-P", "data={data}")),
)
OTHERS = (
    Script("xgboost_autolog", 2, ("xgboost",)),
    Script("lightgbm_autolog", 1, ("lightgbm",)),
    Script("keras_callback", 2, ("keras", "torch")),
    Script("pytorch_by_hand", 1, ("torch",), ci=False),
    Script("lightning_logger", 1, ("lightning",)),
    Script("lightning_autolog", 1, ("lightning",), ci=False),
    Script(
        "huggingface_trainer",
        1,
        ("transformers", "datasets", "accelerate"),
        volatile=r"runtime|per_second",
        volatile_output=r"(?<=(runtime|_second)': ')[^']*",
    ),
    Script("optuna_callback", 4, ("optuna_integration",), volatile="^datetime_"),
    Script("optuna_mlflow_storage", 4, ("optuna",), volatile="^trial_id$"),
    Script("ray_tune_callback", 3, ("ray",), volatile="time|pid|trial_name|events", volatile_output=r"/tmp/ray/\S*"),
    Script("ray_tune_setup_mlflow", 2, ("ray",), volatile_output=r"/tmp/ray/\S*"),
    Script(
        "hydra_multirun",
        3,
        ("hydra",),
        command=(*PYTHON, "hydra_multirun/train.py", "--multirun", "model.C=0.1,1,10"),
    ),
    Script(
        "kedro_project",
        1,
        ("kedro_mlflow",),
        command=("kedro", "run"),
        volatile="^run_id$",
        variables={"KEDRO_LOGGING_CONFIG": "conf/logging.yml"},
    ),
    Script("spark_mllib", 5, ("pyspark",), programs=("java",), volatile="^digest$"),
)
ALL = (*SKLEARN, *OTHERS)

QUIET = {
    "PYTHONWARNINGS": "ignore",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "SPARK_LOCAL_IP": "127.0.0.1",
}
"""Nothing of a library's that leaves this machine."""


def lay_out(script: Script, folder: Path) -> Path:
    """The folder to run the script in: a copy of it, and `data/flowers.csv`."""
    from sklearn.datasets import load_iris

    folder.mkdir(parents=True)
    flowers = load_iris(as_frame=True).frame.rename(
        columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_").replace("target", "species")
    )
    (folder / "data").mkdir()
    flowers.to_csv(folder / "data" / "flowers.csv", index=False)
    source = SCRIPTS / script.name
    if script.name == "kedro_project":
        shutil.copytree(source, folder, dirs_exist_ok=True)
    elif source.is_dir():
        shutil.copytree(source, folder / script.name)
    else:
        shutil.copyfile(source.with_suffix(".py"), folder / f"{script.name}.py")
    return folder


def run_script(
    script: Script, folder: Path, variables: Mapping[str, str], seconds: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run it as a process in its folder, with this Python's programs in front of the path."""
    command = [
        each.format(data=folder / "data" / "flowers.csv") for each in script.command or (*PYTHON, f"{script.name}.py")
    ]
    binaries = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_EXPERIMENT_ID"}
    return subprocess.run(
        [str(binaries / command[0]), *command[1:]],
        cwd=folder,
        env={**environment, **QUIET, **script.variables, **variables, "PATH": f"{binaries}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
