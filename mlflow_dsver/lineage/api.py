"""Exports, signed statements and reports of runs that are read from MLflow: one run with its record, or many.

The tracking address is MLflow's current one. Files of local versions are read only to compute their sha256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from heapq import merge
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow_dsver.checks.reports import Finding, SignatureReport, Subject, Verdict
from mlflow_dsver.content.atomic_files import safe_join
from mlflow_dsver.errors import DsverError, InvalidArgument, NotFound, SettingsError
from mlflow_dsver.lineage.export import RunRecord, croissant, openlineage, prov, ro_crate
from mlflow_dsver.lineage.export.statement import differences, opened, read_envelope
from mlflow_dsver.lineage.views import Report, report
from mlflow_dsver.model.manifests import SCHEMA, InvalidManifest, Manifest, read
from mlflow_dsver.model.versions import Link
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record.facts import EVERYTHING, Filter
from mlflow_dsver.text import human_count, one_line
from mlflow_dsver.tracking import clients
from mlflow_dsver.tracking.history import inputs_in
from mlflow_dsver.tracking.lineage_queries import all_runs, models_without_run, run_in, with_models
from mlflow_dsver.tracking.queries import Tracking
from mlflow_dsver.tracking.run_search import clients_in, experiment_names

MOST_RUNS = 1000
"""Runs of one report by default."""

_WEB = re.compile(r"https?://", re.IGNORECASE)


class Format(StrEnum):
    """The standards that a run can be exported to."""

    OPENLINEAGE = "openlineage"
    CROISSANT = "croissant"
    RO_CRATE = "ro-crate"
    PROV = "prov"


def web_root() -> str:
    """MLflow's web address without a closing slash and without a password; empty when it has none."""
    from urllib.parse import urlsplit, urlunsplit

    uri = str(clients.new_client().tracking_uri)
    if not _WEB.match(uri):
        return ""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def record_of(run_id: str, *, sha256: bool = False) -> RunRecord:
    """A run and its record.

    sha256: also compute it for the files of local versions on this host, which reads them all. Raises RunNotFound
    and TrackingError when the run cannot be read.
    """
    client = clients.new_client()
    entity = clients.read_run(client, clients.deadline(), run_id)
    tracking = Tracking()
    facts = tracking.facts(entity)
    run = with_models(client, [run_in(entity, {facts.experiment_id: facts.experiment})], [facts.experiment_id])[0]
    links = tuple(inputs_in(client, entity))
    manifests: dict[str, tuple[Manifest, str]] = {}
    for name, content in tracking.record_files(facts).items():
        role = name.removesuffix(".manifest.jsonl.gz")
        if role != name and any(link.role == role for link in links):
            try:
                manifests[role] = read(BytesIO(content)), hashlib.sha256(content).hexdigest()
            except InvalidManifest:
                continue
    hashes = {
        link.role: _hashes(link, manifests[link.role][0]) for link in links if sha256 and link.role in manifests
    }
    return RunRecord(run, links, manifests, web_root(), hashes)


def signature_of(run_id: str, file: Path, key: Path) -> SignatureReport:
    """Check a statement's signature, and that the run still agrees with it; reads no data.

    file: the envelope. key: the public key (PEM). An invalid signature, a run that differs and a missing library are
    findings. Raises InvalidArgument for a file that cannot be read, SettingsError for a key that cannot be used,
    RunNotFound and TrackingError when the run cannot be read.
    """
    envelope = read_envelope(file)
    client = clients.new_client()
    entity = clients.read_run(client, clients.deadline(), run_id)
    record = RunRecord(run_in(entity, {}), tuple(inputs_in(client, entity)))
    try:
        lines = differences(opened(envelope, key), record)
        findings = [Finding(Verdict.CHANGED, Subject.SIGNATURE, line) for line in lines]
    except InvalidArgument as error:
        findings = [Finding(Verdict.CHANGED, Subject.SIGNATURE, error.what, found=error.got)]
    except SettingsError:
        raise
    except DsverError as error:
        findings = [Finding(Verdict.UNVERIFIABLE, Subject.SIGNATURE, one_line(error, 600))]
    return SignatureReport(str(file), str(key), tuple(findings))


