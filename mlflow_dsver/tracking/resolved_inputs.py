"""Resolves the inputs of a run before it starts: roles and versions, conflicts, the lock file, overlaps.

The reference of a role is that of MLFLOW_DSVER_OVERRIDE, else the script's, else that of MLFLOW_DSVER_INPUTS. What
cannot be resolved is an error under the policy `raise`; under the others it is kept in `failed`, and becomes a tag of
the run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from mlflow import MlflowClient

from mlflow_dsver import settings
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import DsverError, InputConflict, InvalidReference, LockConflict, NotFound
from mlflow_dsver.model.new_versions import NewVersion
from mlflow_dsver.model.refs import DatasetRef, check_role
from mlflow_dsver.model.versions import DatasetVersion, Link, now, this_host
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record import reader
from mlflow_dsver.resolution import inputs as outside
from mlflow_dsver.resolution import lock_file, resolver
from mlflow_dsver.resolution.resolver import Resolution, provider_deadline, within_timeout
from mlflow_dsver.resolution.version_files import InputLike, RefLike, as_written, manifest_of, parse_input
from mlflow_dsver.tracking import clients, parent_inputs, record_writer
from mlflow_dsver.tracking.record_writer import PendingLink
from mlflow_dsver.tracking.run_hooks import check_overlaps, overlaps_are_refused

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResolvedInputs:
    """The inputs of a run, resolved.

    references: by role, as configured. pending: role to link and manifest. failed: role to why it
    could not be resolved, or its files not be listed.
    offline: roles whose provider could not be reached. known: the run as it stands, when it is resumed; None for a
    new one. refused: why nothing of it can be linked; None when something can. parent: the run whose versions these
    all are; None when one of them is the run's own. params: how much of a link becomes params of the run.
    """

    policy: settings.OnError
    references: Mapping[str, InputLike] = field(default_factory=dict)
    pending: Mapping[str, PendingLink] = field(default_factory=dict)
    failed: Mapping[str, DsverError] = field(default_factory=dict)
    offline: tuple[str, ...] = ()
    known: Any = None
    refused: DsverError | None = None
    parent: str | None = None
    params: settings.LoggedParams = "full"

    @property
    def links(self) -> dict[str, Link]:
        """Role to link."""
        return {role: each.link for role, each in self.pending.items()}

    def below(self, parent: str | None, links: Mapping[str, Link]) -> ResolvedInputs:
        """The same, with the parent run if all versions are the parent's in the same roles."""
        versions = {role: link.version.ref for role, link in links.items()}
        ours = {role: each.link.version.ref for role, each in self.pending.items()}
        return replace(self, parent=parent) if ours == versions else self

    def with_changes(self, changes: Mapping[str, str]) -> ResolvedInputs:
        """The same, with what changed in the files of these roles."""
        pending = {role: replace(each, changes=changes.get(role)) for role, each in self.pending.items()}
        return replace(self, pending=pending)

    def with_files(self) -> ResolvedInputs:
        """The same with the manifests, which need not be known before training starts.

        A link can do without one: that it cannot be read is among the failures then, and the run will say so.
        """
        pending, failed = dict(self.pending), dict(self.failed)
        for role, each in self.pending.items():
            if each.manifest is None:
                try:
                    pending[role] = replace(each, manifest=manifest_of(each.link.version))
                except DsverError as error:
                    if role not in self.offline:
                        failed[role] = error
        return replace(self, pending=pending, failed=failed)


def roles(script: Mapping[str, InputLike]) -> dict[str, InputLike]:
    """The script's inputs, each role and reference well formed. Raises InvalidReference."""
    return {check_role(role): parse_input(ref) for role, ref in script.items()}


def resumed(arguments: Mapping[str, Any]) -> str | None:
    """The run that `mlflow.start_run` will resume with these arguments; None for a new one."""
    return arguments.get("run_id") or settings.text("MLFLOW_RUN_ID")


def logged_params(default: settings.LoggedParams = "full") -> settings.LoggedParams:
    """How much of a link is logged as params of its run: the setting PARAMS. Raises SettingsError."""
    return cast(settings.LoggedParams, settings.choice("PARAMS", get_args(settings.LoggedParams), default))


def resolve_inputs(
    client: MlflowClient,
    script: Mapping[str, InputLike],
    policy: settings.OnError,
    *,
    arguments: Mapping[str, Any],
    run_id: str | None = None,
    reuse: bool = False,
    as_parent: bool = False,
) -> ResolvedInputs:
    """Resolve the inputs of a run that is about to start. Raises as the policy says, and conflicts under each.

    arguments: those of `mlflow.start_run`, or of `MlflowClient.create_run`. run_id: the run that is resumed; None for
    a new one. reuse: earlier resolutions of this process are used; see `resolver`. as_parent: the run has all inputs
    of its parent, whatever is configured for these roles.
    """
    reading = clients.reading(client, run_id) if run_id else None
    until = clients.deadline()
    parent = parent_inputs.parent_links(client, arguments)
    inherited = {role: link.requested for role, link in parent.items()} if as_parent else {}
    references = roles({**outside.configured_inputs(), **script, **inherited})
    known = reading.result(until) if reading is not None else None
    found = resolve_roles(references, policy, known=known, parent_links=parent, reuse=reuse)
    return found if known is not None else found.below(parent_inputs.parent_of(arguments), parent)


