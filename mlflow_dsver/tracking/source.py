"""The dataset source that MLflow finds by entry point: a dataset version, as JSON on a run, and back to its files.

MLflow loads this module whenever it is imported itself, and an exception here would break `import mlflow` for
everybody on the machine. So the module needs the standard library and MLflow's base class alone; all else is
imported by the methods that use it. Nothing here asks a provider anything before `_resolve` or `load`.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.data.dataset_source import DatasetSource

if TYPE_CHECKING:
    from mlflow_dsver.model.versions import DatasetVersion

SOURCE_TYPE = "dataset_version"
MAX_JSON = 2047
"""Bytes of the JSON at most: MLflow hands out every run's sources in full with every search."""

NAME_LENGTH = 200
"""Characters of a dataset's name at most."""

_TEXTS = ("reference", "requested", "content_digest", "url", "dataset_name")
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+-]{0,31})://")
_WEB = re.compile(r"https?://[^\s\x00-\x20<>\"'`\\]+\Z", re.IGNORECASE)


class DatasetVersionSource(DatasetSource):  # type: ignore[misc]
    """A dataset version as the source of an MLflow dataset.

    reference: canonical reference of the version. requested: as it was asked for by the first run of the experiment
    that used the version, since MLflow keeps the first source it gets for a dataset; each run's own is in its params.
    usage_bytes: as the provider states it; None when it does not say. content_digest: `blake3:<hex>` or None.
    dataset_name: the dataset's name for people where the reference has an id; None elsewhere.
    url: http or https address of the version's page; None when there is none.
    """

    def __init__(
        self,
        reference: str,
        *,
        requested: str | None = None,
        usage_bytes: int | None = None,
        content_digest: str | None = None,
        url: str | None = None,
        dataset_name: str | None = None,
    ) -> None:
        self.reference = reference
        self.requested = reference if requested is None else requested
        self.usage_bytes = usage_bytes
        self.content_digest = content_digest
        self.url = web_address(url)
        self.dataset_name = dataset_name

    @classmethod
    def of(cls, version: DatasetVersion, requested: str | None = None) -> DatasetVersionSource:
        """The source of a version; requested: the reference as written, where that differs."""
        return cls(
            str(version.ref),
            requested=requested,
            usage_bytes=version.usage_bytes,
            content_digest=version.content_digest,
            url=version.web_url,
            dataset_name=version.dataset_name,
        )

    def __repr__(self) -> str:
        return f"DatasetVersionSource({self.reference!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetVersionSource) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.reference)

    def load(self, dst_path: str | None = None) -> str:
        """The path of a folder that holds exactly the version's files, checked against its manifest.

        dst_path: a new or empty folder to put them into; None leaves the choice to the provider, and the folder is
        then not to be written to. Raises NotFound when the version is gone, CorruptObject when its content is no
        longer what was recorded, and the errors of the provider.
        """
        from mlflow_dsver.resolution.version_files import files_of

        return str(files_of(self.reference, self.content_digest, Path(dst_path) if dst_path is not None else None))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object on the run; `url` and `dataset_name` are there when there is one, other keys always."""
        from mlflow_dsver.errors import InvalidReference
        from mlflow_dsver.model.refs import parse

        try:
            ref = parse(self.reference)
        except InvalidReference:
            ref = None
        fields = {
            "schema": 1,
            "provider": ref and ref.provider,
            "dataset": ref and ref.dataset,
            "version": ref and ref.selector,
            "reference": self.reference,
            "requested": self.requested,
            "usage_bytes": self.usage_bytes,
            "content_digest": self.content_digest,
        }
        if self.url is not None:
            fields["url"] = self.url
        if self.dataset_name:
            fields["dataset_name"] = self.dataset_name[:NAME_LENGTH]
        return _bounded(fields)

    @classmethod
    def from_dict(cls, source_dict: Mapping[Any, Any]) -> DatasetVersionSource:
        """Read what this or a later version wrote: unknown keys are passed over, values that no version wrote too.

        A text that is not a reference is noticed by `load`, so that a record can be shown whatever it holds.
        """
        fields = {key: source_dict.get(key) for key in _TEXTS}
        texts = {
            key: value if isinstance(value, str) and len(value) <= MAX_JSON else None for key, value in fields.items()
        }
        size = source_dict.get("usage_bytes")
        return cls(
            texts["reference"] or "",
            requested=texts["requested"],
            usage_bytes=size if type(size) is int and size >= 0 else None,
            content_digest=texts["content_digest"],
            url=texts["url"],
            dataset_name=texts["dataset_name"],
        )

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        """Whether this is one of our values, or text whose scheme is an installed provider; never raises."""
        try:
            from mlflow_dsver.model.refs import DatasetRef
            from mlflow_dsver.model.versions import DatasetVersion
            from mlflow_dsver.providers.registry import names

            if isinstance(raw_source, str):
                scheme = _SCHEME.match(raw_source)
                return scheme is not None and scheme[1].lower() in names()
            return isinstance(raw_source, DatasetRef | DatasetVersion)
        except Exception:  # noqa: BLE001  (MLflow asks each source about everything: ours must harm no other)
            return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DatasetVersionSource:
        from mlflow_dsver.resolution.version_files import as_written, resolve

        return cls.of(resolve(raw_source), as_written(raw_source))


def web_address(text: str | None) -> str | None:
    """The text when it is an http or https address, else None: MLflow's pages make a link of all they are given."""
    return text if text is not None and len(text) <= 500 and _WEB.match(text) else None


def _bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, below MAX_JSON bytes: what people can do without goes first."""
    for least in ("dataset_name", "url"):
        if len(json.dumps(fields)) > MAX_JSON:
            fields.pop(least, None)
    if len(json.dumps(fields)) > MAX_JSON:
        fields["requested"] = fields["reference"]
    return fields


RUN_TO_RESUME = os.environ.get("MLFLOW_RUN_ID", "").strip() or None
"""The run that the process was told to resume, None for none; MLflow takes the variable away when it has done so."""


def _link_without_a_line() -> None:
    """If the person asked for it, every run of this process is linked. Nothing of this may break `import mlflow`."""
    if not os.environ.get("MLFLOW_DSVER_INPUTS", "").strip():
        return
    try:
        from mlflow_dsver.tracking import autolog_patch

        autolog_patch.install()
    except Exception as error:  # noqa: BLE001
        logging.getLogger(__name__).warning("MLFLOW_DSVER_INPUTS: runs are not linked: %s", error)


_link_without_a_line()
