"""The other databases: DuckDB and ClickHouse on raw rows, and SQL on the details of asu-stats.

Each column store has two layouts: rows in the order of writing with plain text; and rows sorted by
time, with dictionaries (ENUM, LowCardinality) and short types. The faster one counts. The number of
threads is not limited.
"""

import importlib.util
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from benchmarks import parquet_files
from benchmarks.backend import Backend, Rows
from benchmarks.data import FIRST_DAY

_ENUMS: Final = MappingProxyType(
    {
        "requests": (
            "version",
            "target",
            "profile",
            "client",
            "client_version",
            "outcome",
            "status",
            "error_category",
            "error_type",
        ),
        "builds": ("version", "target", "profile", "status", "error_category", "error_type"),
    }
)
_FILES: Final = MappingProxyType(
    {"requests": parquet_files.REQUESTS, "builds": parquet_files.BUILDS}
)
_TIMES: Final = MappingProxyType({"requests": "timestamp", "builds": "finished_at"})


SYSTEMS: Final = ("details", "duckdb", "clickhouse")
_PACKAGES: Final = MappingProxyType({"duckdb": "duckdb", "clickhouse": "chdb"})


def missing() -> list[str]:
    """Return the packages that are not installed."""
    return [name for name in _PACKAGES.values() if importlib.util.find_spec(name) is None]


def open_all(directory: Path, details: Path) -> list[Backend]:
    """Open all databases, and fill new ones."""
    return [backend for system in SYSTEMS for backend in open_system(system, directory, details)]


def open_system(system: str, directory: Path, details: Path) -> list[Backend]:
    """Open the layouts of one of `SYSTEMS`, and fill new ones; none without its package."""
    if _PACKAGES.get(system) in missing():
        return []
    match system:
        case "duckdb":
            return [*DuckDB.layouts(directory)]
        case "clickhouse":
            return [*ClickHouse.layouts(directory)]
        case _:
            return [Details(details)]


class Details:
    """SQL on the detail tables of asu-stats, with their indexes, through the bare driver."""

    name = "details"
    data_since = FIRST_DAY.isoformat()
    tables: Mapping[str, str] = MappingProxyType(
        {"requests": "client_stats", "builds": "build_metrics", "day": "date({})"}
    )

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        self._connection.execute("PRAGMA cache_size = -65536")

    def rows(self, sql: str) -> Rows:
        return self._connection.execute(sql).fetchall()

    def close(self) -> None:
        self._connection.close()


class DuckDB:
    """DuckDB on a file of its own, one table per layout."""

    data_since = FIRST_DAY.isoformat()

    def __init__(self, connection: Any, layout: str) -> None:
        self.name = f"duckdb {layout}"
        self.tables: Mapping[str, str] = {
            "requests": f"requests_{layout}",
            "builds": f"builds_{layout}",
            "day": "CAST({} AS DATE)",
        }
        self._connection = connection

    def rows(self, sql: str) -> Rows:
        found: Rows = self._connection.execute(sql).fetchall()
        return found

    def close(self) -> None:
        self._connection.close()

    @classmethod
    def layouts(cls, directory: Path) -> list[Self]:
        """Open both layouts, and fill new ones."""
        import duckdb

        connection = duckdb.connect(str(directory / "duckdb.db"))
        if not connection.execute("SHOW TABLES").fetchall():
            connection.execute("BEGIN")
            for table, file in _FILES.items():
                source = f"read_parquet('{directory / file}')"
                connection.execute(f"CREATE TABLE {table}_plain AS SELECT * FROM {source}")
                casts = []
                for column in _ENUMS[table]:
                    connection.execute(
                        f"CREATE TYPE {table}_{column} AS ENUM (SELECT DISTINCT {column} "
                        f"FROM {source} WHERE {column} IS NOT NULL)"
                    )
                    casts.append(f"CAST({column} AS {table}_{column}) AS {column}")
                connection.execute(
                    f"CREATE TABLE {table}_sorted AS SELECT * REPLACE ({', '.join(casts)}) "
                    f"FROM {source} ORDER BY {_TIMES[table]}"
                )
            connection.execute("COMMIT")
            connection.execute("CHECKPOINT")
        return [cls(connection, layout) for layout in ("plain", "sorted")]


class ClickHouse:
    """ClickHouse in this process (`chdb`), one table per layout."""

    data_since = FIRST_DAY.isoformat()

    def __init__(self, session: Any, layout: str) -> None:
        self.name = f"clickhouse {layout}"
        self.tables: Mapping[str, str] = {
            "requests": f"bench.requests_{layout}",
            "builds": f"bench.builds_{layout}",
            "day": "toDate({})",
        }
        self._session = session

    def rows(self, sql: str) -> Rows:
        found = self._session.query(sql, "JSONCompactEachRow").bytes()
        return [json.loads(line) for line in found.splitlines()]

    def close(self) -> None:
        self._session.close()

    @classmethod
    def layouts(cls, directory: Path) -> list[Self]:
        """Open both layouts, and fill new ones."""
        from chdb import session as sessions  # only there with the extra `bench`

        make: Any = sessions.Session
        session: Any = make(str(directory / "clickhouse"))
        filled = directory / "clickhouse.filled"
        if not filled.exists():
            session.query("DROP DATABASE IF EXISTS bench")
            session.query("CREATE DATABASE bench")
            for table, file in _FILES.items():
                source = f"file('{directory / file}', Parquet)"
                kinds = {
                    column: kind.removeprefix("Nullable(").removesuffix(")")
                    for column, kind, *_ in cls(session, "").rows(f"DESCRIBE {source}")
                }
                time = _TIMES[table]
                for layout, order in (("plain", "tuple()"), ("sorted", time)):
                    columns = ", ".join(
                        f"{column} {_clickhouse_type(table, column, kind, layout)}"
                        for column, kind in kinds.items()
                    )
                    session.query(
                        f"CREATE TABLE bench.{table}_{layout} ({columns}) "
                        f"ENGINE = MergeTree ORDER BY {order}"
                    )
                    session.query(
                        f"INSERT INTO bench.{table}_{layout} SELECT * FROM {source} "
                        "SETTINGS max_insert_threads = 1"
                    )
                    session.query(f"OPTIMIZE TABLE bench.{table}_{layout} FINAL")
            filled.touch()
        return [cls(session, layout) for layout in ("plain", "sorted")]


def _clickhouse_type(table: str, column: str, kind: str, layout: str) -> str:
    if layout == "sorted":
        if column in _ENUMS[table]:
            nullable = column.startswith("error_")
            return "LowCardinality(Nullable(String))" if nullable else "LowCardinality(String)"
        if column == "request_hash":
            return "FixedString(64)"
    return f"Nullable({kind})" if column.startswith("error_") else kind
