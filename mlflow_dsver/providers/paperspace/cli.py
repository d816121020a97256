"""`mlflow-dsver paperspace …`: every endpoint of the API for datasets and versions, with all its parameters.

`mlflow-dsver versions` has the common operations of all providers; this module adds commits, datasets, storage, and
the service's own parameters and names. `--json` writes the service's responses unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option, read_metadata
from mlflow_dsver.terminal.services import Services, pass_services
from mlflow_dsver.text import human_bytes

if TYPE_CHECKING:
    from mlflow_dsver.providers.paperspace.client import PaperspaceClient
    from mlflow_dsver.providers.paperspace.models import Model
    from mlflow_dsver.providers.paperspace.paging import Page

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
    """Show the user and team of the key.

    \b
    Examples:
      mlflow-dsver paperspace session
    """
    with connected() as client:
        found = client.session()
    emit(as_json, found.raw, render.fields(team=found.team.namespace, team_id=found.team.id, user=found.user.id))


@paperspace.command()
@click.argument("reference")
@click.option("--undo", is_flag=True, help="Make it uncommitted again, if the service allows that.")
@json_option
@pass_services
def commit(services: Services, reference: str, undo: bool, as_json: bool) -> None:
    """Commit a version: its files can no longer change, and it can be an input of runs.

    \b
    Examples:
      mlflow-dsver paperspace commit paperspace://dst364npcw6ccok@8ngwr2a
      mlflow-dsver paperspace commit cats:round-3
    """
    from mlflow_dsver.providers.paperspace import PaperspaceProvider

    provider = PaperspaceProvider()
    changed = provider.commit(provider.find(reference_of(reference)), committed=not undo)
    services.forget(changed.ref)
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
    """Add the options of every listing of the service."""
    for option in (
        click.option("--order", type=click.Choice(["asc", "desc"]), help="By date of creation; desc by default."),
        click.option("--order-by", type=click.Choice(["dtCreated"]), help="The field to order by."),
        click.option("--page-size", type=click.IntRange(1, 120), help="Entries per page; 120 by default."),
        click.option("--after", help="Start after this cursor, the nextPage of a previous response."),
        click.option("--limit", type=click.IntRange(min=1), help="Maximum number of entries."),
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

    With --limit, the last line (and nextPage in JSON) has the cursor of the next page, for --after.

    \b
    Examples:
      mlflow-dsver paperspace datasets list --order asc
    """
    with connected() as client:
        found = client.datasets(limit=page_size, **query).page(limit)
    rows = ((each.id, each.name, each.dtCreated, each.isPublic, each.description) for each in found.items)
    _emit_page(as_json, found, render.table("ID NAME CREATED PUBLIC DESCRIPTION", rows, empty="no datasets"))


@datasets.command("show")
@click.argument("dataset")
@json_option
def show_dataset(dataset: str, as_json: bool) -> None:
    """Show a dataset, given by its id or its name.

    \b
    Examples:
      mlflow-dsver paperspace datasets show dst364npcw6ccok
    """
    with connected() as client:
        _emit_one(as_json, client.dataset(dataset_id(client, dataset)))


@datasets.command("create")
@click.argument("name")
@click.option("--public", "is_public", is_flag=True, help="Make it visible to everybody.")
@click.option("--description", help="A description.")
@click.option("--storage-provider", help="Id of the storage provider for its files.")
@json_option
def create_dataset(as_json: bool, **what: Any) -> None:
    """Create a dataset.

    \b
    Examples:
      mlflow-dsver paperspace datasets create digits
    """
    with connected() as client:
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
    with connected() as client:
        _emit_one(as_json, client.update_dataset(dataset_id(client, dataset), name=name, **changes))


@datasets.command("delete")
@click.argument("dataset")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_services
def delete_dataset(services: Services, dataset: str, yes: bool, as_json: bool) -> None:
    """Delete a dataset, given by its id, with its versions.

    Before that, the runs that use one of them are shown.

    \b
    Examples:
      mlflow-dsver paperspace datasets delete dst364npcw6ccok --yes
    """
    users = services.confirm_deletion(DatasetRef("paperspace", dataset), "", yes=yes)
    with connected() as client:
        response = client.delete_dataset(dataset).raw
    result = {"deleted": dataset, "answer": response, **users.to_json()}
    emit(as_json, result, render.line(f"deleted {render.cell(dataset)}"))


# Versions, with the service's own parameters


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
@click.option("--tags", multiple=True, help="The service's filter, separated by commas; may be repeated.")
@paged
@json_option
def list_versions(
    dataset: str, tags: tuple[str, ...], as_json: bool, limit: int | None, page_size: int | None, **query: Any
) -> None:
    """List a dataset's versions, newest first, including uncommitted ones.

    With --limit, the last line (and nextPage in JSON) has the cursor of the next page, for --after.

    \b
    Examples:
      mlflow-dsver paperspace versions list dst364npcw6ccok --limit 5
    """
    with connected() as client:
        listing = client.versions(dataset_id(client, dataset), tags=",".join(tags), limit=page_size, **query)
        found = listing.page(limit)
    rows = (
        (each.version, each.dtCreated, human_bytes(each.usageBytes), each.isCommitted, each.tags, each.message)
        for each in found.items
    )
    columns = "VERSION CREATED SIZE COMMITTED TAGS MESSAGE"
    _emit_page(as_json, found, render.table(columns, rows, empty="no versions", right="SIZE"))


@raw_versions.command("show")
@click.argument("reference")
@json_option
def show_version(reference: str, as_json: bool) -> None:
    """Show a version with the service's own fields.

    \b
    Examples:
      mlflow-dsver paperspace versions show dst364npcw6ccok:fo5rp4m
    """
    with connected() as client:
        _emit_one(as_json, client.version(*version_id(client, reference)))


