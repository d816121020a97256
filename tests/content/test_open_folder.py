"""A folder is held on to while it is hashed: a link that is switched meanwhile makes no mixture of two folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.open_folder import opened
from mlflow_dsver.content.patterns import EVERYTHING, select
from mlflow_dsver.content.walk import walk_selected
from mlflow_dsver.errors import ContentError
from mlflow_dsver.providers.local.provider import LocalProvider

NAMES = [f"{number:03}" for number in range(20)]


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """`current`, a link to `v1`; beside it lies `v2`, with other bytes under the same names."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        for name in NAMES:
            (tmp_path / version / name).write_text(f"{version} {name}")
    (tmp_path / "current").symlink_to("v1")
    return tmp_path / "current"


def switch(link: Path, target: str = "v2") -> None:
    """As deployments do it: a new link is renamed over the old one."""
    beside = link.with_name("beside")
    beside.symlink_to(target)
    beside.replace(link)


def taking(act: Callable[[], None], at: int = 5) -> Callable[[int, os.stat_result, str], str]:
    """A `take` that hashes, and acts once while the file of that number is read."""
    count = iter(range(10**6))

    def take(descriptor: int, status: os.stat_result, _path: str) -> str:
        if next(count) == at:
            act()
        digest: str = blake3(os.read(descriptor, status.st_size + 1)).hexdigest()
        return digest

    return take


def test_a_link_that_is_switched_gives_the_folder_that_was_opened(deployed: Path) -> None:
    one = hash_folder(deployed.with_name("v1")).digest
    assert hash_folder(deployed, on_file=taking(lambda: switch(deployed))).digest == one
    assert deployed.readlink() == Path("v2")


def test_a_folder_that_is_renamed_away_gives_the_folder_that_was_opened(deployed: Path) -> None:
    folder = deployed.with_name("v1")
    one = hash_folder(folder).digest

    def swap() -> None:
        folder.rename(deployed.with_name("old"))
        deployed.with_name("v2").rename(folder)

    assert hash_folder(folder, on_file=taking(swap)).digest == one


@pytest.mark.parametrize("back", [False, True])
def test_a_link_inside_that_is_switched_is_named(deployed: Path, back: bool) -> None:
    """Also when it leads to the first folder again at the end: some files came from the other one."""
    (deployed.parent / "data").mkdir()
    link = deployed.parent / "data" / "train"
    link.symlink_to("../v1")
    acts = iter([lambda: switch(link, "../v2"), lambda: switch(link, "../v1") if back else None])
    inner = taking(lambda: next(acts)(), at=5)
    outer = taking(lambda: next(acts)(), at=9)

    def take(descriptor: int, status: os.stat_result, path: str) -> str:
        inner(descriptor, status, path)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return outer(descriptor, status, path)

    with pytest.raises(ContentError) as caught:
        hash_folder(deployed.parent / "data", on_file=take)
    assert caught.value.paths == ("train",)
    assert "replaced while the folder was read" in str(caught.value)


def test_links_inside_that_hold_still_are_followed(deployed: Path) -> None:
    (deployed.parent / "data").mkdir()
    (deployed.parent / "data" / "train").symlink_to("../current")
    assert len(hash_folder(deployed.parent / "data")) == len(NAMES)


def test_a_folder_that_is_replaced_between_its_stat_and_its_listing_is_named(deployed: Path) -> None:
    (deployed.parent / "data").mkdir()
    link = deployed.parent / "data" / "train"
    link.symlink_to("../v1")
    with opened(deployed.parent / "data") as held:
        real = held.open_below

        def open_below(relative: str) -> int:
            if relative == "train/":
                switch(link, "../v2")
            return real(relative)

        held.open_below = open_below  # type: ignore[method-assign]
        with pytest.raises(ContentError) as caught:
            list(walk_selected(held, select(held.descriptor, EVERYTHING)))
    assert caught.value.paths == ("train",)


def test_a_version_by_reference_is_given_out_where_it_was_checked(
    deployed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that is switched after the check leads whoever has the path nowhere else."""
    provider = LocalProvider()
    version = provider.create("x", deployed, reference=True)
    given = provider.path(version)
    switch(deployed)
    assert (given / NAMES[0]).read_text() == f"v1 {NAMES[0]}"
    with pytest.raises(OSError, match="has changed"):
        provider.path(version)
