"""What else could answer: DuckDB and ClickHouse on the raw rows, and SQL on our own details.

Each column store has two layouts: rows in the order of time as they were written, with plain text;
and sorted by time, with names as dictionaries (ENUM, LowCardinality) and short types. The better
one of the two counts. Each may have as many threads as it likes.
"""

import importlib.util
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from benchmarks import raw
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
_FILES: Final = MappingProxyType({"requests": raw.REQUESTS, "builds": raw.BUILDS})
_TIMES: Final = MappingProxyType({"requests": "timestamp", "builds": "finished_at"})


SIDES: Final = ("details", "duckdb", "clickhouse")
_PACKAGES: Final = MappingProxyType({"duckdb": "duckdb", "clickhouse": "chdb"})


def missing() -> list[str]:
    """Return the packages that are not installed."""
    return [name for name in _PACKAGES.values() if importlib.util.find_spec(name) is None]


def open_all(directory: Path, details: Path) -> list[Backend]:
    """Return all there are, filled."""
    return [backend for side in SIDES for backend in open_side(side, directory, details)]


def open_side(side: str, directory: Path, details: Path) -> list[Backend]:
    """Return the layouts of one of `SIDES`, filled; none if its package is not installed."""
    if _PACKAGES.get(side) in missing():
        return []
    match side:
        case "duckdb":
            return [*DuckDB.layouts(directory)]
        case "clickhouse":
            return [*ClickHouse.layouts(directory)]
        case _:
            return [Details(details)]


class Details:
    """SQL on our own detail tables, by their indices, through the bare driver."""

    name = "details"
    data_since = FIRST_DAY.isoformat()
    tables: Mapping[str, str] = MappingProxyType(
        {"requests": "client_stats", "builds": "build_metrics", "day": "date({})"}
    )

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        self._connection.execute("PRAGMA cache_size = -65536")

    def rows(self, sql: str) -> Rows:
        """Run a query."""
        return self._connection.execute(sql).fetchall()

    def close(self) -> None:
        """Let go of the file."""
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
        """Run a query."""
        found: Rows = self._connection.execute(sql).fetchall()
        return found

    def close(self) -> None:
        """Let go of the file; the layouts share one connection."""
        self._connection.close()

    @classmethod
    def layouts(cls, directory: Path) -> list[Self]:
        """Return both layouts, filled unless they were before."""
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
        """Run a query."""
        found = self._session.query(sql, "JSONCompactEachRow").bytes()
        return [json.loads(line) for line in found.splitlines()]

    def close(self) -> None:
        """Let go of the directory; the layouts share one session."""
        self._session.close()

    @classmethod
    def layouts(cls, directory: Path) -> list[Self]:
        """Return both layouts, filled unless they were before."""
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
