"""`reproduce` fetches exactly the recorded objects, compares them, and needs nothing but the run's own manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
from object_servers import Bucket

import mlflow_dsver as dsver
from mlflow_dsver.checks.reproduce import State


def used(bucket: Bucket, checksums: str = "yes") -> str:
    bucket.put("data/a.txt", b"meow", ChecksumAlgorithm="SHA256")
    bucket.put("data/b/c.bin", bytes(range(256)) * 20, ChecksumAlgorithm="SHA256")
    with dsver.start_run(inputs={"training": f"s3://{bucket.name}/data?create&checksums={checksums}"}) as run:
        pass
    return str(run.info.run_id)


def reproduced(run_id: str, folder: Path) -> tuple[State, str | None]:
    (found,) = dsver.reproduce(run_id, folder).inputs
    return found.state, found.reason


@pytest.mark.usefixtures("tracking")
def test_recorded_objects_are_written_and_their_checksums_compared(bucket: Bucket, tmp_path: Path) -> None:
    run = used(bucket)
    bucket.put("data/a.txt", b"written since")
    assert reproduced(run, tmp_path / "out") == (State.VERIFIED, None)
    assert (tmp_path / "out" / "inputs" / "training" / "a.txt").read_bytes() == b"meow"


@pytest.mark.usefixtures("tracking")
def test_the_runs_own_manifest_is_enough_where_the_snapshot_is_not_known(
    bucket: Bucket, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = used(bucket)
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("another machine")))
    assert reproduced(run, tmp_path / "out") == (State.VERIFIED, None)


@pytest.mark.usefixtures("tracking")
def test_files_without_any_checksum_are_not_called_verified(bucket: Bucket, tmp_path: Path) -> None:
    """They are those of the recorded version ids, and nothing here can tell it from their bytes."""
    run = used(bucket, checksums="no")
    assert reproduced(run, tmp_path / "out") == (State.UNVERIFIED, "of 2 files no checksum was recorded")
