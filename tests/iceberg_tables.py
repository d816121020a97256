"""Real Iceberg tables for the tests: a catalog in SQLite, and a warehouse in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CATALOG = "shop"


class IcebergTable:
    """The table `pets.cats` of the catalog `shop`, which pyiceberg's own configuration names."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        catalogs = pytest.importorskip("pyiceberg.catalog", reason="pyiceberg is not installed")
        from pyiceberg.utils.config import Config

        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"PYICEBERG_CATALOG__{CATALOG.upper()}__"
        monkeypatch.setenv(f"{prefix}TYPE", "sql")
        monkeypatch.setenv(f"{prefix}URI", f"sqlite:///{folder}/catalog.db")
        monkeypatch.setenv(f"{prefix}WAREHOUSE", f"file://{folder}/warehouse")
        monkeypatch.setattr(catalogs, "_ENV_CONFIG", Config())  # pyiceberg reads it once, when it is imported
        self.folder = folder
        self.catalog = catalogs.load_catalog(CATALOG)
        self.catalog.create_namespace("pets")
        self.dataset = f"{CATALOG}/pets.cats"
        self.create()

    def create(self) -> None:
        """Make the table, empty."""
        import pyarrow as pa

        schema = pa.schema([("name", pa.string()), ("age", pa.int64())])
        self.catalog.create_table("pets.cats", schema=schema)

    @property
    def table(self) -> Any:
        """pyiceberg's table, as it is now."""
        return self.catalog.load_table("pets.cats")

    def append(self, *rows: tuple[str, int]) -> int:
        """Append rows; the snapshot's id."""
        import pyarrow as pa

        table = self.table
        table.append(pa.Table.from_pylist([{"name": name, "age": age} for name, age in rows], schema=_schema()))
        return int(table.current_snapshot().snapshot_id)

    def tag(self, name: str, snapshot_id: int) -> None:
        """Set a tag."""
        self.table.manage_snapshots().create_tag(snapshot_id, name).commit()

    def data_files(self) -> list[Path]:
        """All data files that lie in the warehouse."""
        return sorted((self.folder / "warehouse").rglob("*.parquet"))


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("name", pa.string()), ("age", pa.int64())])
