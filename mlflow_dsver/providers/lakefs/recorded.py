"""Reads what runs recorded that followed lakeFS' recipe for MLflow: the tags `lakefs_repo` and `lakefs_commit`.

The recipe's earlier editions had `lakefs_branch` alone, or `lakefs_head_commit_id`. The path inside the repository is
in the URI of the dataset's source and in no tag, so what is named is the whole repository at that commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.plugins import RecordedVersion
from mlflow_dsver.providers.lakefs.info import COMMIT, NAME


def from_run(labels: Mapping[str, Any]) -> list[RecordedVersion]:
    """The repository of a run's tags and params; exact where they have a full commit id."""
    repository, branch = labels.get("lakefs_repo"), labels.get("lakefs_branch")
    if not isinstance(repository, str) or not repository or "/" in repository:
        return []
    dataset = DatasetRef(NAME, repository)
    asked = labels.get("lakefs_commit") or labels.get("lakefs_head_commit_id")
    if isinstance(asked, str) and COMMIT.match(asked.lower()):
        exact = str(dataset.at(asked.lower()))
        return [RecordedVersion(exact, exact)]
    moving = asked or branch
    requested = dataset.at(moving) if isinstance(moving, str) and moving else dataset
    return [RecordedVersion(str(dataset), str(requested))]
