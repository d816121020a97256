"""`mlflow-dsver versions …`: create, show, change and check out versions of datasets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from mlflow_dsver import plugins, settings
from mlflow_dsver.content.progress import terminal
from mlflow_dsver.errors import DsverError, InvalidArgument, InvalidReference, NotFound, TrackingError, Unsupported
from mlflow_dsver.model.new_versions import NewVersion
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.plugins import FolderReference
from mlflow_dsver.providers.interface import Capability, Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution.creation import create as new_version
from mlflow_dsver.resolution.resolution_cache import invalidate
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option, read_metadata
from mlflow_dsver.terminal.services import COUNTED, Services, Users, pass_services
from mlflow_dsver.text import error_line, one_line

LOCAL = "local"
REACH_SECONDS = 10.0
"""Seconds to wait for the tracking server before a deletion."""


@click.group()
def versions() -> None:
    """Create, show, change and check out versions of datasets.

    \b
    Examples:
      mlflow-dsver versions create local://digits data/digits --message "first labels" --tag raw
      mlflow-dsver versions list local://digits
      mlflow-dsver versions materialise local://digits@raw copy-of-digits
    """


@versions.command("list")
@click.argument("reference", required=False)
@click.option("--tag", help="Only versions with this tag.")
@click.option("--limit", type=click.IntRange(min=1), help="At most that many, the newest first.")
@json_option
def list_versions(reference: str | None, tag: str | None, limit: int | None, as_json: bool) -> None:
    """List a dataset's versions, newest first.

    Without REFERENCE, the versions of every local dataset.

    \b
    Examples:
      mlflow-dsver versions list
      mlflow-dsver versions list local://digits --tag clean
      mlflow-dsver versions list local://digits --limit 1 --json
    """
    found = list(islice(_listed(reference, tag), limit))
    emit(as_json, {"versions": [each.to_json() for each in found]}, render.versions(found))


@versions.command()
@click.argument("reference")
@json_option
def show(reference: str, as_json: bool) -> None:
    """Show all fields of a version.

    \b
    Examples:
      mlflow-dsver versions show local://digits@latest
      mlflow-dsver versions show local://digits@clean --json
    """
    version = _found(reference)[1]
    emit(as_json, version.to_json(), render.version(version))


@versions.command()
@click.argument("reference_or_path")
@json_option
def resolve(reference_or_path: str, as_json: bool) -> int:
    """Show the version that a reference means now, or which references name a folder or file.

    Of a path inside a checkout of git or DVC, a table, or a cache of Hugging Face, each provider that knows it says
    which reference it is, and what differs from that version. Nothing is fetched.

    Exit code: 0 resolved, 1 what is at the path differs, 2 no such version, or nothing names the path.

    \b
    Examples:
      mlflow-dsver versions resolve local://digits@clean
      mlflow-dsver versions resolve data/digits
      mlflow-dsver versions resolve ./data/digits --json
    """
    if "://" in reference_or_path:
        version = _resolve(reference_or_path)[1]
        emit(as_json, version.to_json(), render.line(render.cell(version.ref)))
        return 0
    path = Path(reference_or_path).expanduser().absolute()
    found = names_of(path)
    if not found:
        raise NotFound(
            "no provider knows this path",
            operation="resolve",
            got=path,
            tip=f"mlflow-dsver versions create local://NAME {one_line(path, 200)}",
        )
    data = [{"provider": name, "reference": each.reference, "differs": each.differs} for name, each in found]
    emit(as_json, {"path": str(path), "references": data}, *(render.line(each.reference) for _, each in found))
    for _, each in found:
        if each.differs is not None and not as_json:
            click.echo(f"{each.reference}: {one_line(each.differs, 500)}", err=True)
    return 1 if all(each.differs for _, each in found) else 0


def names_of(path: Path) -> list[tuple[str, FolderReference]]:
    """The references that name a folder or file, with their provider. Raises InvalidArgument when there is none."""
    if not path.exists():
        raise InvalidArgument("no such file or folder", got=path, expected="a path, or a reference with ://")
    found = []
    for name, info in plugins.provider_infos().items():
        named = plugins.load(info.folder_reference)(path) if info.folder_reference else None
        if named is not None:
            found.append((name, named))
    return found


@versions.command()
@click.argument("reference")
@click.argument("folder", type=click.Path(), required=False)
@click.option("--message", "-m", help="What this version is, in a sentence.")
@click.option("--tag", "tags", multiple=True, help="A name that moves to this version; may be repeated.")
@click.option("--metadata", help="A JSON object to keep with the version.")
@click.option("--reference", "by_reference", is_flag=True, help="Record the files' digests; leave the bytes there.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="What this provider takes beside these."
)
@json_option
def create(
    reference: str,
    folder: str | None,
    message: str | None,
    tags: tuple[str, ...],
    metadata: str | None,
    by_reference: bool,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create a version from the files in FOLDER, or of another provider's version.

    The same content results in the same version. Of a bucket (s3://bucket/prefix, without FOLDER) it takes a
    snapshot: which objects are there now.

    \b
    Examples:
      mlflow-dsver versions create local://digits data/digits --message "relabelled 7s" --tag clean
      mlflow-dsver versions create s3://bucket/cats --tag round-3
      mlflow-dsver versions create local://cats s3://bucket/cats --reference
      mlflow-dsver versions create local://digits data/digits --metadata '{"round": 3}'
      mlflow-dsver versions create local://huge /mnt/huge --reference
      mlflow-dsver versions create service://cats --tag round-3 --option commit=no
    """
    given = dict(_option(each) for each in options)
    dataset = _dataset(reference)[1]
    version = new_version(NewVersion(dataset, folder, message, tags, read_metadata(metadata), by_reference, given))
    emit(as_json, version.to_json(), render.version(version))


