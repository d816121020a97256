"""What an import costs, told by what it loads and not by a clock."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_by(statement: str) -> set[str]:
    """Names of all modules that the statement loads in a fresh interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def foreign(modules: set[str]) -> set[str]:
    """Packages that are neither Python's nor ours."""
    return {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"mlflow_dsver"}


@pytest.mark.parametrize(
    "statement",
    [
        "import mlflow_dsver",
        "from mlflow_dsver.model import manifests, refs, versions; import mlflow_dsver.errors",
        "import mlflow_dsver; mlflow_dsver.parse('local://digits@latest')",
        "import mlflow_dsver.settings, mlflow_dsver.text, mlflow_dsver.providers.registry",
    ],
)
def test_these_load_nothing_but_the_standard_library(statement: str) -> None:
    assert foreign(loaded_by(statement)) == set()


def test_the_package_alone_loads_three_modules_of_ours() -> None:
    loaded = loaded_by("import mlflow_dsver")
    own = {"mlflow_dsver", "mlflow_dsver._former_names", "mlflow_dsver._version"}
    assert {name for name in loaded if name.startswith("mlflow_dsver")} == own
    assert not {"asyncio", "email", "http.client", "socket", "ssl", "sqlite3", "subprocess"} & loaded


def test_the_command_line_loads_click_and_nothing_else_foreign() -> None:
    assert foreign(loaded_by("import mlflow_dsver.cli.main")) == {"click"}


def test_our_share_of_importing_mlflow_is_the_entry_module_and_its_fields() -> None:
    loaded = {name for name in loaded_by("import mlflow") if name.startswith("mlflow_dsver")}
    package = {"mlflow_dsver", "mlflow_dsver._former_names", "mlflow_dsver._version"}
    entry = {"mlflow_dsver.tracking", "mlflow_dsver.tracking.source"}
    assert loaded == package | entry | {"mlflow_dsver.record", "mlflow_dsver.record.dataset_source"}


def test_every_public_name_exists() -> None:
    code = (
        "import mlflow_dsver as d; print([n for n in d.__all__ if not hasattr(d, n)], set(d.__all__) - set(dir(d)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "[] set()\n", done.stderr
