"""The block in a run's description: written on request, between its markers, and nothing else touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.tracking.description import BEGIN, END, NOTE, describe, placed


@given(st.text(), st.text())
def test_what_people_wrote_stays_as_it_is(text: str, block: str) -> None:
    """Whatever stands around the block is there afterwards, and a second time changes nothing."""
    inside = f"{BEGIN}{block.replace(END, '').replace(BEGIN, '')}{END}"
    text = text.replace(BEGIN, "").replace(END, "")
    once = placed(text, inside)
    assert once.startswith(text)
    assert placed(once, inside) == once
    other = f"{BEGIN}other{END}"
    assert placed(placed(once + "after", other), inside) == once + "after"


def test_the_description_gets_a_block_and_keeps_the_rest(tracking: Any, digits_folder: Path) -> None:
    with mlflow.start_run() as run:
        data = dsver.use(dsver.create_version("local://digits", digits_folder))
    client, run_id = MlflowClient(), run.info.run_id
    client.set_tag(run_id, NOTE, "My notes.\n")
    block = describe(run_id)
    assert client.get_run(run_id).data.tags[NOTE] == f"My notes.\n\n\n{block}"
    assert f"- training: `{data}`, grade A ([runs with it](<#/experiments/" in block
    assert describe(run_id) == block
    assert client.get_run(run_id).data.tags[NOTE].count(BEGIN) == 1


def test_a_description_that_would_be_cut_is_not_touched(tracking: Any, digits_folder: Path) -> None:
    with mlflow.start_run() as run:
        dsver.use(dsver.create_version("local://digits", digits_folder))
    MlflowClient().set_tag(run.info.run_id, NOTE, "x" * 4990)
    with pytest.raises(dsver.DsverError, match="too long"):
        describe(run.info.run_id)
    assert MlflowClient().get_run(run.info.run_id).data.tags[NOTE] == "x" * 4990
