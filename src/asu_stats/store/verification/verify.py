"""Compares rollups with details: any difference is a bug or damage, and `rebuild` repairs it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    delete,
    select,
)

from asu_stats.store.archive import rejections
from asu_stats.store.archive.days import with_something
from asu_stats.store.database import changes, locks, statements
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import (
    store_state,
)
from asu_stats.store.rollups import names
from asu_stats.store.rollups.definitions import DAILY, HOURLY, ROLLUPS, Key, Rollup
from asu_stats.store.rollups.deltas import BOUNDS, bounds, find_bounds
from asu_stats.store.verification import boundaries, recount
from asu_stats.store.verification.boundaries import RetainedRange


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum of a rollup that differs from the details."""

    table: str
    key: Key
    column: str
    stored: int | date | None
    counted: int | date | None


Progress = Callable[[date], object]


def days(engine: Engine, start: date | None = None, end: date | None = None) -> list[date]:
    """Return the days with details or rollups, within `start` and `end`."""
    with read_snapshot(engine, unlimited=True) as connection:
        return with_something(connection, start=start, end=end)


def differences(
    engine: Engine,
    start: date | None = None,
    end: date | None = None,
    progress: Progress = lambda _: None,
    *,
    kept: RetainedRange | None = None,
) -> Iterator[Difference]:
    """Compare the rollups of every day with its details; yield the differences.

    Each day is read from one snapshot, so it can run while events arrive. With `kept`, missing
    hours that should be kept are differences too.
    """
    for day in days(engine, start, end):
        yield from of_day(engine, day)
        progress(day)
    if kept is not None and end is None:
        yield from of_boundaries(engine, kept)


def of_boundaries(engine: Engine, kept: RetainedRange) -> list[Difference]:
    """Return a difference if hours are missing that `rebuild` can restore from details."""
    with read_snapshot(engine, unlimited=True) as connection:
        since = boundaries.missing_hours(connection, kept)
    if since is None:
        return []
    return [Difference(store_state.name, (), "hourly_since", since, kept.hours_from)]


def of_day(engine: Engine, day: date) -> list[Difference]:
    """Compare the rollups of one day with its details; return the differences."""
    with locks.paused_writers(engine), read_snapshot(engine, streams=True) as connection:
        return list(_differences(connection, day))


def rebuild(
    engine: Engine,
    start: date | None = None,
    end: date | None = None,
    progress: Progress = lambda _: None,
    *,
    kept: RetainedRange | None = None,
) -> None:
    """Replace the rollups of every day by sums of its details.

    Each day is one transaction: a query sees its old or its new state. With `kept` and without
    `end`, missing hours that should be kept are restored. Without `start` as well, the boundaries
    in `store_state` are corrected. Raises `MissingArchiveError` if an archive file cannot be read.
    """
    with write_transaction(engine) as connection:
        locks.lock_writers(connection)
        rejections.count_archived(connection, skip_missing=False)
    for day in days(engine, start, end):
        with write_transaction(engine, streams=True) as connection:
            locks.lock_writers(connection)
            _rebuild(connection, day)
        progress(day)
    if kept is not None and end is None:
        boundaries.restore_hours(engine, max(kept.hours_from, start or date.min), progress)
        if start is None:
            boundaries.correct(engine, kept)


def _rebuild(connection: Connection, day: date) -> None:
    recount.add_missing_days(connection, day)
    deltas = recount.of_day(connection, day)
    for rollup in _rollups_of(connection, day):
        connection.execute(delete(rollup.table).where(_of_day(rollup)), recount.parameters_of(day))
        statements.insert(connection, rollup.table, (*rollup.key, *rollup.adds), deltas.of(rollup))
    names.keep(connection, deltas.names)
    find_bounds(connection, day)
    changes.stamp(connection, [day], changes.begin(connection).changes)


_SINCE: Final = select(store_state.c.hourly_since)


def _rollups_of(connection: Connection, day: date) -> Sequence[Rollup]:
    """Return the rollups of a day: hourly ones are deleted after some time."""
    ((since,),) = statements.fetch(connection, _SINCE)
    gone = HOURLY if since is not None and day < since else ()
    return [rollup for rollup in ROLLUPS if rollup not in gone]


def _of_day(rollup: Rollup) -> ColumnElement[bool]:
    column = rollup.table.c[rollup.key[0]]
    return column == recount.DAY if rollup.key[0] == "date" else recount.on_day(column)


@lru_cache(maxsize=64)
def _stored(rollup: Rollup) -> Select[Any]:
    """Select the rows of a rollup on a day."""
    columns = [rollup.table.c[name] for name in (*rollup.key, *rollup.adds)]
    return select(*columns).where(_of_day(rollup))


def _differences(connection: Connection, day: date) -> Iterator[Difference]:
    counted = recount.of_day(connection, day)
    for rollup in _rollups_of(connection, day):
        width = len(rollup.key)
        stored = set(statements.fetch(connection, _stored(rollup), **recount.parameters_of(day)))
        wanted = set(counted.of(rollup))
        if stored != wanted:
            before = {row[:width]: row[width:] for row in stored - wanted}
            after = {row[:width]: row[width:] for row in wanted - stored}
            yield from _of_rows(rollup, before, after)
    yield from _bounds_differences(connection, day)


def _of_rows(
    rollup: Rollup, stored: Mapping[Key, Sequence[int]], counted: Mapping[Key, Sequence[int]]
) -> Iterator[Difference]:
    """Yield the sums that differ; a missing row counts as zeros."""
    nothing = [0] * len(rollup.adds)
    for key in sorted(stored.keys() | counted.keys()):
        pairs = zip(stored.get(key, nothing), counted.get(key, nothing), strict=True)
        for column, (is_stored, is_counted) in zip(rollup.adds, pairs, strict=True):
            if is_stored != is_counted:
                yield Difference(rollup.name, key, column, is_stored, is_counted)


_BOUNDS: Final = bounds(recount.DAY)
_STORED_BOUNDS: Final = select(*(DAILY.table.c[name] for name in BOUNDS)).where(
    DAILY.table.c.date == recount.DAY
)


def _bounds_differences(connection: Connection, day: date) -> Iterator[Difference]:
    for stored in statements.fetch(connection, _STORED_BOUNDS, day=day):
        (counted,) = statements.fetch(connection, _BOUNDS, day=day)
        for name, is_stored, is_counted in zip(BOUNDS, stored, counted, strict=True):
            if is_stored != is_counted:
                yield Difference(DAILY.name, (day,), name, is_stored, is_counted)
