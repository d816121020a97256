"""What is known of the providers `s3`, `gs` and `az` without importing them: spellings, settings and commands.

References are the addresses that other tools use, `s3://bucket/prefix`, with the id of a snapshot behind them. Their
spellings in Hadoop, gsutil and adlfs (`s3a://`, `gcs://`, `abfs://`) mean the same. A presigned address expires and
holds a signature, so it is refused as a reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.settings import Setting, choice_setting

SCHEMES = {
    "s3": "s3", "s3a": "s3", "s3n": "s3",
    "gs": "gs", "gcs": "gs",
    "az": "az", "azure": "az", "abfs": "az", "abfss": "az", "adl": "az",
}  # fmt: skip
"""Schemes that other tools write, and the provider of each."""


def _snapshots_place(text: str) -> str:
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() not in SCHEMES:
        raise ValueError("not a place for snapshots")
    return text


SNAPSHOTS: Setting[str | None] = Setting(
    "SNAPSHOTS",
    "where snapshots of buckets are kept: beside (in the bucket), a folder, or s3://…, gs://…, az://…; "
    "unset: in the local store",
    None,
    _snapshots_place,
    "beside, a folder, or s3://…, gs://…, az://…",
)
CHECKSUMS = choice_setting(
    "SNAPSHOT_CHECKSUMS",
    "whether a snapshot asks the store for each object's checksum: auto (where it keeps no versions), yes or no",
    {"auto": None, "yes": True, "no": False},
    default=None,
)

_SIGNATURE = re.compile(
    r"[?&](?:X-Amz-|X-Goog-|Signature=|GoogleAccessId=|AWSAccessKeyId=|sig=|se=|sv=)", re.IGNORECASE
)
_HOSTS = (
    (re.compile(r"([a-z0-9][a-z0-9.-]+)\.s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com\Z"), "s3"),
    (re.compile(r"s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com\Z"), "s3"),
    (re.compile(r"storage\.googleapis\.com\Z"), "gs"),
    (re.compile(r"[a-z0-9]+\.blob\.core\.windows\.net\Z"), "az"),
)


def _spelling(provider: str) -> Callable[[str], tuple[str, str | None] | None]:
    def spelling(text: str) -> tuple[str, str | None] | None:
        scheme, separator, body = text.partition("://")
        if not separator:
            return None
        if scheme.lower() in ("http", "https"):
            return _from_web(provider, body)
        if SCHEMES.get(scheme.lower()) != provider:
            return None
        if _SIGNATURE.search(body):
            raise _presigned(provider)
        if provider == "az" and "@" in body.partition("/")[0]:
            container = body.partition("@")[0]
            raise InvalidReference(
                "the storage account is a setting and not a part of a reference",
                expected=f"az://{container[:60]}/prefix",
                tip="AZURE_STORAGE_ACCOUNT_NAME with the account's name",
            )
        dataset, at, selector = body.rpartition("@")
        if not at or "/" in selector:
            dataset, selector = body, ""
        return dataset.rstrip("/"), selector or None

    return spelling


def _from_web(provider: str, body: str) -> tuple[str, str | None] | None:
    """Refuse presigned addresses of this provider's hosts; others are not ours."""
    host = body.partition("/")[0].partition(":")[0].lower()
    known = next((found for pattern, found in _HOSTS if pattern.match(host)), None)
    if known == provider and _SIGNATURE.search(body):
        raise _presigned(provider)
    return None


def _presigned(provider: str) -> InvalidReference:
    return InvalidReference(
        "a presigned address is no reference: it expires, and holds a signature",
        expected=f"{provider}://bucket/prefix[@snapshot, tag or latest]",
        tip="the plain address of the bucket, and credentials by the usual variables",
    )


def _info(provider: str, title: str, commands: dict[str, str] | None = None) -> ProviderInfo:
    return ProviderInfo(
        title=title,
        settings=(SNAPSHOTS, CHECKSUMS) if provider == "s3" else (),
        spelling=_spelling(provider),
        commands=commands or {},
        has_plain_addresses=True,
    )


S3 = _info("s3", "Amazon S3", {"snapshot": "mlflow_dsver.providers.buckets.cli:snapshot"})
GS = _info("gs", "Google Cloud Storage")
AZ = _info("az", "Azure Blob Storage")
