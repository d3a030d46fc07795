"""Detail tables whose rollups triggers keep, written as a programmer who knows SQL does."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import psycopg
from sqlalchemy import make_url

from asu_stats.events import BuildStarted, Event, RequestReceived
from asu_stats.times import naive
from benchmarks import trigger_rollups
from benchmarks.capture import connect_sqlite
from benchmarks.trigger_rollups import DETAILS, Count

Rows: TypeAlias = list[tuple[Any, ...]]
# The columns of an event of a build; the others are found in the rows of its start and request.
_OF_EVENT: Final = {
    "requests": list(DETAILS["requests"]),
    "build_starts": list(DETAILS["build_starts"]),
    "builds": list(DETAILS["builds"])[:13],
}
_ARRAYS: Final = {
    "time": "timestamp",
    "date": "date",
    "bool": "boolean",
    "int": "int",
    "json": "jsonb",
}
_NAMES: Final = ("version", "target", "profile")
_SECONDS: Final = {
    "sqlite": "(CAST(round((julianday(e.finished) - julianday(s.started)) * 86400000) AS integer)"
    " + 500) / 1000",
    "postgresql": "round(extract(epoch FROM e.finished - s.started))::int",
}


class Rival(Protocol):
    """Detail tables with triggers."""

    def insert(self, events: Sequence[Event]) -> None:
        """Write a batch in one transaction."""

    def settle(self) -> None:
        """Write everything to its place, as the other side does after it was filled."""

    def query(self, sql: str) -> Rows:
        """Return rows."""

    def close(self) -> None:
        """Disconnect."""


def _rows(events: Iterable[Event], value: Callable[[date], object]) -> dict[str, Rows]:
    """Return the rows of a batch by table, requests first: builds look for them.

    `value` is what the driver takes for a day or time.
    """
    found: dict[str, Rows] = {name: [] for name in DETAILS}
    for e in events:
        moment = naive(e.time)
        hour = moment.replace(minute=0, second=0, microsecond=0)
        at, times = value(moment), (value(moment), value(moment.date()), value(hour))
        if isinstance(e, RequestReceived):
            found["requests"].append(
                (
                    *(e.id, e.source, *times, e.request_hash, e.outcome, e.version),
                    *(e.target, e.profile, e.diff_packages, e.client, e.client_version),
                    *(e.package_count, e.has_custom_repos, e.has_defaults, e.rootfs_size_mb),
                    *(e.error_message, e.error_category, e.error_type),
                )
            )
        elif isinstance(e, BuildStarted):
            row = (e.build_id, e.id, e.source, at, e.request_hash, e.worker_id)
            found["build_starts"].append(row)
        else:
            phases = json.dumps(dict(e.phases)) if e.phases is not None else None
            found["builds"].append(
                (
                    *(e.build_id, e.id, e.source, *times, e.request_hash, e.status, e.worker_id),
                    *(phases, e.error_message, e.error_category, e.error_type),
                )
            )
    return found


def _insert(table: str, dialect: str, source: str) -> str:
    """Return the statement that inserts rows of events from `source`, which is called `e`."""
    given = _OF_EVENT[table]
    values = [f"e.{column}" for column in given]
    joins = ""
    if table == "builds":
        values += [_SECONDS[dialect], *(f"coalesce(r.{name}, 'unknown')" for name in _NAMES)]
        values.append("r.diff_packages")
        joins = (
            " LEFT JOIN build_starts s ON s.build_id = e.build_id LEFT JOIN requests r ON r.seq = "
            "(SELECT f.seq FROM requests f WHERE f.request_hash = e.request_hash "
            "AND f.outcome <> 'rejected' LIMIT 1)"
        )
    return (
        f"INSERT INTO {table} ({', '.join(DETAILS[table])}) SELECT {', '.join(values)} "
        f"FROM {source}{joins} WHERE 1 = 1 ON CONFLICT ({next(iter(DETAILS[table]))}) DO NOTHING"
    )


class SqliteRival:
    """A file with triggers by row, written through the bare driver."""

    def __init__(self, file: Path, counts: Sequence[Count]) -> None:
        self._connection = connect_sqlite(file)
        self._connection.execute("PRAGMA wal_autocheckpoint = 8192")  # as ours
        for statement in trigger_rollups.tables("sqlite", counts):
            self._connection.execute(statement)
        for statement in trigger_rollups.sqlite_triggers(counts):
            self._connection.execute(statement)
        self._inserts = {}
        for table, given in _OF_EVENT.items():
            row = ", ".join(f"? AS {column}" for column in given)
            self._inserts[table] = _insert(table, "sqlite", f"(SELECT {row}) e")

    def insert(self, events: Sequence[Event]) -> None:
        """Write a batch in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        for table, rows in _rows(events, str).items():
            if rows:
                self._connection.executemany(self._inserts[table], rows)
        self._connection.execute("COMMIT")

    def settle(self) -> None:
        """Bring everything into the one file."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def query(self, sql: str) -> Rows:
        """Return rows."""
        return self._connection.execute(sql).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class PostgresqlRival:
    """A database with triggers by row or by statement. A batch takes one round trip."""

    def __init__(self, url: str, counts: Sequence[Count], level: str) -> None:
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(plain, autocommit=True)
        for statement in trigger_rollups.tables("postgresql", counts):
            self._connection.execute(statement.encode())
        for statement in trigger_rollups.postgresql_triggers(counts, level):
            self._connection.execute(statement.encode())
        self._inserts = {}
        for table, given in _OF_EVENT.items():
            kinds = [_ARRAYS.get(DETAILS[table][column], "text") for column in given]
            arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
            source = f"unnest({arrays}) e ({', '.join(given)})"
            self._inserts[table] = _insert(table, "postgresql", source).encode()

    def insert(self, events: Sequence[Event]) -> None:
        """Write a batch in one transaction."""
        with self._connection.pipeline(), self._connection.transaction():
            for table, rows in _rows(events, lambda time: time).items():
                if rows:
                    columns = [list(column) for column in zip(*rows, strict=True)]
                    self._connection.execute(self._inserts[table], columns, prepare=True)

    def settle(self) -> None:
        """Update the statistics of the planner."""
        self._connection.execute("VACUUM ANALYZE")

    def query(self, sql: str) -> Rows:
        """Return rows."""
        return self._connection.execute(sql.encode()).fetchall()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
