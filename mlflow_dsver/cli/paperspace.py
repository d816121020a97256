"""`mlflow-dsver paperspace …`: every endpoint of Paperspace's API for datasets and versions, with all it takes.

The family `versions` does the everyday things for all providers; here are commits, datasets, storage, and the
service's own parameters and names. `--json` gives the service's answers as they came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlflow_dsver.cli import render
from mlflow_dsver.cli.output import emit, json_option, read_metadata
from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.refs import DatasetRef, parse
from mlflow_dsver.resolutions import forget
from mlflow_dsver.text import human_bytes

if TYPE_CHECKING:
    from mlflow_dsver.providers.paperspace.client import PaperspaceClient
    from mlflow_dsver.providers.paperspace.models import Model

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def paperspace() -> None:
    """Paperspace: commits, datasets, storage, and the service's own endpoints.

    The key is read from PAPERSPACE_API_KEY, or from the files of Paperspace's own tools.

    \b
    Examples:
      mlflow-dsver paperspace session
      mlflow-dsver paperspace datasets list
      mlflow-dsver paperspace commit paperspace://dst364npcw6ccok@8ngwr2a
    """


@paperspace.command()
@json_option
def session(as_json: bool) -> None:
    """Show whom the key belongs to.

    \b
    Examples:
      mlflow-dsver paperspace session
    """
    with _client() as client:
        found = client.session()
    emit(as_json, found.raw, render.fields(team=found.team.namespace, team_id=found.team.id, user=found.user.id))


@paperspace.command()
@click.argument("reference")
@click.option("--undo", is_flag=True, help="Make it uncommitted again, where the service lets you.")
@json_option
def commit(reference: str, undo: bool, as_json: bool) -> None:
    """Commit a version: its files cannot change any more, and it can be an input of runs.

    \b
    Examples:
      mlflow-dsver paperspace commit paperspace://dst364npcw6ccok@8ngwr2a
    """
    from mlflow_dsver.providers.paperspace import PaperspaceProvider

    dataset, version = _named(reference)
    provider = PaperspaceProvider()
    changed = provider.commit(provider.get(dataset, version), committed=not undo)
    forget(changed.ref)
    emit(as_json, changed.to_json(), render.version(changed))


# Datasets


@paperspace.group()
def datasets() -> None:
    """List, show, create, update and delete datasets.

    \b
    Examples:
      mlflow-dsver paperspace datasets list
      mlflow-dsver paperspace datasets create digits --description "scikit-learn's digits"
    """


def paged(command: Command) -> Command:
    """The options that every listing of the service takes."""
    for option in (
        click.option("--order", type=click.Choice(["asc", "desc"]), help="By date of creation; desc by default."),
        click.option("--order-by", type=click.Choice(["dtCreated"]), help="What to order by."),
        click.option("--page-size", type=click.IntRange(1, 120), help="Entries a page; 120 by default."),
        click.option("--after", help="Begin after this mark of a page."),
        click.option("--limit", type=click.IntRange(min=1), help="At most that many entries."),
    ):
        command = option(command)
    return command


@datasets.command("list")
@click.option("--team", help="Id or namespace of a team.")
@click.option("--privacy", type=click.Choice(["PRIVATE", "PUBLIC"]), help="PRIVATE by default.")
@paged
@json_option
def list_datasets(as_json: bool, limit: int | None, page_size: int | None, **query: Any) -> None:
    """List datasets, newest first.

    \b
    Examples:
      mlflow-dsver paperspace datasets list --order asc
    """
    with _client() as client:
        found = list(islice(client.datasets(limit=page_size, **query), limit))
    rows = ((each.id, each.name, each.dtCreated, each.isPublic, each.description) for each in found)
    emit(as_json, _raw(found), render.table("ID NAME CREATED PUBLIC DESCRIPTION", rows, empty="no datasets"))


@datasets.command("show")
@click.argument("dataset")
@json_option
def show_dataset(dataset: str, as_json: bool) -> None:
    """Show a dataset, given by its id or its name.

    \b
    Examples:
      mlflow-dsver paperspace datasets show dst364npcw6ccok
    """
    with _client() as client:
        _emit_one(as_json, client.dataset(_dataset_id(client, dataset)))


@datasets.command("create")
@click.argument("name")
@click.option("--public", "is_public", is_flag=True, help="Let everybody see it.")
@click.option("--description", help="What it is.")
@click.option("--storage-provider", help="Id of the storage provider to keep it at.")
@json_option
def create_dataset(as_json: bool, **what: Any) -> None:
    """Make a dataset.

    \b
    Examples:
      mlflow-dsver paperspace datasets create digits
    """
    with _client() as client:
        _emit_one(as_json, client.create_dataset(**what))


@datasets.command("update")
@click.argument("dataset")
@click.option("--name", help="A new name.")
@click.option("--description", help="A new description; empty for none.")
@json_option
def update_dataset(dataset: str, name: str | None, description: str | None, as_json: bool) -> None:
    """Change a dataset's name or description.

    \b
    Examples:
      mlflow-dsver paperspace datasets update dst364npcw6ccok --name cats-2026
    """
    if name is None and description is None:
        raise click.UsageError("Nothing to change: give --name or --description.")
    changes: dict[str, Any] = {} if description is None else {"description": description or None}
    with _client() as client:
        _emit_one(as_json, client.update_dataset(_dataset_id(client, dataset), name=name, **changes))


@datasets.command("delete")
@click.argument("dataset")
@click.option("--yes", is_flag=True, required=True, help="Really delete it, and its versions with it.")
@json_option
def delete_dataset(dataset: str, yes: bool, as_json: bool) -> None:
    """Delete a dataset, given by its id.

    \b
    Examples:
      mlflow-dsver paperspace datasets delete dst364npcw6ccok --yes
    """
    with _client() as client:
        client.delete_dataset(dataset)
    emit(as_json, {"deleted": dataset}, render.line(f"deleted {render.cell(dataset)}"))


# Versions, by the service's own parameters


@paperspace.group("versions")
def raw_versions() -> None:
    """The service's own endpoints of dataset versions, with its own parameters.

    \b
    Examples:
      mlflow-dsver paperspace versions list dst364npcw6ccok --tags clean --json
      mlflow-dsver paperspace versions update dst364npcw6ccok:8ngwr2a --committed
    """


@raw_versions.command("list")
@click.argument("dataset")
@click.option("--tags", multiple=True, help="The service's filter; may be repeated.")
@paged
@json_option
def list_versions(
    dataset: str, tags: tuple[str, ...], as_json: bool, limit: int | None, page_size: int | None, **query: Any
) -> None:
    """List a dataset's versions, newest first, uncommitted ones among them.

    \b
    Examples:
      mlflow-dsver paperspace versions list dst364npcw6ccok --limit 5
    """
    with _client() as client:
        listing = client.versions(_dataset_id(client, dataset), tags=tags, limit=page_size, **query)
        found = list(islice(listing, limit))
    rows = (
        (each.version, each.dtCreated, human_bytes(each.usageBytes), each.isCommitted, each.tags, each.message)
        for each in found
    )
    columns = "VERSION CREATED SIZE COMMITTED TAGS MESSAGE"
    emit(as_json, _raw(found), render.table(columns, rows, empty="no versions", right="SIZE"))


@raw_versions.command("show")
@click.argument("reference")
@json_option
def show_version(reference: str, as_json: bool) -> None:
    """Show a version as the service describes it.

    \b
    Examples:
      mlflow-dsver paperspace versions show dst364npcw6ccok:fo5rp4m
    """
    dataset, version = _named(reference)
    with _client() as client:
        _emit_one(as_json, client.version(_dataset_id(client, dataset), version))


@raw_versions.command("create")
@click.argument("dataset")
@click.option("--message", "-m", help="What this version is.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be repeated.")
@click.option("--metadata", help="A JSON object.")
@json_option
def create_version(
    dataset: str, message: str | None, tags: tuple[str, ...], metadata: str | None, as_json: bool
) -> None:
    """Make an empty, uncommitted version.

    \b
    Examples:
      mlflow-dsver paperspace versions create dst364npcw6ccok --message "round 3"
    """
    with _client() as client:
        found = _dataset_id(client, dataset)
        _emit_one(as_json, client.create_version(found, message=message, tags=tags, metadata=read_metadata(metadata)))


@raw_versions.command("update")
@click.argument("reference")
@click.option("--message", "-m", help="A new message.")
@click.option("--tag", "tags", multiple=True, help="A tag that the version shall have; may be repeated.")
@click.option("--no-tags", is_flag=True, help="Take all tags away.")
@click.option("--metadata", help="A JSON object; whether it replaces or joins the former is the service's choice.")
@click.option("--committed/--uncommitted", default=None, help="Whether the version is committed.")
@json_option
def update_version(
    reference: str,
    message: str | None,
    tags: tuple[str, ...],
    no_tags: bool,
    metadata: str | None,
    committed: bool | None,
    as_json: bool,
) -> None:
    """Change a version; what is not given stays. --tag gives all the tags that it shall have.

    \b
    Examples:
      mlflow-dsver paperspace versions update dst364npcw6ccok:8ngwr2a --committed
    """
    wanted = None if not tags and not no_tags else tags
    if message is None and wanted is None and metadata is None and committed is None:
        raise click.UsageError("Nothing to change: give --message, --tag, --no-tags, --metadata or --committed.")
    dataset, version = _named(reference)
    with _client() as client:
        found = _dataset_id(client, dataset)
        changed = client.update_version(
            found, version, message=message, tags=wanted, metadata=read_metadata(metadata), is_committed=committed
        )
        _emit_one(as_json, changed)


@raw_versions.command("delete")
@click.argument("reference")
@click.option("--yes", is_flag=True, required=True, help="Really delete it.")
@json_option
def delete_version(reference: str, yes: bool, as_json: bool) -> None:
    """Delete a version.

    \b
    Examples:
      mlflow-dsver paperspace versions delete dst364npcw6ccok:8ngwr2a --yes
    """
    dataset, version = _named(reference)
    with _client() as client:
        client.delete_version(_dataset_id(client, dataset), version)
    emit(as_json, {"deleted": f"{dataset}:{version}"}, render.line(f"deleted {render.cell(reference)}"))


@paperspace.command()
@click.argument("provider", required=False)
@click.option("--usage", is_flag=True, help="How many bytes the team uses, instead.")
@json_option
def storage(provider: str | None, usage: bool, as_json: bool) -> None:
    """List the team's storage providers, or show one; without their keys.

    \b
    Examples:
      mlflow-dsver paperspace storage
      mlflow-dsver paperspace storage --usage
    """
    with _client() as client:
        if usage:
            _emit_one(as_json, client.utilization())
            return
        found = [client.storage_provider(provider)] if provider else list(client.storage_providers())
    rows = ((each.id, each.name, each.s3Config.bucket, each.s3Config.endpoint, each.isManaged) for each in found)
    emit(as_json, _raw(found), render.table("ID NAME BUCKET ENDPOINT MANAGED", rows, empty="no storage providers"))


COMMANDS = (paperspace,)


def _client() -> AbstractContextManager[PaperspaceClient]:
    from mlflow_dsver.providers.paperspace.account import Account
    from mlflow_dsver.providers.paperspace.client import connect

    return connect(Account.from_settings())


def _dataset_id(client: PaperspaceClient, dataset: str) -> str:
    """The id of a dataset that is given by its id, its name, or a reference."""
    from mlflow_dsver.providers.paperspace.finding import dataset_id

    return dataset_id(client, parse(dataset).dataset if "://" in dataset else dataset)


def _named(reference: str) -> tuple[str, str]:
    """Dataset and version of a reference that names both, `paperspace://` before it or not."""
    ref: DatasetRef = parse(reference if "://" in reference else f"paperspace://{reference}")
    if ref.selector is None or ref.provider != "paperspace":
        raise InvalidReference("names no version of Paperspace", reference=reference, expected="dataset:version")
    return ref.dataset, ref.selector


def _raw(found: Iterable[Model]) -> dict[str, Any]:
    return {"items": [each.raw for each in found]}


def _emit_one(as_json: bool, found: Model) -> None:
    values = {name: getattr(found, name) for name in type(found).model_fields}
    shown = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items()}
    emit(as_json, found.raw, render.fields(**shown))
