"""`mlflow-dsver snapshot`: take a snapshot of a prefix in object storage, with all its options."""

from __future__ import annotations

import click

from mlflow_dsver.content.progress import terminal
from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option, read_metadata
from mlflow_dsver.terminal.services import Services, pass_services
from mlflow_dsver.text import one_line

SWITCH_ON = {
    "s3": "aws s3api put-bucket-versioning --bucket {} --versioning-configuration Status=Enabled",
    "gs": "gcloud storage buckets update gs://{} --versioning",
    "az": "az storage account blob-service-properties update --enable-versioning true",
}
"""The command that makes a bucket keep versions."""


@click.command()
@click.argument("reference")
@click.option("--include", multiple=True, help="Only keys that match this pattern; may be repeated.")
@click.option("--exclude", multiple=True, help="No keys that match this pattern; may be repeated.")
@click.option(
    "--checksums",
    type=click.Choice(["auto", "yes", "no"]),
    help="Ask the store for each object's checksum; auto: only where the bucket keeps no versions.",
)
@click.option("--inventory", help="List from this S3 Inventory report (its manifest.json) instead of the bucket.")
@click.option("--message", "-m", help="What this version is, in a sentence.")
@click.option("--tag", "tags", multiple=True, help="A name that moves to this version; may be repeated.")
@click.option("--metadata", help="A JSON object to keep with the version.")
@json_option
@pass_services
def snapshot(
    services: Services,
    reference: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    checksums: str | None,
    inventory: str | None,
    message: str | None,
    tags: tuple[str, ...],
    metadata: str | None,
    as_json: bool,
) -> None:
    """Take a snapshot of a bucket: which objects are below a prefix now.

    No data is read or copied. The snapshot has each object's version id, ETag and date, and its checksums where they
    are asked for; it is kept where the setting MLFLOW_DSVER_SNAPSHOTS says (by default in the local store). Patterns
    are those of a .gitignore. The same objects give the same version.

    \b
    Examples:
      mlflow-dsver snapshot s3://bucket/cats --tag round-3
      mlflow-dsver snapshot s3://bucket/cats --exclude '*.tmp' --checksums yes
      mlflow-dsver snapshot s3://bucket/huge --inventory s3://reports/bucket/daily/2026-11-30T01-00Z/manifest.json
      mlflow-dsver snapshot gs://bucket/cats --json
    """
    from mlflow_dsver.providers.buckets.provider import BucketProvider

    ref = parse(reference)
    provider = get_provider(ref.provider)
    if not isinstance(provider, BucketProvider):
        raise InvalidReference("no address in object storage", got=reference, expected="s3://…, gs://… or az://…")
    if ref.selector is not None:
        raise InvalidReference("a snapshot is of what is there now", reference=ref, tip=str(ref.at(None)))
    with terminal(f"listing {ref}") as provider.progress:
        version = provider.create(
            ref.dataset,
            message=message,
            tags=tags,
            metadata=read_metadata(metadata),
            include=",".join(include) or None,
            exclude=",".join(exclude) or None,
            checksums=checksums,
            inventory=inventory,
        )
    services.forget(version.ref)
    emit(as_json, version.to_json(), render.version(version))
    if not as_json:
        click.echo(f"grade           {provider.grade(version)}")
        meanwhile = provider.manifest(version).made.get("written_meanwhile")
        if meanwhile:
            click.echo(f"{meanwhile:,} objects were written while the bucket was listed", err=True)
        advice = _advice(version)
        if advice:
            click.echo(advice, err=True)


def _advice(version: DatasetVersion) -> str | None:
    grade = str(version.raw.get("grade"))
    if not grade.startswith("C (the bucket keeps no versions"):
        return None
    command = SWITCH_ON[version.ref.provider].format(one_line(version.ref.dataset.partition("/")[0], 80))
    return f"grade C: an object that is overwritten is lost to this version. To keep versions: {command}"
