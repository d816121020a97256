"""Errors of deltalake and pyarrow in this package's terms.

What they raise says little by its type, so the text decides: only what no disk, network or newer protocol explains is
called damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow_dsver.errors import (
    CorruptObject,
    DsverError,
    NotFound,
    PermissionDenied,
    ProviderError,
    ProviderUnavailable,
    Unsupported,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.delta.info import NAME
from mlflow_dsver.secrets import redacted
from mlflow_dsver.text import one_line

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_QUERY = re.compile(r"\?[^\s\"'<>)]*")
_GONE = re.compile(r"Object at location|No such file or directory|404 Not Found|NoSuchKey")
_DENIED = re.compile(r"Permission denied|os error 13\b|AccessDenied|Forbidden|Unauthori[sz]ed")
_UNREACHED = re.compile(
    r"error sending request|HTTP error|timed out|Generic (?:S3|GCS|MicrosoftAzure) error|connect error|"
    r"Too many open files|os error (?:5|24|110|116)\b"
)
_UNSUPPORTED = re.compile(r"Unsupported|not (?:yet )?supported")


@contextmanager
def deltalake_errors(ref: DatasetRef, what: str, operation: str) -> Iterator[None]:
    """Raise what deltalake and pyarrow raise in the block as errors of this package. what: could not be done."""
    try:
        yield
    except (DsverError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _meaning(error, ref, what, operation) from None


def _meaning(error: BaseException, ref: DatasetRef, what: str, operation: str) -> DsverError:
    text = _COLOURS.sub("", str(error))[:4000]
    lines = [line.strip(" ↳-") for line in text.splitlines()[:6]]
    got = one_line(redacted(_QUERY.sub("", " ".join(filter(None, lines)))), 300)

    def provider_error(kind: type[ProviderError], what: str, tip: str | None = None) -> ProviderError:
        return kind(what, provider=NAME, operation=operation, reference=ref, got=got, tip=tip)

    if isinstance(error, FileNotFoundError) or _GONE.search(text):
        tip = "a vacuum may have removed it; keep_versions keeps the files of versions that are needed"
        return provider_error(NotFound, "a file of this version is gone", tip)
    if isinstance(error, PermissionError) or _DENIED.search(text):
        return provider_error(PermissionDenied, f"{what}, as a file may not be read")
    if isinstance(error, TimeoutError | ConnectionError) or _UNREACHED.search(text):
        return provider_error(ProviderUnavailable, f"{what}, as a file could not be reached")
    if type(error).__name__ == "DeltaProtocolError" or _UNSUPPORTED.search(text):
        return provider_error(Unsupported, f"{what}, as the table uses a feature that deltalake lacks")
    return CorruptObject(what, reference=ref, got=got)
