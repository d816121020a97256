"""Signed statements: what a run used, as an in-toto statement in a DSSE envelope, signed with the user's key.

The subjects are the content digests of the versions; the predicate has the run, commit, roles and grades. Whoever has
the public key can check later that the statement is unchanged and still agrees with the run. `securesystemslib`
(extra `sign`), the library of TUF and in-toto, signs and checks.
The specifications: https://in-toto.io/Statement/v1 and https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_dsver.config_files import user_file
from mlflow_dsver.content.atomic_files import atomic_write
from mlflow_dsver.errors import DsverError, InvalidArgument, SettingsError
from mlflow_dsver.lineage.export import RunRecord
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import DIGEST_PREFIX
from mlflow_dsver.model.versions import Link
from mlflow_dsver.text import one_line

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:mlflow-dsver:run-inputs:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE = 16 << 20


def statement(record: RunRecord) -> dict[str, Any]:
    """The in-toto statement of a run. Raises InvalidArgument when no input has a content digest."""
    subjects = {str(link.version.ref): link.version.content_digest for link in record.links}
    known = {ref: digest for ref, digest in subjects.items() if digest}
    if not known:
        raise InvalidArgument(
            "no input of the run has a content digest, so there is nothing to sign",
            reference=record.run.run_id,
        )
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": ref, "digest": {"blake3": digest.removeprefix(DIGEST_PREFIX)}} for ref, digest in known.items()
        ],
        "predicateType": PREDICATE,
        "predicate": _predicate(record),
    }


def sign(content: Mapping[str, Any], key: Path) -> bytes:
    """The statement in a DSSE envelope, signed with a private key (PEM).

    Raises SettingsError for an unusable key, and DsverError without the library.
    """
    library = _library()
    signer = library.signer.CryptoSigner(_private(key))
    payload = json.dumps(content, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
    envelope = library.dsse.Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return (json.dumps(envelope.to_dict(), indent=1) + "\n").encode()


def opened(envelope: bytes, public_key: Path) -> dict[str, Any]:
    """The statement in an envelope with a valid signature.

    Raises InvalidArgument for an invalid signature or no envelope, SettingsError for an unusable key, and DsverError
    without the library.
    """
    library = _library()
    key = library.signer.SSlibKey.from_crypto(_public(public_key))
    try:
        sealed = library.dsse.Envelope.from_dict(json.loads(envelope))
        sealed.verify([key], 1)
        content = json.loads(sealed.payload)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, library.exceptions.Error) as error:
        raise InvalidArgument(
            "the signature is not good, or this is no signed statement", got=one_line(error, 200)
        ) from error
    if sealed.payload_type != PAYLOAD_TYPE or _object(content).get("predicateType") != PREDICATE:
        raise InvalidArgument("a valid signature of another kind of content", expected=PREDICATE)
    return dict(content)


def differences(content: Mapping[str, Any], now: RunRecord) -> list[str]:
    """Where a run differs from a statement, one line each; [] when they agree.

    Names of runs and experiments are not compared, since users may change them.
    """
    before, after = _object(content.get("predicate")), _predicate(now)
    about = _object(before.get("run")).get("id")
    if about != now.run.run_id:
        return [f"the statement is about run {one_line(about, 60)}"]
    found = []
    if before.get("gitCommit") != after["gitCommit"]:
        found.append(_changed("the run", "gitCommit", before.get("gitCommit"), after["gitCommit"]))
    roles_before = {str(_object(each).get("role")): _object(each) for each in before.get("inputs") or []}
    roles_after = {each["role"]: each for each in after["inputs"]}
    for role in sorted({*roles_before, *roles_after}):
        for name in ("version", "requested", "contentDigest", "usageBytes", "grade"):
            was, is_ = (roles.get(role, {}).get(name) for roles in (roles_before, roles_after))
            if was != is_:
                found.append(_changed(role, name, was, is_))
    return found


def make_key(path: Path) -> Path:
    """Create an Ed25519 key pair: the private key at `path`, for its owner alone, the public one at `path` + `.pub`.

    Returns the public key's path. Raises InvalidArgument when one of them exists.
    """
    public = path.with_name(path.name + ".pub")
    for each in (path, public):
        if each.exists():
            raise InvalidArgument(f"{each} exists and is not overwritten")
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    signer = _library().signer.CryptoSigner.generate_ed25519()
    with atomic_write(path, mode=0o600) as stream:
        stream.write(signer.private_bytes)
    key = _private(path).public_key()
    with atomic_write(public) as stream:
        stream.write(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def read_envelope(path: Path) -> bytes:
    """The content of an envelope file. Raises InvalidArgument when it cannot be read or is too large."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_ENVELOPE + 1)
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_ENVELOPE:
        raise InvalidArgument(f"{path} is too large for a signed statement")
    return content


def _predicate(record: RunRecord) -> dict[str, Any]:
    return {
        "run": {
            "id": record.run.run_id,
            "name": record.run.name,
            "experiment": record.run.experiment,
            "started": date_text(record.run.started),
        },
        "gitCommit": record.run.git_commit,
        "inputs": [_input(link) for link in record.links],
    }


def _object(content: Any) -> Mapping[str, Any]:
    """A JSON object from a statement; empty for anything else."""
    return content if isinstance(content, dict) else {}


def _changed(whose: str, name: str, was: object, is_: object) -> str:
    return f"{one_line(whose, 64)}: {name} was {one_line(was, 120)} and is {one_line(is_, 120)}"


def _input(link: Link) -> dict[str, Any]:
    return {
        "role": link.role,
        "version": str(link.version.ref),
        "requested": link.requested,
        "grade": str(link.grade),
        "contentDigest": link.version.content_digest,
        "usageBytes": link.version.usage_bytes,
    }


def _private(path: Path) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return _key(path, lambda content: load_pem_private_key(content, password=None))


def _public(path: Path) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return _key(path, load_pem_public_key)


def _key(path: Path, load: Any) -> Any:
    content = user_file(path)
    if content is None:
        raise SettingsError(f"no key file {path}", tip=f"mlflow-dsver statement key {path}")
    try:
        return load(content)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path} is not a key in PEM, or has a password") from error


def _library() -> Any:
    try:
        import cryptography  # noqa: F401  (securesystemslib imports without it and fails when it signs)
        import securesystemslib.dsse
        import securesystemslib.exceptions
        import securesystemslib.signer
    except ImportError as error:
        raise DsverError("signatures need another package", tip="pip install 'mlflow-dsver[sign]'") from error
    return securesystemslib
