"""A signed statement: good when nothing changed, refused when a single bit did."""

from __future__ import annotations

import base64
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from lineage_samples import run_record

from mlflow_dsver.errors import InvalidArgument, SettingsError
from mlflow_dsver.lineage.export import statement as statements


@pytest.fixture
def key(tmp_path: Path) -> Path:
    statements.make_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def test_what_was_signed_is_what_is_read(key: Path) -> None:
    told = statements.statement(run_record())
    assert statements.opened(statements.sign(told, key), key.with_name("key.pem.pub")) == told


def test_the_statement_is_in_toto_with_the_manifests_digest_as_subject() -> None:
    told = statements.statement(run_record())
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    (subject,) = told["subject"]
    assert subject["name"] == "local://digits@v1"
    assert len(subject["digest"]["blake3"]) == 64
    assert [each["role"] for each in told["predicate"]["inputs"]] == ["training", "eval"]
    assert told["predicate"]["gitCommit"].startswith("c0ffee")


def test_the_envelope_is_checked_by_the_protocol_and_not_by_us(key: Path) -> None:
    """The bytes that are signed are DSSE's own (PAE), as another implementation computes them."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    envelope = json.loads(statements.sign(statements.statement(run_record()), key))
    payload = base64.b64decode(envelope["payload"])
    kind = b"application/vnd.in-toto+json"
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    public = load_pem_public_key(key.with_name("key.pem.pub").read_bytes())
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)  # type: ignore[union-attr, call-arg]


def test_every_changed_byte_of_the_payload_or_signature_is_noticed(key: Path) -> None:
    envelope = json.loads(statements.sign(statements.statement(run_record()), key))
    public = key.with_name("key.pem.pub")
    for place in range(0, 400, 7):
        payload = bytearray(base64.b64decode(envelope["payload"]))
        payload[place] ^= 1
        bad = {**envelope, "payload": base64.b64encode(payload).decode()}
        with pytest.raises(InvalidArgument, match="signature is not good"):
            statements.opened(json.dumps(bad).encode(), public)
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[5] ^= 1
    bad = {**envelope, "signatures": [{**envelope["signatures"][0], "sig": base64.b64encode(signature).decode()}]}
    with pytest.raises(InvalidArgument, match="signature is not good"):
        statements.opened(json.dumps(bad).encode(), public)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b'{"payload":1}', b"[" * 100_000, b"\xff"])
def test_what_is_no_envelope_is_refused(key: Path, text: bytes) -> None:
    with pytest.raises(InvalidArgument):
        statements.opened(text, key.with_name("key.pem.pub"))


def test_another_key_does_not_do(key: Path, tmp_path: Path) -> None:
    other = statements.make_key(tmp_path / "other.pem")
    sealed = statements.sign(statements.statement(run_record()), key)
    with pytest.raises(InvalidArgument, match="signature is not good"):
        statements.opened(sealed, other)


def test_a_run_that_says_otherwise_is_told_line_by_line() -> None:
    record = run_record()
    before = statements.statement(record)
    assert statements.differences(before, record) == []
    changed = replace(record.links[0], version=replace(record.links[0].version, content_digest="blake3:" + "9" * 64))
    lines = statements.differences(before, replace(record, links=(changed,)))
    assert lines[0].startswith("eval: version was paperspace://")
    assert all(line.startswith("eval: ") for line in lines[:-1]), "the input that is gone"
    assert "training: contentDigest was" in lines[-1]
    other = replace(record, run=replace(record.run, run_id="f" * 32))
    assert "is about run 000" in statements.differences(before, other)[0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"git_commit": "d" * 40}, "the run: gitCommit was c0ffee"),
        ({"name": "renamed", "experiment": "renamed"}, None),
    ],
)
def test_the_commit_is_evidence_and_names_are_labels(changed: dict[str, str], told: str | None) -> None:
    record = run_record()
    lines = statements.differences(statements.statement(record), replace(record, run=replace(record.run, **changed)))  # type: ignore[arg-type]
    assert (lines[0].startswith(told) and len(lines) == 1) if told else lines == []


def test_a_run_that_lost_all_digests_is_told_too() -> None:
    record = run_record()
    bare = tuple(replace(link, version=replace(link.version, content_digest=None)) for link in record.links)
    lines = statements.differences(statements.statement(record), replace(record, links=bare))
    assert [line.split(" was ")[0] for line in lines] == ["training: contentDigest"]


@pytest.mark.parametrize(
    "predicate", [None, [], "x", {"run": []}, {"run": {"id": "0" * 31 + "1"}, "inputs": [1, {}]}]
)
def test_a_signed_statement_of_another_shape_is_a_difference(predicate: object) -> None:
    assert statements.differences({"predicate": predicate}, run_record())


def test_nothing_is_signed_where_no_digest_is_known() -> None:
    record = run_record()
    with pytest.raises(InvalidArgument, match="no input of the run has a content digest"):
        statements.statement(replace(record, links=record.links[1:]))


def test_a_private_key_is_its_owners_alone_and_never_overwritten(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(InvalidArgument, match="not overwritten"):
        statements.make_key(key)


def test_an_unusable_key_is_named(key: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("secret-looking text")
    with pytest.raises(SettingsError, match=r"bad\.pem is not a key") as caught:
        statements.sign({}, tmp_path / "bad.pem")
    assert "secret-looking" not in str(caught.value)
    with pytest.raises(SettingsError, match="no key file"):
        statements.sign({}, tmp_path / "none.pem")
