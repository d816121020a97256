"""Rows and columns that changed in tables: versions that are tables, or else files that pandas can read.

Two versions whose providers can load them as tables are compared as loaded and not file by file, since a store of
tables may write the same rows into other files. Rows are matched by the first column with unique values in both
tables; if there is none, whole rows are compared regardless of their order. A table that cannot be read, or is too
large, is reported as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from mlflow_dsver.content.atomic_files import safe_join
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.model import json_values
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Capability
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.text import error_line, human_count, one_line

MAX_BYTES = 1 << 30
"""Maximum size of a table in bytes."""

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
    """The difference of two tables under the same path.

    key: the column by which rows were matched; None if whole rows were compared, and then `changed` is 0.
    cells: column to the number of rows in which it changed. failure: why the tables were not compared; None if they
    were.
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
        """The difference as lines of text."""
        yield f"table {one_line(self.path, 300)}"
        if self.failure is not None:
            yield f"  not compared: {one_line(self.failure)}"
            return
        by = f"by {one_line(self.key, 80)}" if self.key else "compared as whole rows"
        rows = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        counts = ", ".join(f"{count:,} {word}" for word, count in rows if count) or "none differ"
        yield f"  {human_count(self.rows_before, 'row')} before, {self.rows_after:,} after ({by}): {counts}"
        for word, columns in (("added", self.columns_added), ("removed", self.columns_removed)):
            if columns:
                yield f"  columns {word}: {', '.join(one_line(column, 80) for column in columns)}"
        for column, count in self.cells.items():
            yield f"  {one_line(column, 80)} changed in {human_count(count, 'row')}"

    def to_json(self) -> dict[str, Any]:
        """The difference as a JSON object."""
        return json_values.to_json(self)


def table_differences(before: DatasetVersion, after: DatasetVersion, found: Difference) -> Iterator[TableDifference]:
    """The differences of two versions that are tables, or else of the changed files that are tables by their name.

    Nothing is loaded when no file differs. Raises SettingsError without pandas, and the providers' errors if the
    files are not available.
    """
    if _are_tables(before, after):
        if found or found.unknown:
            yield _whole_tables(before, after)
        return
    pairs = [(old, new) for old, new in found.changed if Path(new.path).suffix.lower() in _READERS]
    if not pairs:
        return
    pandas = _pandas()
    old_folder, new_folder = (get_provider(each.ref.provider).path(each) for each in (before, after))
    for old, new in pairs:
        if max(old.bytes, new.bytes) > MAX_BYTES:
            yield TableDifference(new.path, failure=f"larger than {MAX_BYTES:,} bytes")
            continue
        try:
            tables = _read(pandas, safe_join(old_folder, old.path)), _read(pandas, safe_join(new_folder, new.path))
            yield compare_tables(pandas, new.path, *tables)
        except Exception as error:  # noqa: BLE001  (pandas passes on any exception of its parsers)
            yield TableDifference(new.path, failure=error_line(error))


def _are_tables(*versions: DatasetVersion) -> bool:
    return all(Capability.TABLE in get_provider(each.ref.provider).capabilities for each in versions)


def _whole_tables(before: DatasetVersion, after: DatasetVersion) -> TableDifference:
    """The difference of two versions as their providers load them."""
    path = after.ref.dataset
    for version in (before, after):
        if (version.usage_bytes or 0) > MAX_BYTES:
            return TableDifference(path, failure=f"larger than {MAX_BYTES:,} bytes")
    pandas = _pandas()
    old, new = (get_provider(each.ref.provider).table(each, "pandas") for each in (before, after))
    try:
        return compare_tables(pandas, path, old, new)
    except Exception as error:  # noqa: BLE001  (pandas raises anything for values that it cannot compare)
        return TableDifference(path, failure=error_line(error))


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ImportError as error:
        raise SettingsError(
            "comparing rows needs pandas, which is not installed", tip="pip install pandas"
        ) from error


def compare_tables(pandas: Any, path: str, old: Any, new: Any) -> TableDifference:
    """The difference of two data frames."""
    common = [column for column in old.columns if column in set(new.columns)]
    shape = TableDifference(
        path,
        rows_before=len(old),
        rows_after=len(new),
        columns_added=tuple(str(column) for column in new.columns if column not in set(old.columns)),
        columns_removed=tuple(str(column) for column in old.columns if column not in set(new.columns)),
    )
    key = next((column for column in common if _is_key(old[column]) and _is_key(new[column])), None)
    if key is None:
        removed, added = _compare_whole_rows(pandas, old[common], new[common])
        return replace(shape, added=added, removed=removed)
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


def _is_key(column: Any) -> bool:
    try:
        return bool(column.is_unique) and not bool(column.isna().any())
    except TypeError:  # pandas cannot hash lists and mappings
        return False


def _unequal(left: Any, right: Any) -> Any:
    # As objects, since pandas cannot compare categorical columns with different categories; NaN != NaN.
    left, right = left.astype(object), right.astype(object)
    return (left != right) & ~(left.isna() & right.isna())


def _compare_whole_rows(pandas: Any, old: Any, new: Any) -> tuple[int, int]:
    """The number of removed and of added rows; duplicates count as often as they occur."""
    # As text, since pandas cannot hash lists and mappings in cells.
    before, after = (
        pandas.util.hash_pandas_object(each.astype(str), index=False).value_counts() for each in (old, new)
    )
    change = after.sub(before, fill_value=0)
    return int(-change[change < 0].sum()), int(change[change > 0].sum())
