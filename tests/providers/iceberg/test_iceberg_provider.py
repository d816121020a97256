"""Versions of Iceberg tables: what names one, what is loaded, what keeps it, and what is said when it is gone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from iceberg_tables import IcebergTable

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import Verdict
from mlflow_dsver.errors import InvalidReference, NotFound, SettingsError
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.iceberg import IcebergProvider, catalogs, holding

pytestmark = pytest.mark.filterwarnings("ignore")  # those of pyiceberg's own code
REFERENCE = "iceberg://shop/pets.cats"


@pytest.fixture
def cats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IcebergTable:
    made = IcebergTable(tmp_path / "lake", monkeypatch)
    made.append(("tom", 3), ("kitty", 5))
    return made


def names(reference: str) -> list[str]:
    provider = IcebergProvider()
    return sorted(provider.table(provider.resolve(dsver.parse(reference)), "pandas")["name"])


def test_ids_branches_tags_and_dates_are_resolved_to_the_snapshot_of_this_table(cats: IcebergTable) -> None:
    first = cats.table.current_snapshot().snapshot_id
    between = datetime.now(UTC).isoformat()
    second = cats.append(("felix", 1))
    cats.tag("v1", first)
    cats.table.manage_snapshots().create_branch(first, "old/ones").commit()
    digits = cats.table.metadata.table_uuid.hex[:12]
    found = {
        text: dsver.resolve(f"{REFERENCE}@{text}").id
        for text in (str(first), "v1", "old/ones", f"{first}-{digits}", "latest", "main")
    }
    old = f"{first}-{digits}"
    assert found == dict.fromkeys([str(first), "v1", "old/ones", old], old) | dict.fromkeys(
        ["latest", "main"], f"{second}-{digits}"
    )
    assert IcebergProvider().resolve(DatasetRef("iceberg", "shop/pets.cats", between)).id == old
    with pytest.raises(NotFound):
        dsver.resolve(f"{REFERENCE}@2001-01-01")


def test_a_table_is_loaded_as_it_was(cats: IcebergTable, tmp_path: Path) -> None:
    provider = IcebergProvider()
    version = provider.resolve(dsver.parse(REFERENCE))
    cats.append(("felix", 1))
    assert sorted(provider.table(version, "pandas")["name"]) == ["kitty", "tom"]
    assert provider.table(version, "arrow").num_rows == 2
    assert (version.counts, provider.revision(version)) == (
        {"files": 1, "rows": 2},
        str(cats.table.snapshots()[0].snapshot_id),
    )
    provider.materialise(version, tmp_path / "out")
    assert [path.suffix for path in (tmp_path / "out" / "data").iterdir()] == [".parquet"]


def test_spark_is_asked_for_the_snapshot_in_the_catalog_of_that_name(
    cats: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for its session, as Iceberg's package for Spark needs Java."""
    asked = {}

    class Reader:
        def option(self, name: str, value: object) -> Reader:
            asked[name] = value
            return self

        def table(self, name: str) -> str:
            return name

    session = SimpleNamespace(read=Reader())
    sql = SimpleNamespace(SparkSession=SimpleNamespace(getActiveSession=lambda: session))
    monkeypatch.setitem(sys.modules, "pyspark", SimpleNamespace(sql=sql))
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)
    provider = IcebergProvider()
    version = provider.resolve(dsver.parse(REFERENCE))
    assert provider.table(version, "spark") == "shop.pets.cats"
    assert asked == {"snapshot-id": int(provider.revision(version))}
    session = None
    with pytest.raises(SettingsError, match="no active session"):
        provider.table(version, "spark")


def test_rows_of_two_snapshots_are_compared(cats: IcebergTable) -> None:
    before = dsver.resolve(REFERENCE)
    cats.append(("felix", 1))
    report = dsver.diff(before, dsver.resolve(REFERENCE), rows=True)
    (table,) = report.tables
    assert (table.rows_before, table.rows_after, table.added) == (2, 3, 1)


def test_a_held_snapshot_outlasts_the_expiry_that_takes_others(cats: IcebergTable) -> None:
    """By a tag of ours; tags of others stay, and with the last reason ours goes."""
    provider = IcebergProvider()
    held, lost = provider.resolve(dsver.parse(REFERENCE)), cats.append(("felix", 1))
    cats.append(("garfield", 9))
    lost_version = provider.resolve(DatasetRef("iceberg", "shop/pets.cats", str(lost)))
    provider.hold(held, [Hold("note:audit"), Hold("note:other")])
    cats.tag("dsver-of-somebody-else", cats.table.current_snapshot().snapshot_id)
    for _ in range(2):
        cats.table.maintenance.expire_snapshots().older_than(datetime.now(UTC)).commit()
    assert provider.get(held.ref.dataset, held.id).tags == ()
    assert names(str(held)) == ["kitty", "tom"]
    with pytest.raises(NotFound, match="expired"):
        provider.get(lost_version.ref.dataset, lost_version.id)
    provider.release(held, [Hold("note:other")])
    assert provider.holds(held) == (Hold("note:audit"),)
    provider.release(held, [Hold("note:audit")])
    assert set(cats.table.refs()) == {"main", "dsver-of-somebody-else"}
    assert not [name for name in cats.table.properties if name.startswith("dsver.")]


