"""Connects to object storage with obstore, by each cloud's usual variables and credentials.

Amazon S3: AWS_ACCESS_KEY_ID and the other variables of AWS, container and instance roles, and profiles, SSO and
assumed roles through boto3; AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL and MLFLOW_S3_ENDPOINT_URL for other services;
AWS_SKIP_SIGNATURE for public buckets. Google: GOOGLE_APPLICATION_CREDENTIALS, application default credentials and
STORAGE_EMULATOR_HOST. Azure: AZURE_STORAGE_ACCOUNT_NAME with _KEY or _SAS_TOKEN, or
AZURE_STORAGE_CONNECTION_STRING. None of these is ever recorded or shown.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from mlflow_dsver import settings
from mlflow_dsver.errors import (
    AuthenticationFailed,
    CorruptObject,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    SettingsError,
    Unsupported,
)
from mlflow_dsver.providers.buckets.info import SCHEMES
from mlflow_dsver.secrets import Secret, redact, redacted
from mlflow_dsver.text import one_line

PREFIXES = {"s3": ("AWS_", "MLFLOW_S3_"), "gs": ("GOOGLE_", "STORAGE_EMULATOR_HOST"), "az": ("AZURE_",)}
"""Beginnings of the environment variables that each provider reads."""
INSTALL = "pip install 'mlflow-dsver[s3]'"
REGION_SECONDS = 10.0
"""Seconds to wait at most for AWS to tell a bucket's region."""
KEPT = 16
"""Maximum number of connections that a process keeps."""

_stores: dict[tuple[object, ...], Any] = {}
_STATUS = re.compile(r"status code: (\d{3})|\((\d{3}) [A-Z]")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_QUERY = re.compile(r"\?[^\s\"'<>)]*")
_THROTTLED = ("SlowDown", "TooManyRequests", "RequestLimitExceeded", "ServerBusy", "429", "503")
_BAD_KEYS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthenticationFailed",
    "401",
)


class Location(NamedTuple):
    """A prefix in a bucket, or the key of one object. prefix: without a slash at its end; empty for all."""

    provider: str
    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        """The address as other tools write it: `s3://bucket/prefix`."""
        return f"{self.provider}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def dataset(self) -> str:
        """The dataset's name in a reference."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    def key(self, path: str) -> str:
        """The key of the object that has this path below the prefix."""
        return f"{self.prefix}/{path}" if self.prefix else path


def location(provider: str, dataset: str) -> Location:
    """Where a dataset's objects are."""
    bucket, _, prefix = dataset.partition("/")
    return Location(provider, bucket, prefix)


def address(text: str, variable: str) -> Location:
    """The place that an address such as `s3://bucket/prefix` names. Raises SettingsError, naming the variable."""
    parts = urlsplit(text)
    provider = SCHEMES.get(parts.scheme.lower())
    if provider is None or not parts.netloc or parts.query or "@" in parts.netloc:
        raise SettingsError(variable, expected="s3://…, gs://…, az://… or a folder", got=redacted(text)[:60])
    return Location(provider, parts.netloc, unquote(parts.path).strip("/"))


def object_store(place: Location) -> Any:
    """obstore's store of a bucket; one for all calls of a process with the same environment.

    Raises SettingsError when obstore is not installed, or for settings that it refuses.
    """
    variables = settings.of_provider(place.provider, PREFIXES[place.provider])
    key = (os.getpid(), place.provider, place.bucket, tuple(sorted(variables.items())))
    if key not in _stores:
        while len(_stores) >= KEPT:
            _stores.pop(next(iter(_stores)), None)
        _stores[key] = _connect(place)
    return _stores[key]


_used_before_fork = False
"""Whether this process was forked from one that had used obstore, whose threads are not there in the child."""


def _after_fork() -> None:
    global _used_before_fork
    _used_before_fork = _used_before_fork or bool(_stores)
    _stores.clear()


os.register_at_fork(after_in_child=_after_fork)


def is_cut_off() -> bool:
    """Whether obstore would wait for ever in this process, as a request needs threads that a fork does not copy."""
    return _used_before_fork


def check_settings(provider: str) -> None:
    """Raise SettingsError when obstore is not installed or refuses the settings; no service is asked."""
    _connect(Location(provider, "mlflow-dsver-doctor", ""), region="us-east-1")


