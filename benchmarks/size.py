"""How much room a request takes: per table and index, details and rollups apart."""

import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from math import log
from pathlib import Path
from typing import Any, Final

from asu_stats.store.rollups.definitions import ROLLUPS
from benchmarks import databases
from benchmarks.capture import DETAILS
from benchmarks.data import DAYS
from benchmarks.databases import Databases
from benchmarks.report import Results, Table

PER_DAY: Final = (1_000, 100_000, 10_000_000)
_ROLLUPS: Final = frozenset(rollup.name for rollup in ROLLUPS)


def run(results: Results, keep: Path, size: int) -> None:
    """Measure the databases of `size` and of a tenth of it: the difference says what grows."""
    result = {
        str(each): _measure(databases.prepare(keep, each, with_raw=False))
        for each in (size // 10 or 1, size)
    }
    results.add("size", result, _tables(result, size), ())


def _measure(prepared: Databases) -> dict[str, Any]:
    with closing(sqlite3.connect(f"file:{prepared.file}?mode=ro", uri=True)) as connection:
        owners: dict[str, str] = dict(
            connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE rootpage > 0")
        )
        total = connection.execute(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        ).fetchone()[0]
        try:
            sizes: dict[str, int] = dict(
                connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name")
            )
        except sqlite3.OperationalError:
            sizes = _by_dropping(prepared.file, set(owners.values()))
    kinds: dict[str, int] = defaultdict(int)
    for name, size in sizes.items():
        kinds[_kind(owners.get(name, name))] += size
    return {"total": total, "kinds": kinds, "objects": sizes, "owners": owners}


def _kind(table: str) -> str:
    if table in DETAILS:
        return "details"
    return "rollups" if table in _ROLLUPS else "other"


def _by_dropping(file: Path, tables: Iterable[str]) -> dict[str, int]:
    """Return bytes per table with its indices where SQLite can't tell: by what a drop sets free."""
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=file.parent) as directory:
        copy = Path(directory) / "copy.db"
        shutil.copyfile(file, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            page = connection.execute("PRAGMA page_size").fetchone()[0]
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            for table in sorted(tables):
                if not table.startswith("sqlite_"):
                    connection.execute(f'DROP TABLE "{table}"')
                    now = connection.execute("PRAGMA freelist_count").fetchone()[0]
                    sizes[table], free = (now - free) * page, now
    return sizes


def _year(result: dict[str, Any], size: int, per_day: int) -> dict[str, float]:
    """Return bytes of a year at so many requests a day.

    Details grow with the requests. Rollups grow with the combinations that occur, ever more slowly:
    by the power of the requests that the two measured sizes show, an upper bound.
    """
    requests = per_day * DAYS
    large = result[str(size)]["kinds"]
    details = large["details"] / size * requests
    tenth = result[str(size // 10 or 1)]["kinds"]
    power = log(large["rollups"] / tenth["rollups"]) / log(10)
    rollups = large["rollups"] * (requests / size) ** power
    return {"details": details, "rollups": rollups}


def _tables(result: dict[str, Any], size: int) -> list[Table]:
    measured = result[str(size)]
    objects: list[Sequence[object]] = [
        (name, measured["owners"].get(name, ""), of / 2**20, of / size)
        for name, of in sorted(measured["objects"].items(), key=lambda item: -item[1])
        if of / size >= 1
    ]
    kinds: list[Sequence[object]] = [
        (kind, of / 2**20, of / size) for kind, of in sorted(measured["kinds"].items())
    ]
    kinds.append(("file", measured["total"] / 2**20, measured["total"] / size))
    years: list[Sequence[object]] = []
    for per_day in PER_DAY:
        year = _year(result, size, per_day)
        years.append((per_day, *(of / 2**30 for of in year.values())))
    return [
        Table(f"{size:,} requests of a year in SQLite", ("", "MiB", "bytes/request"), kinds),
        Table(
            "Tables and indices of at least one byte per request",
            ("name", "of table", "MiB", "bytes/request"),
            objects,
        ),
        Table(
            "A year, extrapolated",
            ("requests a day", "details, GiB", "rollups, GiB"),
            years,
            "Rollups grow with combinations that occur: their column is an upper bound.",
        ),
    ]