def test_holds_of_several_writers_at_once_are_all_kept(cats: IcebergTable) -> None:
    version = IcebergProvider().resolve(dsver.parse(REFERENCE))
    reasons = [Hold(f"note:{letter}") for letter in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda reason: IcebergProvider().hold(version, [reason]), reasons))
    assert IcebergProvider().holds(version) == tuple(reasons)


def test_a_tag_that_anothers_release_took_away_is_set_again(
    cats: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last reason of somebody else went between our tag and our reason."""
    provider = IcebergProvider()
    version = provider.resolve(dsver.parse(REFERENCE))
    provider.hold(version, [Hold("note:theirs")])
    unwatched, calls = holding.exactly, []

    def overtaken(ref: DatasetRef) -> object:
        found = unwatched(ref)
        calls.append(ref)
        if len(calls) == 1:
            table = cats.table
            table.manage_snapshots().remove_tag(f"dsver-{found.snapshot.snapshot_id}").commit()
        return found

    monkeypatch.setattr(holding, "exactly", overtaken)
    provider.hold(version, [Hold("note:ours")])
    assert f"dsver-{provider.revision(version)}" in cats.table.refs()


@pytest.mark.parametrize("name", ["shop", "shop/cats", "shop/pets.", "shop/pets/cats"])
def test_a_name_that_is_no_table_is_refused(name: str) -> None:
    with pytest.raises(InvalidReference, match="names no table"):
        IcebergProvider().resolve(DatasetRef("iceberg", name))


def test_a_catalog_that_is_not_configured_and_a_missing_table_are_told(cats: IcebergTable) -> None:
    with pytest.raises(SettingsError, match="'nowhere' is not configured"):
        dsver.resolve("iceberg://nowhere/pets.cats")
    for name in ("pets.dogs", "none.cats"):
        with pytest.raises(NotFound, match="there is no such table"):
            dsver.resolve(f"iceberg://shop/{name}")


def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg", None)
    with pytest.raises(SettingsError, match=r"mlflow-dsver\[iceberg\]"):
        catalogs.library()


def expired(cats: IcebergTable) -> None:
    """The snapshot expires, as it does by maintenance."""
    cats.append(("felix", 1))
    cats.table.maintenance.expire_snapshots().by_id(cats.table.snapshots()[0].snapshot_id).commit()


def made_anew(cats: IcebergTable) -> None:
    """The table is dropped, and another one has its name and rows."""
    cats.catalog.drop_table("pets.cats")
    shutil.rmtree(cats.folder / "warehouse")
    cats.create()
    cats.append(("tom", 3), ("kitty", 5))


def dropped(cats: IcebergTable) -> None:
    """The table is gone."""
    cats.catalog.drop_table("pets.cats")


def file_deleted(cats: IcebergTable) -> None:
    """A data file is gone, by a cleaner that was wrong."""
    cats.data_files()[0].unlink()


def file_overwritten(cats: IcebergTable) -> None:
    """A data file has another size."""
    cats.data_files()[0].write_bytes(b"another")


def list_overwritten(cats: IcebergTable) -> None:
    """The snapshot's own list of files is another one."""
    path = Path(str(cats.table.current_snapshot().manifest_list).removeprefix("file://"))
    cats.append(("felix", 1))
    newer = Path(str(cats.table.current_snapshot().manifest_list).removeprefix("file://"))
    path.write_bytes(newer.read_bytes())


def appended(cats: IcebergTable) -> None:
    """The table went on."""
    cats.append(("felix", 1))


@pytest.mark.parametrize(
    ("betrayal", "verdict"),
    [
        (appended, Verdict.MATCH),
        (expired, Verdict.MISSING),
        (made_anew, Verdict.MISSING),
        (dropped, Verdict.MISSING),
        (file_deleted, Verdict.MISSING),
        (file_overwritten, Verdict.CHANGED),
        (list_overwritten, Verdict.CHANGED),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_verify_tells_what_happened_to_a_table(
    cats: IcebergTable, tracking: object, betrayal: Callable[[IcebergTable], None], verdict: Verdict
) -> None:
    with dsver.start_run(inputs={"training": REFERENCE}) as run:
        assert str(run.datasets["training"].grade).startswith("C (")
        assert len(run.datasets["training"].table()) == 2
    assert dsver.verify(run.info.run_id).verdict is Verdict.MATCH
    betrayal(cats)
    assert dsver.verify(run.info.run_id).verdict is verdict
