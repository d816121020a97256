"""What a vacuum is told, so that it keeps the versions that runs and models need."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from deltalake import DeltaTable  # noqa: F401  (named by the command that is evaluated)
from lakes import Lake

import mlflow_dsver as dsver
from mlflow_dsver.lineage.retention import holds

pytestmark = pytest.mark.usefixtures("tracking")


def used(lake: Lake, selector: str) -> str:
    with dsver.start_run(inputs={"training": f"delta://{lake.folder}@{selector}"}) as run:
        pass
    return str(run.info.run_id)


def test_a_vacuum_that_is_told_keeps_what_living_runs_need(lake: Lake) -> None:
    lake.write([6])
    kept, gone = used(lake, "0"), used(lake, "2")
    lake.write([9], mode="overwrite")
    mlflow.delete_run(gone)
    (keep,) = holds(dataset=f"delta://{lake.folder}").keep
    assert keep.list.versions == (0,)
    command = keep.list.command.replace("dry_run=False", "dry_run=False, retention_hours=0")
    assert len(eval(command.replace("retention_hours=0", "retention_hours=0, enforce_retention_duration=False"))) == 2
    assert dsver.verify(kept)
    mlflow.tracking.MlflowClient().restore_run(gone)
    assert not dsver.verify(gone)


def test_a_version_of_the_former_table_is_none_to_keep(lake: Lake) -> None:
    used(lake, "0")
    lake.remove()
    lake.write([1])
    used(lake, "0")
    (keep,) = holds().keep
    assert keep.list.versions == (0,)
    assert len(keep.list.missing) == 1


def test_other_datasets_are_left_out(lake: Lake, tmp_path: Any) -> None:
    used(lake, "0")
    assert holds(dataset=f"delta://{tmp_path}/other").needs == ()
    assert [str(each.ref.at(None)) for each in holds(dataset=f"delta://{lake.folder}@1").needs] == [
        f"delta://file{lake.folder}"
    ]


def test_a_table_that_is_gone_leaves_the_list_unknown(lake: Lake) -> None:
    used(lake, "0")
    lake.remove()
    report = holds()
    assert report.keep == ()
    assert report.exit_code == 3
    assert "no Delta table" in report.unread[0]


def test_the_command_line_prints_the_list(lake: Lake, process: Callable[..., Any]) -> None:
    used(lake, "1")
    address = f"delta://{lake.folder}"
    shown = process("holds", address)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"DeltaTable('{lake.folder}').vacuum(keep_versions=[1], dry_run=False)" in shown.stdout
    (keep,) = json.loads(process("holds", address, "--json").stdout)["keep"]
    assert keep["versions"] == [1]
    resolved = process("versions", "resolve", str(lake.folder))
    assert resolved.stdout.strip().startswith(f"delta://file{lake.folder}@1-")
