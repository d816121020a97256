"""Import paths of former versions that documentation named: still importable, with a DeprecationWarning.

The finder comes after Python's own, so it is asked only about modules that are not there.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    "mlflow_dsver.refs": "mlflow_dsver.model.refs",
    "mlflow_dsver.versions": "mlflow_dsver.model.versions",
    "mlflow_dsver.manifests": "mlflow_dsver.model.manifests",
    "mlflow_dsver.new_versions": "mlflow_dsver.model.new_versions",
    "mlflow_dsver.emulators.paperspace": "mlflow_dsver.providers.paperspace.emulator",
    "mlflow_dsver.emulators.clarifai": "mlflow_dsver.providers.clarifai.emulator",
    "mlflow_dsver.emulators.fixtures": "mlflow_dsver.testing",
    "mlflow_dsver.checks.render_text": "mlflow_dsver.checks.render",
    "mlflow_dsver.lineage.links": "mlflow_dsver.record.mlflow_urls",
    "mlflow_dsver.lineage.markdown": "mlflow_dsver.lineage.render",
    "mlflow_dsver.lineage.statement": "mlflow_dsver.lineage.export.statement",
    "mlflow_dsver.tracking.exporting": "mlflow_dsver.lineage.api",
}
"""Former module to the one that has its names now."""
FORMER_NAMES = {"mlflow_dsver.lineage.markdown": {"render": "report_markdown"}}
"""Former module to its names that were changed: the former to the present one."""


class _Finder:
    """Finds former modules; also their loader."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, _Finder) if name in FORMER else None  # type: ignore[arg-type]  # a class serves as well

    @staticmethod
    def create_module(_spec: ModuleSpec) -> None:
        """Python makes an empty module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Give the former module the names of the present one."""
        name = FORMER[module.__name__]
        warnings.warn(f"{module.__name__} is now {name}", DeprecationWarning, stacklevel=2)
        present = vars(import_module(name))
        vars(module).update({key: value for key, value in present.items() if not key.startswith("__")})
        for former, name_now in FORMER_NAMES.get(module.__name__, {}).items():
            setattr(module, former, present[name_now])


def install() -> None:
    """Make former modules importable; a second time changes nothing."""
    if not any(getattr(each, "__name__", "") == _Finder.__name__ for each in sys.meta_path):
        sys.meta_path.append(_Finder)
