"""Makes versions of the local store from the history of what DVC tracks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mlflow_dsver.errors import CorruptObject, DsverError, NotFound
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.dvc.outs import outs_in
from mlflow_dsver.providers.dvc.provider import DvcProvider
from mlflow_dsver.providers.git.repository import Repository
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.text import one_line


class Imported(NamedTuple):
    """What became of a commit. made: the local version; None when it was skipped, and `reason` says why.

    new: whether it was made now, or would be.
    """

    source: DatasetVersion
    target: DatasetRef
    made: DatasetRef | None
    new: bool
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "source": str(self.source),
            "dataset": str(self.target),
            "version": None if self.made is None else str(self.made),
            "new": self.new,
            "reason": self.reason,
        }


def targets_in(repository: Repository) -> list[str]:
    """Paths that DVC tracks in the newest commit, sorted."""
    head = repository.commit_id(None)
    found = set()
    for file in repository.files(head) if head is not None else ():
        name = file.path.rpartition("/")[2]
        if name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc"):
            content = repository.content(head or "", file.path)
            found |= {out.path for out in outs_in(content or b"", file.path)}
    return sorted(found)


def import_history(
    source: DatasetRef, target: DatasetRef, local: Provider, *, limit: int | None = None, dry_run: bool = False
) -> Iterator[Imported]:
    """Make a local version of each commit that changed the content, oldest first. limit: the newest ones only.

    A commit that was imported before is known by its metadata. One whose files DVC has no more is skipped.
    """
    provider = DvcProvider()
    commits = list(provider.versions(source.dataset))[: limit or None]
    known = _known(local, target)
    for each in reversed(commits):
        before = known.get(str(each.ref))
        if before is not None:
            yield Imported(each, target, before, new=False)
            continue
        try:
            version = provider.get(source.dataset, each.id)
            provider.manifest(version)
            if dry_run:
                yield Imported(version, target, None, new=True)
                continue
            provider.progress = local.progress
            made = local.create_from(
                target.dataset,
                provider,
                version,
                message=(version.message or "").partition("\n")[0] or None,
                tags=version.tags,
                metadata={"source": str(version.ref), "commit": version.id, "md5": version.raw["md5"]},
            )
        except (NotFound, CorruptObject) as error:
            yield Imported(each, target, None, new=False, reason=one_line(error.what, 300))
            continue
        yield Imported(version, target, made.ref, new=True)


def _known(local: Provider, target: DatasetRef) -> dict[str, DatasetRef]:
    try:
        return {str(each.metadata.get("source")): each.ref for each in local.versions(target.dataset)}
    except DsverError:
        return {}
