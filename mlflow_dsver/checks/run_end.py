"""The hooks at the end of a run: whether its data changed (MLFLOW_DSVER_SEAL), and which files were read (_WATCH).

SEAL: `given`, the default, checks the local copies that this process got, for a few seconds at most, and sends no
request if there are none. `stat` and `hash` check all inputs without a time limit. `off` checks nothing.

The hooks are entry points that `tracking.run_hooks` calls. This module must stay light to import, so it imports
`checks.seal` and `checks.undeclared_files` when needed.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlflow_dsver import settings
from mlflow_dsver.deadlines import BoundedTask, Deadline
from mlflow_dsver.errors import DsverError
from mlflow_dsver.record import schema
from mlflow_dsver.resolution import version_files
from mlflow_dsver.text import error_line, one_line
from mlflow_dsver.tracking import async_logging, clients, opened_files, parent_inputs
from mlflow_dsver.tracking.mlflow_private import in_workspace

if TYPE_CHECKING:
    from mlflow_dsver.checks.seal import SealReport
    from mlflow_dsver.checks.undeclared_files import FilesRead

FILES_SECONDS = 15.0
"""Seconds that the end of a run waits at most until the files that were read are judged and logged."""
OTHER_VERSIONS = 20
"""Versions of other runs of the process at most, the newest, to which files may belong as well."""

_logger = logging.getLogger(__name__)
_warnings: set[str] = set()
"""Warnings about files that were logged already: many runs of one process read the same ones."""


class _Judged(NamedTuple):
    """What was judged last. asked: versions by role, those of other runs, stores and the working folder."""

    asked: tuple[object, ...]
    opened: opened_files.OpenedFiles
    found: FilesRead


_last: _Judged | None = None


def seal_at_end(run_id: str) -> None:
    """Compare the run's data with the record, as the setting requests, and log the result. Raises nothing."""
    try:
        policy = settings.choice("SEAL", ("given", "off", "stat", "hash"))
        report = None if policy == "off" else _sealed(run_id, policy)
    except Exception as error:  # noqa: BLE001  (a failed check must not fail a finished training)
        _logger.warning("run %s was not sealed: %s", run_id, one_line(error, 600))
        return
    for each in report.inputs if report is not None else ():
        if each.same is not True:
            _logger.warning("run %s, %s input: %s", run_id, each.role, each.text())


def _sealed(run_id: str, policy: str) -> SealReport | None:
    """The report, which is logged on the run; None if there was nothing to check."""
    if policy != "given":
        from mlflow_dsver.checks.seal import seal

        with in_workspace(clients.workspace_of_run(run_id)):
            return seal(run_id, rehash=policy == "hash", tracking_uri=clients.uri_of(run_id))
    links = {
        role: link
        for role, link in parent_inputs.links_of(run_id).items()
        if version_files.folder_of(link.version.ref)
    }
    if not links:
        return None
    from mlflow_dsver.checks.seal import check_local_copies, seal_tags

    report = check_local_copies(run_id, links)
    if report.inputs:
        try:
            async_logging.write_tags(clients.client_of(run_id), run_id, seal_tags(report))
        except DsverError as error:
            _logger.warning("run %s: the check of its data could not be logged: %s", run_id, one_line(error, 600))
    return report


def files_at_end(run_id: str) -> None:
    """Log which files were read that belong to no linked version, if MLFLOW_DSVER_WATCH is set. Raises nothing."""
    try:
        if settings.watched_folders() is None:
            return
        opened = opened_files.snapshot()
        if opened is None:
            _warn_once("MLFLOW_DSVER_WATCH must be in the environment before MLflow is imported: no file was watched")
            return
        found = BoundedTask(lambda: _logged_files(run_id, opened)).result(Deadline(FILES_SECONDS))
    except Exception as error:  # noqa: BLE001  (as above)
        _warn_once(f"the files that were read are not on run {run_id}: {error_line(error, 600)}")
        return
    told = found.warning()
    if told is not None and told not in _warnings:
        _warnings.add(told)
        _logger.warning("run %s: %s; see %s/%s", run_id, told, schema.FOLDER, schema.FILES_READ_NAME)


def _logged_files(run_id: str, opened: opened_files.OpenedFiles) -> FilesRead:
    """The files that were read, after they were logged on the run. Raises MlflowException, DsverError.

    They are judged again if any were added since the last time: the many runs of a search read the same files.
    """
    global _last
    from mlflow_dsver.checks.undeclared_files import judge

    client = clients.client_of(run_id)
    run: Any = clients.read_run(client, Deadline(FILES_SECONDS), run_id)
    links = parent_inputs.links_of(run_id)
    own = {link.version for link in links.values()}
    others = [each for each in parent_inputs.versions_of_other_runs(run_id, OTHER_VERSIONS) if each not in own]
    stores = _mlflow_folders(client.tracking_uri, run.info.artifact_uri)
    asked = ({role: link.version for role, link in links.items()}, others, stores, Path.cwd())
    if _last is not None and _last.asked == asked and not _has_new_data(opened, _last.opened):
        found = replace(_last.found, run_id=run_id)
    else:
        found = judge(run_id, opened, links, others, stores)
        _last = _Judged(asked, opened, found)
    clients.put_files(client, run.info.artifact_uri, schema.FOLDER, {schema.FILES_READ_NAME: found.to_bytes()})
    async_logging.write_tags(client, run_id, {schema.FILES_READ_TAG: one_line(found.summary(), schema.SHORT_LIMIT)})
    return found


def _has_new_data(opened: opened_files.OpenedFiles, before: opened_files.OpenedFiles) -> bool:
    """Whether files were read since that may be data: neither code nor what was logged at the end of a run."""
    logged = str(Path(tempfile.gettempdir(), clients.TEMPORARY))
    new = (path for path in opened.read - before.read if not path.startswith(logged))
    return opened.not_kept > before.not_kept or not all(map(opened_files.is_code, new))


def _mlflow_folders(tracking_uri: str, artifact_uri: str) -> list[Path]:
    """Where MLflow keeps things on this machine: its store, and the folder of the experiment's artifacts."""
    store, artifacts = clients.local_store(tracking_uri), clients.local_store(artifact_uri)
    return [*([store] if store is not None else []), *(artifacts.parents[1:2] if artifacts is not None else [])]


def _warn_once(text: str) -> None:
    if text not in _warnings:
        _warnings.add(text)
        _logger.warning("%s", text)
