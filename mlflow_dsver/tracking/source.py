"""The dataset source that MLflow finds by entry point: a dataset version, and the way back to its files.

MLflow imports this module whenever it is imported itself, and an exception here would break `import mlflow` for every
user of the machine. So the module needs the standard library and MLflow's base class alone; everything else is
imported by the methods that use it. No provider is queried before `_resolve` or `load`.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from mlflow.data.dataset_source import DatasetSource

from mlflow_dsver.record.dataset_source import SOURCE_TYPE, VersionSource

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+-]{0,31})://")


class DatasetVersionSource(VersionSource, DatasetSource):  # type: ignore[misc]
    """A dataset version as the source of an MLflow dataset; its fields are those of `VersionSource`."""

    def load(self, dst_path: str | None = None) -> str:
        """The path of a folder that holds exactly the version's files, checked against its manifest.

        dst_path: a new or empty folder to put them into; None leaves the choice to the provider, and the folder is
        then not to be written to. Raises NotFound when the version is gone, CorruptObject when its content is no
        longer what was recorded, and the errors of the provider.
        """
        from mlflow_dsver.resolution.version_files import files_of
        from mlflow_dsver.tracking import autolog_patch

        if dst_path is None:
            autolog_patch.watch_ends()
        return str(files_of(self.reference, self.content_digest, Path(dst_path) if dst_path is not None else None))

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        """Whether this is one of our values, or text whose scheme is an installed provider; never raises.

        An address that MLflow's own sources know as well (`s3://bucket/key`) is ours only when it resolves to a
        version by the selector in it.
        """
        try:
            from mlflow_dsver import plugins
            from mlflow_dsver.model.refs import DatasetRef, parse
            from mlflow_dsver.model.versions import DatasetVersion
            from mlflow_dsver.providers.registry import names
            from mlflow_dsver.resolution.version_files import resolve

            if isinstance(raw_source, str):
                scheme = _SCHEME.match(raw_source)
                if scheme is None or scheme[1].lower() not in names():
                    return False
                info = plugins.provider_infos().get(scheme[1].lower())
                if info is None or not info.has_plain_addresses:
                    return True
                return "@" in raw_source and parse(raw_source).selector is not None and bool(resolve(raw_source))
            return isinstance(raw_source, DatasetRef | DatasetVersion)
        except Exception:  # noqa: BLE001  (MLflow asks each source about everything: ours must harm no other)
            return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DatasetVersionSource:
        from mlflow_dsver.resolution.version_files import as_written, resolve

        return cls.of(resolve(raw_source), as_written(raw_source))


RUN_TO_RESUME = os.environ.get("MLFLOW_RUN_ID", "").strip() or None
"""MLFLOW_RUN_ID, the run to resume; None for none. Read here, as MLflow deletes the variable once it resumes."""


def _link_without_a_line() -> None:
    """If the person asked for it, every run of this process is linked. Nothing of this may break `import mlflow`."""
    if not os.environ.get("MLFLOW_DSVER_INPUTS", "").strip():
        return
    try:
        from mlflow_dsver.tracking import autolog_patch

        autolog_patch.install()
    except Exception as error:  # noqa: BLE001  (an `import mlflow` must not fail for it)
        logging.getLogger(__name__).warning("MLFLOW_DSVER_INPUTS: runs are not linked: %s", error)


def _watch_files() -> None:
    """If the person asked for it, note which files this process reads. Nothing of this may break `import mlflow`."""
    if os.environ.get("MLFLOW_DSVER_WATCH", "").strip().lower() in ("", "0", "no", "false", "off"):
        return
    try:
        from mlflow_dsver.tracking import autolog_patch, opened_files

        opened_files.install()
        autolog_patch.watch_all_ends()
    except Exception as error:  # noqa: BLE001  (an `import mlflow` must not fail for it)
        logging.getLogger(__name__).warning("MLFLOW_DSVER_WATCH: files are not watched: %s", error)


_link_without_a_line()
_watch_files()
