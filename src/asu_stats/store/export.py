"""Rows of a table between two days as a stream, for `asu-stats export`."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, Table, func, select

from asu_stats.events import NO_HASH
from asu_stats.store.archive import segments
from asu_stats.store.archive.archive import ARCHIVES, TIMES
from asu_stats.store.database.schema import (
    build_metrics,
    client_stats,
    error_stats,
    request_metadata,
)
from asu_stats.store.details.requests import NOT_ENDED
from asu_stats.store.rollups.definitions import ROLLUPS
from asu_stats.times import midnight


def _column(name: str) -> Callable[[Table], ColumnElement[Any]]:
    return lambda table: table.c[name]


# Tables that can be exported, and the time of their rows.
TABLES: Final[Mapping[str, tuple[Table, Callable[[Table], ColumnElement[Any]]]]] = {
    "build_metrics": (
        build_metrics,
        lambda table: func.coalesce(table.c.finished_at, table.c.started_at),
    ),
    "client_stats": (client_stats, _column("timestamp")),
    "error_stats": (error_stats, _column("timestamp")),
    "request_metadata": (request_metadata, _column("first_requested_at")),
    **{rollup.name: (rollup.table, _column(rollup.key[0])) for rollup in ROLLUPS},
}
_ROWS: Final = 5_000
_NOTHING: Final[Mapping[str, Any]] = {"ended_at": NOT_ENDED, "request_hash": NO_HASH}


def columns(name: str) -> dict[str, type]:
    """Return the columns of a table and the Python types of their values."""
    return {column.name: column.type.python_type for column in TABLES[name][0].columns}


def _shown(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as exported: null if unknown."""
    nothing = _NOTHING.get(column.name)
    return column if nothing is None else func.nullif(column, nothing, type_=column.type)


def rows(
    connection: Connection, name: str, start: date | None, end: date | None
) -> Iterator[Sequence[Any]]:
    """Yield the rows of a table from UTC day `start` to `end`, by time and key.

    Archived rows are included, in their places.
    """
    table, placed = TABLES[name]
    streams = [_ordered(connection, table, placed(table), start, end)]
    if table in ARCHIVES:
        archive = ARCHIVES[table]
        streams.append(_ordered(connection, archive, placed(archive), start, end))
        streams.append(_filed(connection, table, start, end))
    key = len(table.primary_key.columns) + 1
    for row in heapq.merge(*streams, key=lambda row: tuple(row[:key])):
        yield row[key:]


def _ordered(
    connection: Connection,
    table: Table,
    placed: ColumnElement[Any],
    start: date | None,
    end: date | None,
) -> Iterator[tuple[Any, ...]]:
    """Stream the rows of one table, each with its sort key."""
    order = (placed, *table.primary_key.columns)
    query = select(*order, *(_shown(column) for column in table.columns))
    daily = "date" in table.columns
    if start is not None:
        query = query.where(placed >= (start if daily else midnight(start)))
    if end is not None:
        after = end + timedelta(days=1)
        query = query.where(placed < (after if daily else midnight(after)))
    streamed = connection.execution_options(stream_results=True, yield_per=_ROWS)
    yield from map(tuple, streamed.execute(query.order_by(*order)))


def _filed(
    connection: Connection, table: Table, start: date | None, end: date | None
) -> Iterator[tuple[Any, ...]]:
    """Stream the rows of a detail table that are in files, each with its sort key."""
    first = midnight(start or date.min)
    after = midnight(date.max if end is None else end + timedelta(days=1))
    names = [column.name for column in table.columns]
    order = names.index(TIMES[table]), names.index("id")
    nothing = {names.index(name): value for name, value in _NOTHING.items() if name in names}
    for row in segments.stream(connection, table, TIMES[table], first, after):
        known = (None if nothing.get(at, row) == value else value for at, value in enumerate(row))
        yield (*(row[place] for place in order), *known)
