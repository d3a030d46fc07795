"""The rows that a batch adds to the detail tables: what bare inserts of the same have to write."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.types.json import Json
from sqlalchemy import JSON, Boolean, Date, DateTime, Table, make_url

from asu_stats.events import Event
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from asu_stats.store.database.metadata import metadata

DETAILS: Final = (
    "event_identities",
    "request_metadata",
    "client_stats",
    "build_metrics",
    "error_stats",
    "request_days",
)

Rows: TypeAlias = list[tuple[Any, ...]]
Batch: TypeAlias = dict[str, Rows]
"""New rows by table, without the numbers that the database gives itself."""


def columns(table: Table) -> list[str]:
    """Return the columns that an insert has to name."""
    return [column.name for column in table.c if column.name != "id"]


def capture(file: Path, batches: Sequence[Sequence[Event]]) -> list[Batch]:
    """Apply batches to a database and return the rows that each inserted into detail tables.

    The database has triggers for it then, so it is of no further use.
    """
    tables = [metadata.tables[name] for name in DETAILS if name in metadata.tables]
    with closing(sqlite3.connect(file)) as connection:
        for table in tables:
            named = columns(table)
            fields = ", ".join(named)
            new = ", ".join(f"NEW.{column}" for column in named)
            connection.executescript(
                f"CREATE TABLE captured_{table.name} AS SELECT {fields} FROM {table.name} WHERE 0;"
                f"CREATE TRIGGER capture_{table.name} AFTER INSERT ON {table.name} "
                f"BEGIN INSERT INTO captured_{table.name} VALUES ({new}); END;"
            )
        engine = engines.create(f"sqlite:///{file}")
        found: list[Batch] = []
        for batch in batches:
            apply_batch(engine, batch)
            found.append({})
            for table in tables:
                rows = connection.execute(f"SELECT * FROM captured_{table.name} ORDER BY rowid")
                found[-1][table.name] = rows.fetchall()
                connection.execute(f"DELETE FROM captured_{table.name}")
            connection.commit()
        engine.dispose()
    return found


def connect_sqlite(file: Path) -> sqlite3.Connection:
    """Connect the bare driver, as durable as a writer of asu-stats."""
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "temp_store = MEMORY",
        "cache_size = -65536",
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


class BareSqlite:
    """Inserts of ready tuples through the bare driver, one transaction a batch, as durable."""

    def __init__(self, file: Path) -> None:
        self._connection = connect_sqlite(file)

    def insert(self, batch: Batch) -> None:
        """Insert the rows of a batch."""
        self._connection.execute("BEGIN IMMEDIATE")
        for name, rows in batch.items():
            if rows:
                self._connection.executemany(_insert(name, "?"), rows)
        self._connection.execute("COMMIT")

    def ready(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return rows as this driver takes them."""
        return list(batches)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


class BarePostgresql:
    """The same on PostgreSQL."""

    def __init__(self, url: str) -> None:
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(plain)

    def insert(self, batch: Batch) -> None:
        """Insert the rows of a batch."""
        with self._connection.cursor() as cursor:
            for name, rows in batch.items():
                if rows:
                    cursor.executemany(_insert(name, "%s"), rows)
        self._connection.commit()

    def ready(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return rows as this driver takes them: SQLite keeps times and truth as text and 0, 1."""
        return [
            {name: _converted(metadata.tables[name], rows) for name, rows in batch.items()}
            for batch in batches
        ]

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def _insert(name: str, target: str) -> str:
    named = columns(metadata.tables[name])
    return f"INSERT INTO {name} ({', '.join(named)}) VALUES ({', '.join([target] * len(named))})"


def _converted(table: Table, rows: Rows) -> Rows:
    kinds = [_from_sqlite(table.c[name].type) for name in columns(table)]
    return [
        tuple(
            value if value is None or kind is None else kind(value)
            for kind, value in zip(kinds, row, strict=True)
        )
        for row in rows
    ]


def _from_sqlite(kind: object) -> Callable[[Any], Any] | None:
    if isinstance(kind, Boolean):
        return bool
    if isinstance(kind, DateTime):
        return datetime.fromisoformat
    if isinstance(kind, Date):
        return date.fromisoformat
    if isinstance(kind, JSON):
        return lambda text: Json(json.loads(text))
    return None
