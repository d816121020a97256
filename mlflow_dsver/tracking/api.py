"""Run start and linking: what a training script calls.

References are resolved before a run is created, so that a bad one leaves no run behind; the run is found in the
caller's thread and named by its id from there on, so that nothing is ever logged to another run. What happens when a
provider or the tracking server fails is one policy, `on_error`: `raise` (the default), or `warn`, by which training
goes on, a warning is logged and a tag of the run (`dsver.R.error`, or `dsver.error` for the whole) says what failed.
Malformed calls and conflicts with what the run has already are errors under both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow import ActiveRun, MlflowClient

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InputConflict, InvalidArgument, InvalidReference
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.refs import LATEST, check_role, check_tag, parse
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import bounded, record, recorded, writing
from mlflow_dsver.tracking.guards import say_overlaps
from mlflow_dsver.tracking.linked import LinkedDataset
from mlflow_dsver.tracking.resolving import RefLike, as_written, resolve
from mlflow_dsver.tracking.starting import LinkedRun, give_up_run, say, server_answers
from mlflow_dsver.tracking.writing import Wanted
from mlflow_dsver.versions import DatasetVersion, Link, now

__all__ = ["attach", "create_version", "resolve", "start_run", "use"]

ATTACHED_LATER = "attached later"
_logger = logging.getLogger(__name__)


def start_run(
    *arguments: Any,
    inputs: Mapping[str, RefLike] | None = None,
    on_error: settings.OnError | None = None,
    **named: Any,
) -> LinkedRun:
    """Start or resume a run, as `mlflow.start_run` does, and link dataset versions to it.

    inputs: role (`training`, `validation`, …) to reference or version. on_error: `raise` or `warn`; None takes the
    setting MLFLOW_DSVER_ON_ERROR. Everything else goes to `mlflow.start_run`.
    Gives MLflow's own run, with `datasets` (role to LinkedDataset) added and `inputs` filled.

    A run that is resumed keeps what it started with: a role asked for with the same words means the version on the
    record, even if `latest` or a tag has moved since, which is logged. Other words that mean another version raise
    InputConflict before anything is written. Other errors: those of the provider, and TrackingError, which a server
    that does not answer is under both policies, since without it there is no run.
    """
    policy, asked = _policy(on_error), _roles(inputs or {})
    client = MlflowClient()
    run_id = named.get("run_id") or (arguments[0] if arguments else None) or settings.text("MLFLOW_RUN_ID")
    until = bounded.deadline()
    alive = None if run_id else server_answers(client)
    known = bounded.read_run(client, until, run_id) if run_id else None
    found = {role: _find(role, ref, policy, known) for role, ref in asked.items()}
    if known is not None:
        writing.refuse_conflicts(known, [each.link for each in found.values() if isinstance(each, Wanted)])
    say_overlaps({role: each.manifest for role, each in found.items() if isinstance(each, Wanted) and each.manifest})
    if alive is not None:
        alive.result(until)
    started = mlflow.start_run(*arguments, **named)
    if not asked:
        return LinkedRun(started, {})
    try:
        return _linked_run(client, started, known or started, asked, found, policy)
    except BaseException:
        give_up_run(started.info.run_id)
        raise


def use(ref: RefLike, role: str = "training", *, on_error: settings.OnError | None = None) -> LinkedDataset:
    """Link a version to the run that is active in this thread; with none, one is started, as MLflow itself does.

    Raises InputConflict when the run has another version in that role, the provider's errors, and TrackingError.
    """
    policy, asked = _policy(on_error), _roles({role: ref})
    client, active = MlflowClient(), mlflow.active_run()
    found = {role: _find(role, ref, policy, None)}
    if active is None:
        alive = server_answers(client)
        if alive is not None:
            alive.result(bounded.deadline())
        active = known = mlflow.start_run()
    else:
        known = None
    datasets, _, unsaid = _link(client, active.info, known, asked, found, policy)
    _say_now(client, active.info.run_id, unsaid)
    return datasets[role]


def attach(run_id: str, ref: RefLike, role: str = "training") -> LinkedDataset:
    """Link a version to any run, such as one that is over; the grade then says `attached later`.

    Raises RunNotFound, InputConflict, the provider's errors, and TrackingError.
    """
    asked = _roles({role: ref})
    client = MlflowClient()
    known: Any = bounded.read_run(client, bounded.deadline(), run_id)
    found = _find(role, ref, "raise", known)
    assert isinstance(found, Wanted)
    have = recorded.links_of(known).get(role)
    grade = have.grade if have else found.link.grade.noting(ATTACHED_LATER)
    link = Link(role, found.link.requested, found.link.version, grade, found.link.linked)
    wanted: dict[str, Wanted | DsverError] = {role: Wanted(link, found.manifest)}
    return _link(client, known.info, known, asked, wanted, "raise")[0][role]


def create_version(
    ref: RefLike,
    folder: str | Path | None = None,
    *,
    message: str | None = None,
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    reference: bool = False,
) -> DatasetVersion:
    """Make a version of a folder's content, whole or not at all.

    ref: the dataset, without a selector. folder: None where the provider makes versions of what it has. message,
    tags, metadata: kept with the version. reference: record what the files are and leave the bytes where they lie;
    such a version proves less. Content that the dataset has already gives the same version back. Raises
    InvalidReference, InvalidArgument, ContentError, and the provider's errors.
    """
    parsed = ref.ref.at(None) if isinstance(ref, DatasetVersion) else parse(ref)
    if parsed.selector not in (None, LATEST):
        raise InvalidReference(
            "a new version has no id before it is made", reference=parsed, expected=parsed.at(None), tip="tags=[…]"
        )
    if isinstance(tags, str):
        raise InvalidArgument("tags are a list", reference=parsed, expected=f"[{tags!r}]", got=repr(tags)[:60])
    return get_provider(parsed.provider).create(
        parsed.dataset,
        None if folder is None else Path(folder),
        message=message,
        tags=tuple(check_tag(tag) for tag in tags),
        metadata=metadata,
        reference=reference,
    )


def _policy(on_error: settings.OnError | None) -> settings.OnError:
    if on_error is None:
        return settings.on_error()
    if on_error not in ("raise", "warn"):
        raise InvalidArgument("on_error", expected="raise or warn", got=ascii(on_error)[:40])
    return on_error


def _roles(inputs: Mapping[str, RefLike]) -> dict[str, RefLike]:
    """The inputs, each role and reference well formed."""
    for role, ref in inputs.items():
        check_role(role)
        if not isinstance(ref, DatasetVersion):
            parse(ref)
    return dict(inputs)


def _find(role: str, ref: RefLike, policy: settings.OnError, known: Any) -> Wanted | DsverError:
    """What is to be linked; under the policy `warn` the error instead, or what the run has on record already."""
    have = recorded.links_of(known).get(role) if known is not None else None
    try:
        return _wanted(role, ref, have)
    except InvalidReference:
        raise
    except DsverError as error:
        if policy == "raise":
            raise
        if have is not None and as_written(ref) in (have.requested, str(have.version.ref)):
            _logger.warning("%s cannot be resolved now; the run goes on with %s: %s", ref, have.version, error)
            return Wanted(have)
        return error


def _wanted(role: str, ref: RefLike, have: Link | None) -> Wanted:
    requested = as_written(ref)
    version = resolve(ref)
    provider = get_provider(version.ref.provider)
    if have is not None and have.requested == requested and have.version.ref != version.ref:
        _logger.warning("%s means %s by now; the run goes on with %s", requested, version.ref, have.version.ref)
        version = provider.get(have.version.ref.dataset, have.version.ref.selector or "")
    link = Link(role, requested, version, provider.grade(version), now())
    return Wanted(link, provider.manifest(version))


def _linked_run(
    client: MlflowClient,
    started: ActiveRun,
    known: Any,
    asked: Mapping[str, RefLike],
    found: Mapping[str, Wanted | DsverError],
    policy: settings.OnError,
) -> LinkedRun:
    datasets, run, unsaid = _link(client, started.info, known, asked, found, policy)
    if run is None:
        run = started
    return LinkedRun(run, datasets, _say_now(client, started.info.run_id, unsaid))


def _link(
    client: MlflowClient,
    info: Any,
    known: Any,
    asked: Mapping[str, RefLike],
    found: Mapping[str, Wanted | DsverError],
    policy: settings.OnError,
) -> tuple[dict[str, LinkedDataset], Any, dict[str, str]]:
    """Record what was found. Gives the datasets, the run as it stands if it was read, and tags telling of errors."""
    wanted = [each for each in found.values() if isinstance(each, Wanted)]
    tags = {record.key(role, "error"): record.error_text(e) for role, e in found.items() if isinstance(e, DsverError)}
    written, failure = None, None
    if wanted:
        until = bounded.deadline()
        try:
            written = bounded.within(
                client,
                until,
                f"link run {info.run_id}",
                lambda: writing.write(client, info, known, wanted, until),
            )
        except InputConflict:
            raise
        except DsverError as error:
            tags[record.ERROR_TAG] = record.error_text(error)
            if policy == "raise":
                with suppress(DsverError):
                    say(client, info.run_id, tags)
                raise
            failure = error
    for key, text in tags.items():
        _logger.warning("run %s, %s: %s", info.run_id, key, text)
    digests = written.digests if written else {}
    datasets = {
        role: LinkedDataset(role, as_written(asked[role]), each.link, failure, digests.get(role))
        if isinstance(each, Wanted)
        else LinkedDataset(role, as_written(asked[role]), None, each)
        for role, each in found.items()
    }
    return datasets, written.run if written else None, tags


def _say_now(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Put tags on the run; gives back those that could not be put there."""
    if not tags:
        return {}
    try:
        say(client, run_id, tags)
    except DsverError as error:
        _logger.warning("run %s: its tags cannot be written now: %s", run_id, one_line(error))
        return dict(tags)
    return {}
