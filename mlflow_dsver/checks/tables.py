"""What changed inside tables: rows and columns, of files that pandas can read. On request alone, and bounded.

Rows are matched by the first column whose values name each row once in both tables; where there is none, rows are
counted as wholes, wherever they stand. A table that cannot be read, or is too large, is reported as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from mlflow_dsver.content.atomic_files import safe_join
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.model.manifests import Difference
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.text import error_line, human_count, one_line

MAX_BYTES = 1 << 30
"""Bytes of a table from which on it is not read."""

_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("read_csv", {}),
    ".tsv": ("read_csv", {"sep": "\t"}),
    ".jsonl": ("read_json", {"lines": True}),
    ".ndjson": ("read_json", {"lines": True}),
    ".parquet": ("read_parquet", {}),
    ".feather": ("read_feather", {}),
}


@dataclass(frozen=True, slots=True)
class TableDifference:
    """From a table to its successor under the same path.

    key: the column that rows were matched by; None when they were counted as wholes, and then `changed` is 0.
    cells: column to the number of rows in which it changed. failure: why it could not be compared; None when it was.
    """

    path: str
    key: str | None = None
    rows_before: int = 0
    rows_after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    cells: dict[str, int] = field(default_factory=dict)
    failure: str | None = None

    def lines(self) -> Iterator[str]:
        """The difference for people."""
        yield f"table {one_line(self.path, 300)}"
        if self.failure is not None:
            yield f"  not compared: {one_line(self.failure)}"
            return
        by = f"by {one_line(self.key, 80)}" if self.key else "counted as wholes"
        rows = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        told = ", ".join(f"{count:,} {word}" for word, count in rows if count) or "none differ"
        yield f"  {human_count(self.rows_before, 'row')} before, {self.rows_after:,} after ({by}): {told}"
        for word, columns in (("added", self.columns_added), ("removed", self.columns_removed)):
            if columns:
                yield f"  columns {word}: {', '.join(one_line(column, 80) for column in columns)}"
        for column, count in self.cells.items():
            yield f"  {one_line(column, 80)} changed in {human_count(count, 'row')}"

    def to_json(self) -> dict[str, Any]:
        """The difference for programs."""
        return asdict(self)


def table_differences(before: DatasetVersion, after: DatasetVersion, found: Difference) -> Iterator[TableDifference]:
    """Of each changed file that is a table by its name, what changed inside.

    Raises SettingsError without pandas, and the providers' errors when the bytes cannot be had.
    """
    pairs = [(old, new) for old, new in found.changed if Path(new.path).suffix.lower() in _READERS]
    if not pairs:
        return
    try:
        pandas: Any = import_module("pandas")
    except ImportError as error:
        raise SettingsError(
            "rows are compared by pandas, and it is not installed", tip="pip install pandas"
        ) from error
    old_folder, new_folder = (get_provider(each.ref.provider).path(each) for each in (before, after))
    for old, new in pairs:
        if max(old.bytes, new.bytes) > MAX_BYTES:
            yield TableDifference(new.path, failure=f"larger than {MAX_BYTES:,} bytes")
            continue
        try:
            tables = _read(pandas, safe_join(old_folder, old.path)), _read(pandas, safe_join(new_folder, new.path))
            yield compare_tables(pandas, new.path, *tables)
        except Exception as error:  # noqa: BLE001  (pandas raises whatever its parsers raise)
            yield TableDifference(new.path, failure=error_line(error))


def compare_tables(pandas: Any, path: str, old: Any, new: Any) -> TableDifference:
    """What changed from one data frame to another."""
    common = [column for column in old.columns if column in set(new.columns)]
    shape = TableDifference(
        path,
        rows_before=len(old),
        rows_after=len(new),
        columns_added=tuple(str(column) for column in new.columns if column not in set(old.columns)),
        columns_removed=tuple(str(column) for column in old.columns if column not in set(new.columns)),
    )
    key = next((column for column in common if _names_rows(old[column]) and _names_rows(new[column])), None)
    if key is None:
        gone, came = _whole_rows(pandas, old[common], new[common])
        return replace(shape, added=came, removed=gone)
    left, right = old[common].set_index(key), new[common].set_index(key)
    both = left.index.intersection(right.index)
    unequal = _unequal(left.loc[both], right.loc[both])
    return replace(
        shape,
        key=str(key),
        added=len(right) - len(both),
        removed=len(left) - len(both),
        changed=int(unequal.any(axis=1).sum()),
        cells={str(column): int(unequal[column].sum()) for column in unequal.columns if unequal[column].any()},
    )


def _read(pandas: Any, path: Path) -> Any:
    name, options = _READERS[path.suffix.lower()]
    reader: Callable[..., Any] = getattr(pandas, name)
    return reader(path, **options)


def _names_rows(column: Any) -> bool:
    try:
        return bool(column.is_unique) and not bool(column.isna().any())
    except TypeError:  # lists and mappings cannot be keys
        return False


def _unequal(left: Any, right: Any) -> Any:
    left, right = left.astype(object), right.astype(object)
    return (left != right) & ~(left.isna() & right.isna())


def _whole_rows(pandas: Any, old: Any, new: Any) -> tuple[int, int]:
    """How many rows are gone and how many came, doubles counted as often as they stand there."""
    before, after = (
        pandas.util.hash_pandas_object(each.astype(str), index=False).value_counts() for each in (old, new)
    )
    change = after.sub(before, fill_value=0)
    return int(-change[change < 0].sum()), int(change[change > 0].sum())