def _connect(place: Location, region: str | None = None) -> Any:
    """region: S3's; None for that of the settings, or of the bucket."""
    if _used_before_fork:
        raise ProviderUnavailable(
            "object storage cannot be read in a process that was forked after it was used",
            provider=place.provider,
            operation="connect",
            reference=place.uri,
            tip="start such processes by spawn (multiprocessing_context='spawn'), or use path() before they start",
        )
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise SettingsError("reading object storage needs obstore", tip=INSTALL) from error
    make: Callable[[str], Any] = _gs if place.provider == "gs" else _az
    if place.provider == "s3":
        make = partial(_s3, region=region)
    try:
        return make(place.bucket)
    except Exception as error:
        if type(error).__module__.startswith("obstore") or isinstance(error, ValueError | TypeError):
            raise SettingsError(
                "the connection's settings are refused", reference=place.uri, got=_shown(error)
            ) from None
        raise


def _options(endpoint: str | None) -> dict[str, Any]:
    return {
        "client_options": {
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": "5s",
            "timeout": "60s",
        },
        "retry_config": {"max_retries": 6, "retry_timeout": timedelta(seconds=settings.provider_timeout())},
    }


# Amazon S3


class S3Settings(NamedTuple):
    """Where S3 is and how to sign for it. endpoint: None for AWS. keys: None for the roles of this machine.

    anonymous: requests are not signed.
    """

    endpoint: str | None
    region: str | None
    keys: tuple[Secret, Secret, Secret | None] | None
    anonymous: bool


def s3_settings() -> S3Settings:
    """The settings of S3 as AWS's own tools read them."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")
    endpoint = next((value for name in names if (value := settings.text(name))), None)
    region = settings.text("AWS_REGION") or settings.text("AWS_DEFAULT_REGION")
    identifier, secret = settings.secret("AWS_ACCESS_KEY_ID"), settings.secret("AWS_SECRET_ACCESS_KEY")
    keys = None
    if identifier is not None and secret is not None and settings.text("AWS_PROFILE") is None:
        keys = (identifier, secret, settings.secret("AWS_SESSION_TOKEN"))
    anonymous = (settings.text("AWS_SKIP_SIGNATURE") or "").lower() in settings.ON
    return S3Settings(endpoint, region or ("us-east-1" if endpoint else None), keys, anonymous)


def s3_session() -> Any:
    """boto3's session: profiles, SSO and assumed roles; None where boto3 is not installed."""
    try:
        import boto3
    except ImportError:
        return None
    return boto3.Session()


def _s3(bucket: str, region: str | None) -> Any:
    from obstore.store import S3Store

    found = s3_settings()
    optional: dict[str, Any] = {}
    if found.endpoint is not None:
        optional |= {"endpoint": found.endpoint, "virtual_hosted_style_request": False}
    if found.anonymous:
        optional["skip_signature"] = True
    elif found.keys is not None:
        identifier, secret, token = found.keys
        optional |= {"access_key_id": identifier.reveal(), "secret_access_key": secret.reveal()}
        optional |= {} if token is None else {"session_token": token.reveal()}
    elif (session := s3_session()) is not None and needs_session():
        from obstore.auth.boto3 import Boto3CredentialProvider

        optional["credential_provider"] = Boto3CredentialProvider(session)
        found = found._replace(region=found.region or session.region_name)
    return S3Store(
        bucket, region=found.region or region or bucket_region(bucket), **optional, **_options(found.endpoint)
    )


def needs_session() -> bool:
    """Whether credentials come from what boto3 alone reads: a profile, or AWS's files."""
    if settings.text("AWS_PROFILE") or settings.text("AWS_SHARED_CREDENTIALS_FILE"):
        return True
    folder = settings.expanded("~/.aws", "HOME")
    return any((folder / name).is_file() for name in ("credentials", "config"))


def bucket_region(bucket: str) -> str:
    """The region that AWS names for a bucket, which it does to anybody; us-east-1 where it does not answer."""
    from mlflow_dsver.providers.http.answers import NoResponse, ask, open_client

    address = f"https://s3.amazonaws.com/{quote(bucket)}"
    try:
        found = ask(open_client(address, 1), "HEAD", address, dict, seconds=REGION_SECONDS, limit=1 << 16)
    except (NoResponse, ValueError):
        return "us-east-1"
    return found.headers.get("x-amz-bucket-region") or "us-east-1"


# Google Cloud Storage


def gs_emulator() -> str | None:
    """The address of an emulator, by the variable of Google's own libraries."""
    host = settings.text("STORAGE_EMULATOR_HOST")
    return host if host is None or "://" in host else f"http://{host}"


