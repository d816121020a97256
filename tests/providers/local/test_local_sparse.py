"""Holes take no space in the store, nor in what it gives out, and what is read is the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from mlflow_dsver.providers.local import LocalProvider, objects
from mlflow_dsver.providers.local.sparse import GRAIN, HoleWriter, is_sparse


@pytest.fixture(autouse=True)
def no_reflink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "reflink", lambda _source, _target: False)


def taken(path: Path | str) -> int:
    return os.stat(path).st_blocks * 512  # noqa: PTH116


def sparse(path: Path, size: int, *data: tuple[int, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for place, content in data:
            stream.seek(place)
            stream.write(content)
        stream.truncate(size)
    if not is_sparse(path.stat()):
        pytest.skip("a file system without holes")
    return path


@pytest.mark.parametrize("size", [500_000, 20 << 20])
def test_a_sparse_file_stays_sparse_in_the_store_and_out_of_it(tmp_path: Path, size: int) -> None:
    """Data at the beginning, in the middle and none at the end, of a file that is read whole and of a large one."""
    file = sparse(tmp_path / "data" / "x", size, (0, b"begin"), (size // 2, b"middle"))
    provider = LocalProvider()
    version = provider.create("x", tmp_path / "data")
    digest = blake3(file.read_bytes()).hexdigest()
    provider.materialise(version, tmp_path / "out")
    for copy in (provider.store.object(digest), provider.path(version) / "x", tmp_path / "out" / "x"):
        assert Path(copy).read_bytes() == file.read_bytes()
        assert taken(copy) <= taken(file) + 4 * GRAIN
    assert [entry.digest for entry in provider.manifest(version).entries] == [digest]


def test_data_all_over_a_sparse_file_does_not_fill_its_holes(tmp_path: Path) -> None:
    size = 8 << 20
    file = sparse(tmp_path / "data" / "x", size, *((place, b"d" * GRAIN) for place in range(0, size, 1 << 18)))
    provider = LocalProvider()
    provider.create("x", tmp_path / "data")
    copy = provider.store.object(blake3(file.read_bytes()).hexdigest())
    assert taken(copy) <= 2 * taken(file)


def test_large_pieces_of_zeros_become_holes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    content = os.urandom(objects.BLOCK) + bytes(16 * objects.BLOCK) + b"end"
    (tmp_path / "data" / "x").write_bytes(content)
    provider = LocalProvider()
    provider.create("x", tmp_path / "data")
    copy = provider.store.object(blake3(content).hexdigest())
    assert Path(copy).read_bytes() == content
    assert taken(copy) < len(content) // 4


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"x"],
        [bytes(GRAIN)],
        [bytes(10)],
        [b"x" + bytes(3 * GRAIN), bytes(GRAIN) + b"y", bytes(2 * GRAIN)],
        [bytes(GRAIN), b"z", bytes(GRAIN - 1), bytes(5 * GRAIN + 1)],
    ],
)
def test_what_is_written_is_what_was_given(tmp_path: Path, pieces: list[bytes], fine: bool) -> None:
    with (tmp_path / "x").open("wb", buffering=0) as stream:
        writer = HoleWriter(stream.fileno(), fine=fine)
        for piece in pieces:
            writer.write(piece)
        writer.finish()
    assert (tmp_path / "x").read_bytes() == b"".join(pieces)