def resolve_roles(
    references: Mapping[str, InputLike],
    policy: settings.OnError,
    *,
    known: Any = None,
    parent_links: Mapping[str, Link] | None = None,
    reuse: bool = False,
    unconditional: bool = False,
    own: Mapping[str, Link] | None = None,
) -> ResolvedInputs:
    """Resolve the references of these roles for a run.

    known: the run as it is, None for unknown. parent_links: of its parent, by role. unconditional: neither overrides
    nor the lock file apply, as no run is about to train. own: the run's links as this process remembers them, where
    the run was not read. New versions are made last, when everything else has succeeded.
    """
    frozen = not unconditional and settings.switch("FROZEN", default=False)
    overrides = {} if unconditional else roles(outside.configured_overrides())
    pending, failed, offline = {}, {}, []
    final = {role: overrides.get(role, original) for role, original in references.items()}
    if frozen:
        _refuse_new(final)
    until = provider_deadline()
    on_record = reader.links_of(known) if known is not None else own or {}
    for role in sorted(final, key=lambda each: isinstance(final[each], NewVersion)):
        ref, original, have = final[role], references[role], on_record.get(role)
        replaced = as_written(original) if as_written(ref) != as_written(original) else None
        try:
            if isinstance(ref, NewVersion):
                found = _new(role, ref, have, parent_links, reuse=reuse)
            else:
                found = _resolve(ref, have, until, policy=policy, parent_links=parent_links, reuse=reuse)
            pending[role] = _pending_link(role, ref, found, have if known is not None else None, replaced, until)
            if found.offline:
                offline.append(role)
        except InvalidReference:
            raise
        except DsverError as error:
            if policy == "raise" or frozen:
                raise
            if have is not None and as_written(ref) in (have.requested, str(have.version.ref)):
                _logger.warning("%s cannot be resolved now; the run goes on with %s: %s", ref, have.version, error)
                pending[role] = PendingLink(have)
            else:
                failed[role] = error
    if frozen:
        lock_file.refuse_moved(
            {role: as_written(ref) for role, ref in final.items()},
            {role: each.link.version for role, each in pending.items()},
        )
    if known is not None:
        record_writer.refuse_conflicts(known, [each.link for each in pending.values()])
    pending = {role: pending[role] for role in final if role in pending}
    resolved = ResolvedInputs(policy, final, pending, failed, tuple(offline), known, params=logged_params())
    if len(pending) > 1 and overlaps_are_refused():
        resolved = resolved.with_files()
        for role in resolved.failed.keys() - failed.keys():
            raise resolved.failed[role]  # the policy is `raise`: overlaps cannot be ruled out
        check_overlaps(resolved.pending)
    return resolved


def _refuse_new(final: Mapping[str, InputLike]) -> None:
    new = {role: ref for role, ref in final.items() if isinstance(ref, NewVersion)}
    if new:
        raise LockConflict(
            "asks for a new version, and frozen mode takes only those in dsver.lock",
            roles=tuple(sorted(new)),
            reference=next(iter(new.values())).dataset,
            done="No version was made",
        )


def _new(
    role: str, new: NewVersion, have: Link | None, parent_links: Mapping[str, Link] | None, *, reuse: bool
) -> Resolution:
    """The version that was made for this input before, else a new one. have: the run's recorded link in the role."""
    if have is None:
        return resolver.create_input(new, parent_links=parent_links, reuse=reuse)
    if have.version.ref.at(None) != new.dataset:
        raise InputConflict(
            f"the run has another version in the role {role!r} already",
            reference=new.dataset,
            expected=have.version.ref,
            done="No version was made",
            tip="a new run, or another role",
        )
    return Resolution(have.version)


def _resolve(ref: RefLike, have: Link | None, until: Deadline, **how: Any) -> Resolution:
    """The resolution of a role. have: the run's link in the role. how: arguments of `resolver.resolve_input`.

    A tag may be deleted as it may be moved: a run that is resumed with the same words goes on with the version that
    it has. Raises NotFound when that version is gone.
    """
    try:
        return resolver.resolve_input(ref, until=until, **how)
    except NotFound as error:
        if have is None or as_written(ref) != have.requested or have.requested == str(have.version.ref):
            raise
        version = _recorded_version(have, until)
        _logger.warning("%s means nothing any more; the run goes on with %s: %s", ref, version.ref, error)
        return Resolution(version)


def _recorded_version(have: Link, until: Deadline) -> DatasetVersion:
    """The recorded version, as its provider describes it now."""
    provider = get_provider(have.version.ref.provider)

    def get(ref: DatasetRef) -> DatasetVersion:
        return provider.get(ref.dataset, ref.selector or "")

    return within_timeout(provider, have.version.ref, get, until)


def _pending_link(
    role: str, ref: InputLike, found: Resolution, have: Link | None, replaced: str | None, until: Deadline
) -> PendingLink:
    requested, version = as_written(ref), found.version
    created = None
    if isinstance(ref, NewVersion):
        requested, created = str(ref.dataset), str(ref)
        if have is not None:
            return PendingLink(have, overridden=replaced)
    provider = get_provider(version.ref.provider)
    if have is not None and have.requested == requested and have.version.ref != version.ref:
        _logger.warning("%s means %s by now; the run goes on with %s", requested, version.ref, have.version.ref)
        version = _recorded_version(have, until)
    grade = provider.grade(version)
    if found.offline:
        grade = grade.with_notes(resolver.OFFLINE)
    return PendingLink(Link(role, requested, version, grade, now(), created, this_host()), overridden=replaced)