def _gs(bucket: str) -> Any:
    from obstore.store import GCSStore

    emulator = gs_emulator()
    if emulator is None:
        return GCSStore(bucket, **_options(None))
    return GCSStore(bucket, service_account_key=no_account_key(emulator), **_options(emulator))


def no_account_key(emulator: str) -> str:
    """What stands for a service account's key where an emulator of Google Cloud Storage is asked without one."""
    no_account = {"gcs_base_url": emulator, "disable_oauth": True}
    no_account |= {"client_email": "", "private_key": "", "private_key_id": ""}
    return json.dumps(no_account)


# Azure Blob Storage


def _az(container: str) -> Any:
    from obstore.store import AzureStore

    found = azure_settings()
    return AzureStore(container, **found, **_options(found.get("endpoint")))  # type: ignore[arg-type]


def azure_settings() -> dict[str, str]:
    """Account, key and address of Azure as far as a connection string has them; its other variables are obstore's."""
    parts = _connection_string()
    endpoint = parts.get("BlobEndpoint") or settings.text("AZURE_STORAGE_ENDPOINT")
    names = {"account_name": "AccountName", "account_key": "AccountKey", "sas_key": "SharedAccessSignature"}
    found = {option: parts[part] for option, part in names.items() if part in parts}
    return found if endpoint is None else found | {"endpoint": endpoint}


def _connection_string() -> dict[str, str]:
    found = settings.secret("AZURE_STORAGE_CONNECTION_STRING")
    pairs = (part.partition("=") for part in (found.reveal() if found else "").split(";") if part)
    return {name.strip(): value for name, _, value in pairs}


# Errors


@contextmanager
def storage_errors(
    place: Location, operation: str, key: str | None = None, version: str | None = None
) -> Iterator[None]:
    """Turn obstore's errors into ours, without credentials and signatures. key, version: of the object concerned."""
    try:
        yield
    except FileNotFoundError:
        raise _not_found(place, operation, key, version) from None
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        _raise(error, place, operation, key, version)


def _raise(error: Exception, place: Location, operation: str, key: str | None, version: str | None) -> None:
    kind, text = type(error).__name__, str(error)
    code = _CODE.search(text)
    status = _STATUS.search(text)
    number = next((each for each in status.groups() if each), "") if status else ""
    got = " ".join(filter(None, (number, code[1] if code else None))) or _shown(error)
    parts: dict[str, Any] = {"provider": place.provider, "operation": operation, "reference": place.uri, "got": got}
    what = f"the object {one_line(key, 200)}" if key is not None else "the bucket"
    marks = (number, code[1] if code else "")
    if kind == "NotFoundError" or number == "404":
        raise _not_found(place, operation, key, version, code[1] if code else None) from None
    if kind == "UnauthenticatedError" or any(mark in _BAD_KEYS for mark in marks):
        raise AuthenticationFailed("the credentials are not accepted", **parts) from None
    if kind == "PermissionDeniedError" or number == "403":
        raise PermissionDenied(f"{what} may not be read or written with these credentials", **parts) from None
    if kind == "PreconditionError":
        raise CorruptObject(
            f"{what} was overwritten, and the bucket keeps no versions",
            reference=place.uri,
            done="Nothing was served",
        ) from None
    if kind == "NotSupportedError":
        raise Unsupported("the store cannot do that", **parts) from None
    if any(mark in _THROTTLED for mark in marks):
        raise RateLimited("the store asks for fewer requests, after retries", **parts) from None
    raise ProviderUnavailable(f"{what} could not be reached", **parts) from None


def _not_found(
    place: Location, operation: str, key: str | None, version: str | None, code: str | None = None
) -> NotFound:
    what = f"there is no object {one_line(key, 200)}" if key is not None else "there is no such bucket"
    if code == "NoSuchBucket":
        what = f"there is no bucket {one_line(place.bucket, 80)}"
    elif version is not None:
        what = f"the version {one_line(version, 80)} of the object {one_line(key, 200)} is gone"
    return NotFound(what, provider=place.provider, operation=operation, reference=place.uri)


def _shown(error: Exception) -> str:
    """An error's message without queries of addresses, which hold signatures, and without any known secret."""
    held = [
        Secret(value) for name, value in _connection_string().items() if name.startswith(("AccountKey", "Shared"))
    ]
    text = _QUERY.sub("", str(error).partition("\n")[0])
    return one_line(redacted(redact(text, held)), 200)
