"""Adds to a run's record what files it was given, where their content digest was not known when the run started.

So it is with an export that is fetched while the run goes on. Params, dataset inputs and the grade stay as they are:
MLflow changes neither of the first two, and the grade says what the link proved when it was made.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlflow import MlflowClient

from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.record import schema
from mlflow_dsver.tracking import clients, record_writer


def add(client: MlflowClient, run_id: str, manifests: Mapping[str, Manifest]) -> None:
    """Put manifests on a run, by role. The digest becomes the tag `dsver.R.loaded_digest`.

    The manifest becomes an artifact, and its sum is added to those of the role's artifacts: without that it would
    prove nothing. So neither is written where the run has no sums, or has a manifest already. Raises MlflowException.
    """
    run = client.get_run(run_id)
    tags: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for role, manifest in manifests.items():
        tags[schema.key(role, schema.LOADED_DIGEST)] = manifest.digest
        name, sums = schema.manifest_name(role), schema.key(role, "artifacts")
        before = run.data.tags.get(sums, "")
        known = schema.parse_artifacts(before) or {}
        if schema.json_name(role) in known and name not in known:
            files[name] = manifest.to_bytes()
            tags[sums] = schema.artifacts_text({name: files[name]}, before)
    record_writer.put_tags(client, run_id, tags)
    if files:
        clients.put_files(client, run.info.artifact_uri, schema.FOLDER, files)