@raw_versions.command("create")
@click.argument("dataset")
@click.option("--message", "-m", help="A message.")
@click.option("--tag", "tags", multiple=True, help="A tag, or several separated by commas; may be repeated.")
@click.option("--metadata", help="A JSON object.")
@json_option
def create_version(
    dataset: str, message: str | None, tags: tuple[str, ...], metadata: str | None, as_json: bool
) -> None:
    """Create an empty, uncommitted version.

    \b
    Examples:
      mlflow-dsver paperspace versions create dst364npcw6ccok --message "round 3"
    """
    with connected() as client:
        found = dataset_id(client, dataset)
        made = client.create_version(found, message=message, tags=",".join(tags), metadata=read_metadata(metadata))
        _emit_one(as_json, made)


@raw_versions.command("update")
@click.argument("reference")
@click.option("--message", "-m", help="A new message.")
@click.option("--tag", "tags", multiple=True, help="A tag that the version will have; may be repeated.")
@click.option("--no-tags", is_flag=True, help="Remove all tags.")
@click.option("--metadata", help="A JSON object; the service decides whether it replaces or extends the old.")
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
    """Change a version; what is not given stays. Tags given with --tag replace all others.

    \b
    Examples:
      mlflow-dsver paperspace versions update dst364npcw6ccok:8ngwr2a --committed
    """
    new_tags = None if not tags and not no_tags else ",".join(tags)
    if message is None and new_tags is None and metadata is None and committed is None:
        raise click.UsageError("Nothing to change: give --message, --tag, --no-tags, --metadata or --committed.")
    with connected() as client:
        dataset, version = version_id(client, reference)
        changed = client.update_version(
            dataset, version, message=message, tags=new_tags, metadata=read_metadata(metadata), is_committed=committed
        )
        _emit_one(as_json, changed)


@raw_versions.command("delete")
@click.argument("reference")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_services
def delete_version(services: Services, reference: str, yes: bool, as_json: bool) -> None:
    """Delete a version. Before that, the runs that use it are shown.

    \b
    Examples:
      mlflow-dsver paperspace versions delete dst364npcw6ccok:8ngwr2a --yes
    """
    with connected() as client:
        dataset, version = version_id(client, reference)
    users = services.confirm_deletion(DatasetRef("paperspace", dataset, version), "", yes=yes)
    with connected() as client:
        response = client.delete_version(dataset, version).raw
    result = {"deleted": f"{dataset}:{version}", "answer": response, **users.to_json()}
    emit(as_json, result, render.line(f"deleted {dataset}:{version}"))


@paperspace.command()
@click.argument("provider", required=False)
@click.option("--usage", is_flag=True, help="Show the bytes that the team uses instead.")
@json_option
def storage(provider: str | None, usage: bool, as_json: bool) -> None:
    """List the team's storage providers, or show one; without their keys.

    \b
    Examples:
      mlflow-dsver paperspace storage
      mlflow-dsver paperspace storage --usage
    """
    with connected() as client:
        if usage:
            _emit_one(as_json, client.utilization())
            return
        found = [client.storage_provider(provider)] if provider else list(client.storage_providers())
    rows = ((each.id, each.name, each.s3Config.bucket, each.s3Config.endpoint, each.isManaged) for each in found)
    emit(as_json, _raw(found), render.table("ID NAME BUCKET ENDPOINT MANAGED", rows, empty="no storage providers"))


def connected() -> AbstractContextManager[PaperspaceClient]:
    """A client for the account in the settings."""
    from mlflow_dsver.providers.paperspace.client import connect
    from mlflow_dsver.providers.paperspace.info import Account

    return connect(Account.from_settings())


def dataset_id(client: PaperspaceClient, dataset: str) -> str:
    """The id of a dataset that is given by its id, its name, or a reference."""
    from mlflow_dsver.providers.paperspace import lookup

    return lookup.dataset_id(client, parse(dataset).dataset if "://" in dataset else dataset)


def version_id(client: PaperspaceClient, reference: str) -> tuple[str, str]:
    """Ids of the dataset and the version, committed or not, of a reference with an id or tag."""
    from mlflow_dsver.providers.paperspace import lookup

    ref = reference_of(reference)
    dataset = lookup.dataset_id(client, ref.dataset)
    return dataset, lookup.selected(client, dataset, ref).version


def reference_of(reference: str) -> DatasetRef:
    """A reference that names a dataset and a version or tag, with or without `paperspace://` before it."""
    ref: DatasetRef = parse(reference if "://" in reference else f"paperspace://{reference}")
    if ref.selector is None or ref.provider != "paperspace":
        raise InvalidReference("names no version of Paperspace", reference=reference, expected="dataset:version")
    return ref


def _raw(found: Iterable[Model]) -> dict[str, Any]:
    return {"items": [each.raw for each in found]}


def _emit_page(as_json: bool, page: Page[Any], table: render.Table) -> None:
    """Write a page's entries, and the cursor of the next page, for --after."""
    data = {**_raw(page.items), "hasMore": page.has_more, "nextPage": page.next_page}
    if not page.has_more:
        emit(as_json, data, table)
        return
    more = f"there are more: --after {render.cell(page.next_page)}" if page.next_page else "there are more"
    emit(as_json, data, table, render.line(more))


def _emit_one(as_json: bool, found: Model) -> None:
    values = {name: getattr(found, name) for name in type(found).model_fields}
    shown = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items()}
    emit(as_json, found.raw, render.fields(**shown))