@versions.command()
@click.argument("reference")
@click.option("--message", "-m", help="The new message.")
@click.option("--metadata", help="A JSON object that takes the former one's place.")
@json_option
def update(reference: str, message: str | None, metadata: str | None, as_json: bool) -> None:
    """Change a version's message or metadata.

    Its content never changes.

    \b
    Examples:
      mlflow-dsver versions update local://digits@clean --message "relabelled by two people"
      mlflow-dsver versions update local://digits@clean --metadata '{"round": 4}'
    """
    if message is None and metadata is None:
        raise click.UsageError("Nothing to change: give --message or --metadata.")
    provider, version = _found(reference)
    changed = provider.update(version, message=message, metadata=read_metadata(metadata))
    emit(as_json, changed.to_json(), render.version(changed))


@versions.command()
@click.argument("reference")
@click.argument("tags", nargs=-1)
@click.option("--remove", multiple=True, help="A tag to remove; may be repeated.")
@json_option
def tag(reference: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> None:
    """Add tags to a version, or remove them.

    A tag of another version moves to this one.

    \b
    Examples:
      mlflow-dsver versions tag local://digits@latest clean
      mlflow-dsver versions tag local://digits@clean --remove clean
    """
    if not tags and not remove:
        raise click.UsageError("Nothing to change: give tags, or --remove.")
    provider, version = _found(reference)
    changed = provider.update(version, add_tags=tags, remove_tags=remove)
    invalidate(version.ref)
    emit(as_json, changed.to_json(), render.version(changed))


@versions.command()
@click.argument("reference")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_services
def delete(services: Services, reference: str, yes: bool, as_json: bool) -> None:
    """Delete a version.

    Before that, the runs that use it are shown. They keep their record; the files can no longer be checked out.
    REFERENCE has an id, a tag or latest.

    \b
    Examples:
      mlflow-dsver versions delete local://digits@3f9c2a7d11e05b64
      mlflow-dsver versions delete local://digits@raw --yes
    """
    if parse(reference).selector is None:
        raise InvalidReference("say which version to delete", reference=reference, tip=f"{reference}@latest")
    provider, version = _found(reference)
    users = services.confirm_deletion(version.ref, version.message or "", yes=yes)
    provider.delete(version)
    invalidate(version.ref)
    result = {"deleted": str(version.ref), **users.to_json()}
    emit(as_json, result, render.line(f"deleted {render.cell(version.ref)}"))


@versions.command()
@click.argument("reference")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def materialise(reference: str, folder: Path, as_json: bool) -> None:
    """Check out a version's files to a folder.

    FOLDER must be new or empty. Each file is compared with its digest; on any failure, nothing is written.

    \b
    Examples:
      mlflow-dsver versions materialise local://digits@clean digits-clean
    """
    provider, version = _resolve(reference)
    with terminal(f"writing {folder}") as provider.progress:
        provider.materialise(version, folder)
    line = render.line(f"{render.cell(version.ref)} is in {render.cell(folder)}")
    emit(as_json, {"reference": str(version.ref), "folder": str(folder.absolute())}, line)


@versions.command()
@click.argument("reference")
@json_option
def files(reference: str, as_json: bool) -> None:
    """List a version's files.

    The columns are size, the beginning of the BLAKE3 digest, and path. The JSON has whole digests.

    \b
    Examples:
      mlflow-dsver versions files local://digits@clean
      mlflow-dsver versions files local://digits@clean --json
    """
    provider, version = _resolve(reference)
    manifest = provider.manifest(version)
    if manifest is None:
        raise Unsupported("does not know the files of this version", reference=version.ref, provider=provider.name)
    data = {
        "reference": str(version.ref),
        "content_digest": manifest.digest,
        "files": [entry.to_json() for entry in manifest.entries] if as_json else [],
    }
    emit(as_json, data, render.files(manifest))


COMMANDS = (versions,)


def users_of(ref: DatasetRef) -> Users:
    """Runs that use a version, or any version of a dataset, as far as MLflow reports them."""
    try:
        from mlflow_dsver.tracking.clients import exists, health
        from mlflow_dsver.tracking.history import recorded_uses

        if not exists():
            return Users()
        tracking = health(settings.seconds("TRACKING_TIMEOUT", REACH_SECONDS))
        if not tracking.ok:
            raise TrackingError(tracking.summary)
        runs: dict[str, None] = {}
        for use in recorded_uses(ref):
            runs[use.run_id] = None
            if len(runs) > COUNTED:
                break
        models = _models_of(ref) if ref.selector is not None else ()
    except DsverError as error:
        return Users(unchecked=one_line(error, 300))
    except Exception as error:  # noqa: BLE001  (MLflow missing or broken must not keep anybody from deleting)
        return Users(unchecked=error_line(error, 300))
    return Users(tuple(runs)[:COUNTED], len(runs) > COUNTED, models=models)


def _models_of(ref: DatasetRef) -> tuple[str, ...]:
    from mlflow_dsver.tracking.registered_models import recorded_models

    uses = islice((use.model for use in recorded_models(ref) if use.model.version), COUNTED)
    return tuple(f"{one_line(model.name, 80)} version {model.version}" for model in uses)


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidArgument("--option", expected="NAME=VALUE", got=f"'{one_line(text, 80)}'")
    return name, value


def _dataset(reference: str) -> tuple[Provider, DatasetRef]:
    """The provider and a reference to a dataset as a whole."""
    ref = parse(reference)
    if ref.selector is not None:
        raise InvalidReference(
            "this names one version; a dataset as a whole is meant here", reference=ref, tip=str(ref.at(None))
        )
    return get_provider(ref.provider), ref


def _found(reference: str) -> tuple[Provider, DatasetVersion]:
    """The version that the reference names, in any state."""
    ref = parse(reference)
    provider = get_provider(ref.provider)
    return provider, provider.find(ref)


def _resolve(reference: str) -> tuple[Provider, DatasetVersion]:
    """The version that the reference resolves to for a run, ready to use."""
    ref = parse(reference)
    provider = get_provider(ref.provider)
    return provider, provider.resolve(ref)


def _listed(reference: str | None, tag: str | None) -> Iterator[DatasetVersion]:
    if reference is not None:
        provider, ref = _dataset(reference)
        yield from provider.versions(ref.dataset, tag=tag)
        return
    provider = get_provider(LOCAL)
    for dataset in provider.datasets() if Capability.DATASETS in provider.capabilities else ():
        yield from provider.versions(dataset, tag=tag)
