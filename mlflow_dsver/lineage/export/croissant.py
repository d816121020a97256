"""Croissant 1.0: one dataset version with its files, as JSON-LD.

Croissant requires a sha256 of each file that can be fetched. Files on this host have one; others are contained in the
manifest, which has a sha256. Every file has its BLAKE3 as `dsver:blake3`. A version of grade D may change and is
marked `isLiveDataset`.
The specification: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from mlflow_dsver.lineage.export import RunRecord
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import SCHEMA, FileEntry, Manifest
from mlflow_dsver.model.versions import Link
from mlflow_dsver.record.mlflow_urls import web_address

MOST_FILES = 5000
"""Files that are listed one by one; a version with more is described as one file set."""

_TERMS = [
    *(
        "citeAs",
        "column",
        "equivalentProperty",
        "extract",
        "field",
        "fileObject",
        "fileProperty",
        "fileSet",
        "format",
    ),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references"),
    *("regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
]
"""Croissant's terms, which the context of each document must define."""


def document(record: RunRecord, link: Link) -> dict[str, Any]:
    """The JSON-LD of the version of a link."""
    version = link.version
    fields: dict[str, Any] = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": version.ref.dataset.replace("/", "_"),
        "description": version.message or f"{version.ref}, used for {link.role} by an MLflow run.",
        "url": web_address(version.web_url) or str(version.ref),
        "version": version.id,
        "identifier": str(version.ref),
        "dsver:contentDigest": version.content_digest,
        "dsver:grade": str(link.grade),
        "datePublished": date_text(version.created),
        "keywords": list(version.tags) or None,
        "isLiveDataset": True if link.grade.letter == "D" else None,
        "distribution": list(_distribution(record, link)),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _distribution(record: RunRecord, link: Link) -> Iterator[dict[str, Any]]:
    known = record.manifests.get(link.role)
    if known is None:
        return
    manifest, sha256 = known
    yield {
        "@type": "cr:FileObject",
        "@id": "manifest",
        "name": "manifest",
        "description": f"Every file of the version with its size and {_evidence(manifest)}.",
        "contentUrl": f"dsver/{link.role}.manifest.jsonl.gz",
        "encodingFormat": "application/gzip",
        "sha256": sha256,
    }
    if len(manifest) > MOST_FILES:
        yield {
            "@type": "cr:FileSet",
            "@id": "files",
            "name": "files",
            "containedIn": {"@id": "manifest"},
            "encodingFormat": "application/octet-stream",
            "includes": "**",
        }
        return
    hashes = record.sha256.get(link.role, {})
    for number, entry in enumerate(manifest.entries):
        yield _file(number, entry, hashes.get(entry.path))


def _evidence(manifest: Manifest) -> str:
    return "BLAKE3 digest" if manifest.schema == SCHEMA else "what the store that has it keeps of it"


def _file(number: int, entry: FileEntry, sha256: str | None) -> dict[str, Any]:
    kind, _ = mimetypes.guess_type(entry.path)
    fields: dict[str, Any] = {
        "@type": "cr:FileObject",
        "@id": f"file-{number}",
        "name": entry.path,
        "contentUrl": quote(entry.path, errors="surrogatepass"),
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": kind or "application/octet-stream",
    }
    if entry.blake3 is not None:
        fields["dsver:blake3"] = entry.blake3
    if entry.evidence is not None:
        stated = {each.algorithm: each.value for each in entry.evidence.checksums if each.extent == "full"}
        sha256 = sha256 or stated.get("sha256")
        if "md5" in stated:
            fields["md5"] = stated["md5"]
    if sha256 is not None:
        return {**fields, "sha256": sha256}
    return {**fields, "containedIn": {"@id": "manifest"}}


def _context() -> dict[str, Any]:
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "dsver": "urn:mlflow-dsver:",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        **{term: f"cr:{term}" for term in _TERMS},
    }
