"""Link the exact versions of datasets to MLflow runs, and verify the links later.

The packages, in layers; each imports only those before it:

- `model`: values without I/O: references (`refs`), dataset versions and links (`versions`), `manifests`
- `content`: walks and hashes a folder into a manifest, with a cache of file digests
- `providers`: services and stores that keep versions; `providers.local` is embedded and needs no account
- `resolution`: from references to versions: inputs from outside a script, the lock file, the resolution cache, ranks
- `record`: the params, tags and artifacts of a link on a run, for writing and reading; pure
- `tracking`: MLflow: the dataset source, run start explicitly or by `autolink`, the outbox and `sync`, history
- `checks`: verify runs, compare versions and runs; each check returns a report
- `lineage`: a graph of datasets, versions, runs and models, its renderers, and exports to open standards
- `server`, `cli`: the pages on an MLflow server, and the command `mlflow-dsver`

Linking goes *reference → provider.resolve → version → link → record on the run*, verifying goes back,
*run → record → link → provider → report*.

    with dsver.start_run(inputs={"training": "local://digits@latest"}) as run:
        folder = run.datasets["training"].path()

    with mlflow.start_run():
        train = dsver.use("local://digits@clean", role="training")

    dsver.create_version("local://digits", "data/digits", message="relabelled 7s", tags=["clean"])

Importing this package imports neither mlflow nor requests; the names below are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlflow_dsver import _former_names
from mlflow_dsver._version import __version__

if TYPE_CHECKING:
    from mlflow_dsver.checks.bisect import bisect
    from mlflow_dsver.checks.compare import compare
    from mlflow_dsver.checks.contains import contains
    from mlflow_dsver.checks.diff import diff, overlap
    from mlflow_dsver.checks.reproduce import reproduce
    from mlflow_dsver.checks.seal import seal
    from mlflow_dsver.checks.verify import verify, verify_runs
    from mlflow_dsver.errors import DsverError
    from mlflow_dsver.lineage.api import export_run, report_of
    from mlflow_dsver.lineage.retention import hold, holds, release
    from mlflow_dsver.model.differences import Difference
    from mlflow_dsver.model.manifests import FileEntry, Manifest
    from mlflow_dsver.model.new_versions import NewVersion
    from mlflow_dsver.model.refs import DatasetRef, parse
    from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
    from mlflow_dsver.providers.interface import Capability, Provider
    from mlflow_dsver.providers.registry import get_provider
    from mlflow_dsver.resolution.resolver import create_version, resolve
    from mlflow_dsver.tracking.active_run import LinkedDataset
    from mlflow_dsver.tracking.api import attach, attach_recorded, start_run, use
    from mlflow_dsver.tracking.autolink import autolink
    from mlflow_dsver.tracking.description import describe
    from mlflow_dsver.tracking.history import inputs_of, runs_using
    from mlflow_dsver.tracking.registered_models import models_using, register_model, tag_model

_former_names.install()

_EXPORTS = {
    "mlflow_dsver.checks.bisect": ["bisect"],
    "mlflow_dsver.checks.compare": ["compare"],
    "mlflow_dsver.checks.contains": ["contains"],
    "mlflow_dsver.checks.diff": ["diff", "overlap"],
    "mlflow_dsver.checks.reproduce": ["reproduce"],
    "mlflow_dsver.checks.seal": ["seal"],
    "mlflow_dsver.checks.verify": ["verify", "verify_runs"],
    "mlflow_dsver.errors": ["DsverError"],
    "mlflow_dsver.model.differences": ["Difference"],
    "mlflow_dsver.model.manifests": ["FileEntry", "Manifest"],
    "mlflow_dsver.model.new_versions": ["NewVersion"],
    "mlflow_dsver.providers.interface": ["Capability", "Provider"],
    "mlflow_dsver.providers.registry": ["get_provider"],
    "mlflow_dsver.model.refs": ["DatasetRef", "parse"],
    "mlflow_dsver.tracking.autolink": ["autolink"],
    "mlflow_dsver.resolution.resolver": ["create_version", "resolve"],
    "mlflow_dsver.tracking.api": ["attach", "attach_recorded", "start_run", "use"],
    "mlflow_dsver.tracking.description": ["describe"],
    "mlflow_dsver.lineage.api": ["export_run", "report_of"],
    "mlflow_dsver.lineage.retention": ["hold", "holds", "release"],
    "mlflow_dsver.tracking.history": ["inputs_of", "runs_using"],
    "mlflow_dsver.tracking.active_run": ["LinkedDataset"],
    "mlflow_dsver.tracking.registered_models": ["models_using", "register_model", "tag_model"],
    "mlflow_dsver.model.versions": ["DatasetVersion", "Grade", "Link"],
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [  # noqa: RUF022  (grouped by topic)
    "__version__",
    "attach", "attach_recorded", "autolink", "create_version", "inputs_of", "resolve", "runs_using",
    "start_run", "use",
    "verify", "verify_runs", "diff", "compare", "overlap", "contains", "bisect", "seal", "reproduce",
    "models_using", "register_model", "tag_model", "report_of", "export_run", "describe",
    "holds", "hold", "release",
    "parse", "get_provider",
    "Capability", "DatasetRef", "DatasetVersion", "Difference", "DsverError", "FileEntry", "Grade", "Link",
    "LinkedDataset", "Manifest", "NewVersion", "Provider",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