def export_run(run_id: str, format_: Format | str, *, role: str | None = None, sha256: bool = False) -> Any:
    """A run in an open format, ready for `json.dumps`.

    format_: `openlineage`, `croissant`, `ro-crate` or `prov`. Raises RunNotFound, TrackingError, and InvalidArgument
    when the run has no link, or several and no role was named for Croissant.
    """
    return export(record_of(run_id, sha256=sha256), format_, role=role)


def export(record: RunRecord, format_: Format | str, *, role: str | None = None) -> Any:
    """The run in the format of a standard, ready for `json.dumps`.

    OpenLineage gives a list of events, in order. role: which input, for Croissant, which describes one dataset;
    may be None when the run has one input only. Raises InvalidArgument otherwise.
    """
    if not record.links:
        raise InvalidArgument("the run has no dataset version on its record", reference=record.run.run_id)
    match Format(format_):
        case Format.OPENLINEAGE:
            return openlineage.events(record)
        case Format.CROISSANT:
            return croissant.document(record, _link_of(record, role))
        case Format.RO_CRATE:
            return ro_crate.metadata(record)
        case Format.PROV:
            return prov.document(record)


def report_of(
    names_or_ids: Sequence[str] = (),
    *,
    limit: int = MOST_RUNS,
    wanted: Filter = EVERYTHING,
    workspace: str | None = None,
) -> Report:
    """A report of the linked runs of these experiments (none means all), newest first.

    With all experiments and without a filter, also of the registered models whose run was deleted. Raises NotFound
    for an experiment that does not exist, and TrackingError.

    workspace: the one to look in, or "*" for all that the user may read; None is the active one.
    """
    readers = [(client, experiment_names(client)) for client in clients_in(workspace)]
    chosen = {}
    for requested in names_or_ids:
        found = {id_: name for _, known in readers for id_, name in known.items() if requested in (id_, name)}
        if not found:
            raise NotFound("no such experiment", provider="mlflow", operation="search", got=requested)
        chosen.update(found)
    streams = []
    for client, known in readers:
        names = {id_: name for id_, name in known.items() if not chosen or id_ in chosen}
        streams.append(all_runs(client, names, limit + 1, wanted))
    found_runs = list(
        islice(merge(*streams, key=lambda run: -(run.started.timestamp() if run.started else 0)), limit + 1)
    )
    runs = found_runs[:limit]
    versions = {use.version for run in runs for use in run.uses}
    subtitle = f"{human_count(len(runs), 'run')} with {human_count(len(versions), 'dataset version')}"
    if len(found_runs) > limit:
        subtitle += ", the newest of more"
    orphans = [] if chosen or wanted else [each for reader in readers for each in models_without_run(*reader, runs)]
    title = f"Data lineage of {', '.join(chosen.values())}" if chosen else "Data lineage"
    return report(runs, title, subtitle, orphans)


def _hashes(link: Link, manifest: Manifest) -> dict[str, str]:
    """The sha256 of each file, from a folder checked against the manifest; {} when it is not on this host."""
    provider = get_provider(link.version.ref.provider)
    if manifest.schema != SCHEMA or provider.local_copy(link.version) is None:
        return {}
    folder = provider.path(link.version)
    found = {}
    for entry in manifest.entries:
        with safe_join(folder, entry.path).open("rb") as stream:
            found[entry.path] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _link_of(record: RunRecord, role: str | None) -> Link:
    found = [link for link in record.links if role in (None, link.role)]
    if len(found) == 1:
        return found[0]
    roles = ", ".join(link.role for link in record.links)
    raise InvalidArgument(
        "Croissant describes one dataset", reference=record.run.run_id, expected=f"one of the roles {roles}", got=role
    )
