"""`mlflow-dsver clarifai …`: datasets, filters, exports, counts, and versions with the service's own fields.

`mlflow-dsver versions` has the common operations of all providers. `--json` writes the service's responses unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import LATEST, DatasetRef, parse, tag_list
from mlflow_dsver.providers.clarifai.info import FORMAT_NAMES
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option, read_metadata
from mlflow_dsver.terminal.services import Services, pass_services
from mlflow_dsver.text import human_bytes

if TYPE_CHECKING:
    from mlflow_dsver.providers.clarifai.client import Client
    from mlflow_dsver.providers.clarifai.info import DatasetPlace
    from mlflow_dsver.providers.clarifai.models import DatasetVersion, Model
    from mlflow_dsver.providers.clarifai.provider import ClarifaiProvider

VISIBILITIES = ("private", "org", "public")
ORIGINS = ("manual", "training", "eval-ground-truth", "eval-predictions")


@click.group()
def clarifai() -> None:
    """Clarifai: datasets, annotation filters, versions, exports and counts.

    The key is read from CLARIFAI_PAT or CLARIFAI_API_KEY, user and app from CLARIFAI_USER_ID and CLARIFAI_APP_ID, or
    all of them from the current context of Clarifai's own tools.

    \b
    Examples:
      mlflow-dsver clarifai datasets
      mlflow-dsver clarifai snapshot clarifai://me/app/cats --filter checked-labels
      mlflow-dsver clarifai export clarifai://me/app/cats@latest --format coco
    """


@clarifai.command()
@click.option("--create", metavar="ID", help="Create a dataset with this id instead.")
@click.option("--delete", metavar="ID", help="Delete the dataset with this id instead.")
@click.option("--yes", is_flag=True, help="Confirm the deletion.")
@json_option
def datasets(create: str | None, delete: str | None, yes: bool, as_json: bool) -> None:
    """List the datasets of the app in the settings; create or delete one.

    \b
    Examples:
      mlflow-dsver clarifai datasets
      mlflow-dsver clarifai datasets --create cats
      mlflow-dsver clarifai datasets --delete cats --yes
    """
    if delete and not yes:
        raise click.UsageError("Nothing was deleted: give --yes.")
    with _client() as client:
        if delete:
            client.delete_datasets([delete])
            emit(as_json, {"deleted": delete}, render.line(f"deleted {render.cell(delete)}"))
            return
        found = client.post_datasets([{"id": create}]) if create else list(client.datasets())
    rows = ((each.id, each.user_id, each.app_id, each.created_at, each.description) for each in found)
    emit(as_json, _raw(found), render.table("ID USER APP CREATED DESCRIPTION", rows, empty="no datasets"))


@clarifai.command()
@json_option
def filters(as_json: bool) -> None:
    """List the annotation filters of the app in the settings.

    \b
    Examples:
      mlflow-dsver clarifai filters --json
    """
    with _client() as client:
        found = list(client.annotation_filters())
    rows = ((each.id, json.dumps(each.search) if each.search else None) for each in found)
    emit(as_json, _raw(found), render.table("ID SEARCH", rows, empty="no annotation filters"))


@clarifai.command()
@click.argument("dataset")
@click.option("--message", "-m", help="What this version is, in a sentence.")
@click.option("--tag", "tags", multiple=True, help="A name that moves to this version; may be repeated.")
@click.option("--filter", "annotation_filter", help="Id of the annotation filter to apply.")
@click.option("--ignore-empty-inputs", is_flag=True, help="Leave out inputs without annotations.")
@click.option("--metadata", help="A JSON object to keep with the version.")
@click.option("--id", "version_id", help="Id of the new version; random by default.")
@click.option("--visibility", type=click.Choice(VISIBILITIES), help="Who may see it; Clarifai's default otherwise.")
@json_option
@pass_services
def snapshot(
    services: Services,
    dataset: str,
    message: str | None,
    tags: tuple[str, ...],
    annotation_filter: str | None,
    ignore_empty_inputs: bool,
    metadata: str | None,
    version_id: str | None,
    visibility: str | None,
    as_json: bool,
) -> None:
    """Create a version of a dataset's current inputs, with a filter, and wait until it is ready.

    \b
    Examples:
      mlflow-dsver clarifai snapshot clarifai://me/app/cats --filter checked-labels --tag checked
      mlflow-dsver clarifai snapshot cats --id round-3 --visibility private --metadata '{"round": 3}'
    """
    version = _provider().create(
        _ref(dataset).dataset,
        message=message,
        tags=tuple(tag for text in tags for tag in tag_list(text)),
        metadata=read_metadata(metadata),
        annotation_filter=annotation_filter,
        ignore_empty_inputs=ignore_empty_inputs,
        version_id=version_id,
        visibility=visibility,
    )
    services.forget(version.ref)
    emit(as_json, version.to_json(), render.version(version))


@clarifai.command()
@click.argument("reference")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMAT_NAMES),
    default="json",
    help="Format of the records; json by default.",
)
@json_option
def export(reference: str, format_: str, as_json: bool) -> None:
    """Request the export of a version, and show the size of the archive (records, no media).

    `versions materialise` downloads and unpacks it.

    \b
    Examples:
      mlflow-dsver clarifai export clarifai://me/app/cats@latest --format protobuf
    """
    from mlflow_dsver.providers.clarifai.provider import FORMATS

    provider = _provider()
    version = provider.resolve(_ref(reference))
    archive = provider.export(version, FORMATS[format_])
    shown = render.fields(reference=version.ref, format=format_, archive=human_bytes(archive.size))
    emit(as_json, {"reference": str(version.ref), "format": format_, "archive_bytes": archive.size}, shown)


@clarifai.command()
@click.argument("reference")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of groups.")
@json_option
def metrics(reference: str, limit: int | None, as_json: bool) -> None:
    """Show the numbers of inputs, regions and so on in each part of a version.

    The list is empty until Clarifai has computed them.

    \b
    Examples:
      mlflow-dsver clarifai metrics clarifai://me/app/cats@latest
    """
    from mlflow_dsver.providers.clarifai.models import counts

    provider = _provider()
    version = provider.find(_ref(reference))
    found = list(islice(provider.metrics(version), limit))
    rows = ((each.parent_path, each.type, each.value, _counted(counts(each.metrics))) for each in found)
    emit(as_json, _raw(found), render.table("PATH TYPE VALUE COUNTS", rows, empty="no counts, or not counted yet"))


@clarifai.group("versions")
def raw_versions() -> None:
    """List, show and delete the service's own versions of a dataset, in any state.

    \b
    Examples:
      mlflow-dsver clarifai versions list cats
      mlflow-dsver clarifai versions show clarifai://me/app/cats@v3
    """


@raw_versions.command("list")
@click.argument("dataset")
@click.option("--page", type=click.IntRange(min=1), help="Only this page; all pages by default.")
@click.option("--per-page", type=click.IntRange(1, 1000), help="Versions per page, with --page; 128 by default.")
@click.option(
    "--origin",
    "origins",
    type=click.Choice(ORIGINS),
    multiple=True,
    help="Only versions of this origin; all by default.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of versions.")
@json_option
def list_versions(
    dataset: str, page: int | None, per_page: int | None, origins: tuple[str, ...], limit: int | None, as_json: bool
) -> None:
    """List a dataset's versions with their status, in the service's order.

    \b
    Examples:
      mlflow-dsver clarifai versions list cats
      mlflow-dsver clarifai versions list cats --origin training --limit 10
      mlflow-dsver clarifai versions list cats --page 2 --per-page 50 --json
    """
    if per_page is not None and page is None:
        raise click.UsageError("--per-page is for one page: give --page as well.")
    names = [origin.replace("-", "_").upper() for origin in origins]
    client, place = _client_of(_ref(dataset))
    with client:
        if page is None:
            found = list(islice(client.dataset_versions(place.dataset, names), limit))
        else:
            found = client.dataset_versions_page(place.dataset, page, per_page or 128, names)[:limit]
    rows = ((each.id, _status(each), each.created_at, _origin(each), each.description) for each in found)
    emit(as_json, _raw(found), render.table("ID STATUS CREATED ORIGIN DESCRIPTION", rows, empty="no versions"))


@raw_versions.command("show")
@click.argument("reference")
@json_option
def show_version(reference: str, as_json: bool) -> None:
    """Show a version in any state, with the service's own fields. REFERENCE has the version's id.

    \b
    Examples:
      mlflow-dsver clarifai versions show clarifai://me/app/cats@v3 --json
    """
    ref, version = _named(reference)
    client, place = _client_of(ref)
    with client:
        found = client.get_dataset_version(place.dataset, version)
    values = {name: getattr(found, name) for name in type(found).model_fields if name not in ("status", "metrics")}
    shown = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items() if value}
    shown["request_origin"] = _origin(found)
    emit(as_json, dict(found.raw), render.fields(status=_status(found), **shown, counts=_counted(found.counts())))


@raw_versions.command("delete")
@click.argument("reference")
@click.option("--yes", is_flag=True, required=True, help="Confirm the deletion.")
@json_option
@pass_services
def delete_version(services: Services, reference: str, yes: bool, as_json: bool) -> None:
    """Delete a version in any state. REFERENCE has the version's id; the JSON is the service's response.

    \b
    Examples:
      mlflow-dsver clarifai versions delete clarifai://me/app/cats@v3 --yes
    """
    ref, version = _named(reference)
    client, place = _client_of(ref)
    with client:
        response = client.delete_dataset_versions(place.dataset, [version])
    services.forget(ref)
    emit(as_json, response, render.line(f"deleted {render.cell(ref)}"))


def _client() -> Client:
    from mlflow_dsver.providers.clarifai.client import Client
    from mlflow_dsver.providers.clarifai.info import account

    settings = account()
    place = settings.place("any")
    return Client(settings, place.user, place.app)


def _client_of(ref: DatasetRef) -> tuple[Client, DatasetPlace]:
    """A client for the app of a dataset, and the dataset's user, app and id."""
    from mlflow_dsver.providers.clarifai.client import Client
    from mlflow_dsver.providers.clarifai.info import account

    settings = account()
    place = settings.place(ref.dataset)
    return Client(settings, place.user, place.app, reference=ref), place


