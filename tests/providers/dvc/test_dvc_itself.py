"""What DVC itself writes is what is read: `dvc add`, `commit`, `push`, `gc` and `checkout` of the real DVC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from dvc_repositories import md5
from git_repositories import Checkout

import mlflow_dsver as dsver
from mlflow_dsver.errors import NotFound

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "dvc" not in packages_distributions(), reason="DVC, which has 70 dependencies, is not installed"
    ),
]


def dvc(checkout: Checkout, *arguments: str) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=checkout.folder,
        check=True,
        capture_output=True,
        env=environment,
    )


def test_what_dvc_wrote_is_read_also_after_it_collected_garbage(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "repository")
    dvc(checkout, "init", "--quiet")
    dvc(checkout, "remote", "add", "--default", "store", str(tmp_path / "remote"))
    checkout.write("data/cats/x.txt", "one\r\n")
    checkout.write("data/cats/sub/y.txt", "two\n")
    dvc(checkout, "add", "data/cats")
    first = checkout.commit("first")
    dvc(checkout, "push")
    checkout.write("data/cats/x.txt", "three\n")
    dvc(checkout, "add", "data/cats")
    second = checkout.commit("second")
    reference = f"dvc://{checkout.folder}/data/cats"
    provider = dsver.get_provider("dvc")
    assert [each.id for each in provider.versions(dsver.parse(reference).dataset)] == [second, first]
    old, new = dsver.resolve(f"{reference}@{first}"), dsver.resolve(reference)
    assert (provider.path(old) / "x.txt").read_bytes() == b"one\r\n"
    assert (provider.path(new) / "x.txt").read_bytes() == b"three\n"
    dvc(checkout, "gc", "--workspace", "--force")
    assert not (
        checkout.folder / ".dvc" / "cache" / "files" / "md5" / md5(b"one\r\n")[:2] / md5(b"one\r\n")[2:]
    ).exists()
    provider.materialise(old, tmp_path / "from the remote")
    shutil.rmtree(tmp_path / "remote")
    with pytest.raises(NotFound, match=r"x\.txt"):
        provider.materialise(old, tmp_path / "from nowhere")
