"""`mlflow-dsver clarifai …`: what Clarifai has beyond versions: datasets, filters, exports, counts by part.

The family `versions` does the everyday things for all providers. `--json` gives the service's answers as they came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click

from mlflow_dsver.cli import render
from mlflow_dsver.cli.output import emit, json_option, read_metadata
from mlflow_dsver.refs import DatasetRef, parse, tag_list
from mlflow_dsver.resolutions import forget
from mlflow_dsver.text import human_bytes

if TYPE_CHECKING:
    from mlflow_dsver.providers.clarifai.client import Client
    from mlflow_dsver.providers.clarifai.models import Model
    from mlflow_dsver.providers.clarifai.provider import ClarifaiProvider

FORMATS = ("json", "protobuf", "coco")
VISIBILITIES = ("private", "org", "public")


@click.group()
def clarifai() -> None:
    """Clarifai: datasets, annotation filters, exports and counts.

    The key is read from CLARIFAI_PAT or CLARIFAI_API_KEY, user and app from CLARIFAI_USER_ID and CLARIFAI_APP_ID, or
    all of them from the current context of Clarifai's own tools.

    \b
    Examples:
      mlflow-dsver clarifai datasets
      mlflow-dsver clarifai snapshot clarifai://me/app/cats --filter checked-labels
      mlflow-dsver clarifai export clarifai://me/app/cats@latest --format coco
    """


@clarifai.command()
@click.option("--create", metavar="ID", help="Make a dataset of that id, instead.")
@click.option("--delete", metavar="ID", help="Delete the dataset of that id, instead.")
@click.option("--yes", is_flag=True, help="Really delete it.")
@json_option
def datasets(create: str | None, delete: str | None, yes: bool, as_json: bool) -> None:
    """List the datasets of the app in the settings; make or delete one.

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
@click.option("--filter", "annotation_filter", help="Id of the annotation filter that it is made with.")
@click.option("--ignore-empty-inputs", is_flag=True, help="Leave out inputs without annotations.")
@click.option("--metadata", help="A JSON object to keep with the version.")
@click.option("--id", "version_id", help="The id that the version gets; a random one by default.")
@click.option("--visibility", type=click.Choice(VISIBILITIES), help="Who may see it; Clarifai's default otherwise.")
@json_option
def snapshot(
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
    """Make a version of what a dataset holds now, with an annotation filter, and wait until it is ready.

    \b
    Examples:
      mlflow-dsver clarifai snapshot clarifai://me/app/cats --filter checked-labels --tag checked
      mlflow-dsver clarifai snapshot cats --id round-3 --visibility private --metadata '{"round": 3}'
    """
    made = _provider().create(
        _ref(dataset).dataset,
        message=message,
        tags=tuple(tag for text in tags for tag in tag_list(text)),
        metadata=read_metadata(metadata),
        annotation_filter=annotation_filter,
        ignore_empty_inputs=ignore_empty_inputs,
        version_id=version_id,
        visibility=visibility,
    )
    forget(made.ref)
    emit(as_json, made.to_json(), render.version(made))


@clarifai.command()
@click.argument("reference")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="json", help="Of the records; json.")
@json_option
def export(reference: str, format_: str, as_json: bool) -> None:
    """Have a version exported, and show how large the archive is; it holds records, not the media.

    `versions materialise` fetches and unpacks it.

    \b
    Examples:
      mlflow-dsver clarifai export clarifai://me/app/cats@latest --format protobuf
    """
    from mlflow_dsver.providers.clarifai.provider import FORMATS as FORMAT_OF

    provider = _provider()
    version = provider.resolve(_ref(reference))
    made = provider.export(version, FORMAT_OF[format_])
    shown = render.fields(reference=version.ref, format=format_, archive=human_bytes(made.size))
    emit(as_json, {"reference": str(version.ref), "format": format_, "archive_bytes": made.size}, shown)


@clarifai.command()
@click.argument("reference")
@click.option("--limit", type=click.IntRange(min=1), help="At most that many groups.")
@json_option
def metrics(reference: str, limit: int | None, as_json: bool) -> None:
    """Show how many inputs, regions and so on each part of a version has; nothing while Clarifai still counts.

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


COMMANDS = (clarifai,)


def _client() -> Client:
    from mlflow_dsver.providers.clarifai.accounts import account
    from mlflow_dsver.providers.clarifai.client import Client

    signed = account()
    place = signed.place("any")
    return Client(signed, place.user, place.app)


def _provider() -> ClarifaiProvider:
    from mlflow_dsver.providers.clarifai import ClarifaiProvider

    return ClarifaiProvider()


def _ref(text: str) -> DatasetRef:
    """A reference of Clarifai, `clarifai://` before it or not."""
    ref = parse(text if "://" in text else f"clarifai://{text}")
    if ref.provider != "clarifai":
        raise click.UsageError(f"{render.cell(text)} is no dataset at Clarifai.")
    return ref


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{name.removesuffix('_count')} {count:,}" for name, count in found.items() if count)


def _raw(found: Iterable[Model]) -> dict[str, object]:
    return {"items": [dict(each.raw) for each in found]}