def _provider() -> ClarifaiProvider:
    from mlflow_dsver.providers.clarifai import ClarifaiProvider

    return ClarifaiProvider()


def _ref(text: str) -> DatasetRef:
    """The reference of a dataset or version at Clarifai, with or without `clarifai://`."""
    ref = parse(text if "://" in text else f"clarifai://{text}")
    if ref.provider != "clarifai":
        raise click.UsageError(f"{render.cell(text)} is no dataset at Clarifai.")
    return ref


def _named(reference: str) -> tuple[DatasetRef, str]:
    """A reference with a version's id, and that id. Raises InvalidReference without one."""
    ref = _ref(reference)
    if ref.selector in (None, LATEST):
        raise InvalidReference(
            "names no version by its id", reference=ref, expected=str(ref.at("id")), tip="clarifai versions list"
        )
    assert ref.selector is not None
    return ref, ref.selector


def _status(version: DatasetVersion) -> str:
    """`64010 in progress, 40 %`, and the service's details if there are any."""
    from mlflow_dsver.providers.clarifai.convert import state

    status = version.status
    if status is None:
        return state(None)
    percent = f", {status.percent_completed} %" if status.percent_completed else ""
    return " ".join(part for part in (str(status.code), state(status.code) + percent, status.details) if part)


def _origin(version: DatasetVersion) -> object:
    from mlflow_dsver.providers.clarifai.models import ORIGIN_NAMES

    names = {number: name.replace("_", "-").lower() for name, number in ORIGIN_NAMES.items()}
    origin = version.request_origin
    return names.get(origin, origin) if isinstance(origin, int) else origin


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{name.removesuffix('_count')} {count:,}" for name, count in found.items() if count)


def _raw(found: Iterable[Model]) -> dict[str, object]:
    return {"items": [dict(each.raw) for each in found]}
