"""The JSON of a dataset source on a run: which dataset version an MLflow dataset input is.

Loaded while MLflow is imported (see `tracking.source`), so this module needs the standard library alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from mlflow_dsver.model.versions import DatasetVersion

SOURCE_TYPE = "dataset_version"
MAX_JSON = 2047
"""Bytes of the JSON at most: MLflow returns the sources of every run in full with every search."""

NAME_LENGTH = 200
"""Characters of a dataset's name at most."""

_TEXTS = ("reference", "requested", "content_digest", "url", "dataset_name")
_WEB = re.compile(r"https?://[^\s\x00-\x20<>\"'`\\]+\Z", re.IGNORECASE)
_WEB_LENGTH = 500


class VersionSource:
    """A dataset version as the source of a dataset; `tracking.source` makes it one of MLflow's sources.

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
        self.url = short_web_address(url)
        self.dataset_name = dataset_name

    @classmethod
    def of(cls, version: DatasetVersion, requested: str | None = None) -> Self:
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
        return f"{type(self).__name__}({self.reference!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionSource) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.reference)

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
    def from_dict(cls, source_dict: Mapping[Any, Any]) -> Self:
        """Read what this or a later version wrote: unknown keys and invalid values are ignored.

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


def short_web_address(text: str | None) -> str | None:
    """The text if it is a short http or https address, else None: MLflow's pages turn every value into a link."""
    return text if text is not None and len(text) <= _WEB_LENGTH and _WEB.match(text) else None


def _bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, below MAX_JSON bytes: optional fields are dropped first."""
    for least in ("dataset_name", "url"):
        if len(json.dumps(fields)) > MAX_JSON:
            fields.pop(least, None)
    if len(json.dumps(fields)) > MAX_JSON:
        fields["requested"] = fields["reference"]
    return fields
