"""Whole months: the partition of an expired month moves from the details to the archive.

One transaction detaches it from one table and attaches it to the other, so no row is copied, and at
any moment each row is in one of them. The rows that are kept at any age move to the default
partition of the details, as long as they are few.
"""

import time
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, Table, func, select

from asu_stats.store.archive import expiry
from asu_stats.store.archive.archive import ARCHIVES, TIMES
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.database import locks, partitions
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.partitions import next_month
from asu_stats.times import midnight

Guard = Callable[[Connection], None]

_MOST_KEPT: Final = 10_000  # rows that are copied while nobody can read the tables


class Moved(NamedTuple):
    """Rows that were archived, and how long that blocked readers and writers."""

    rows: int = 0
    seconds: float = 0.0


_NOTHING: Final = Moved()


def expired(engine: Engine, policy: Policy, today: date, table: Table) -> list[date]:
    """Return the months with a partition all of whose days have expired."""
    if table not in partitions.BY_MONTH:
        return []
    first = policy.first_day(table.name, today)
    with read_snapshot(engine) as connection:
        there = partitions.months(connection, table.name)
    return [month for month in there if next_month(month) <= first]


def hand_over(
    engine: Engine, policy: Policy, today: date, table: Table, month: date, guard: Guard
) -> Moved | None:
    """Move the partition of an expired month to the archive table.

    Nothing moves if the archive has rows of the month already, as after a late event, or if too
    many rows are kept. Returns `None` if the tables are in use for too long.
    """
    archive = ARCHIVES[table].name
    kept = expiry.kept(policy, today, table, month)
    with read_snapshot(engine, unlimited=True) as connection:
        if not _is_possible(connection, table, month):
            return _NOTHING
        staying = len(connection.execute(kept.limit(_MOST_KEPT + 1)).all())
        if staying > _MOST_KEPT or staying == _count(connection, table, month):
            return _NOTHING

    def work(connection: Connection) -> float:
        locks.lock_writers(connection)
        started = time.monotonic()
        guard(connection)
        partitions.lock(connection, table.name, archive)
        if not _is_possible(connection, table, month):
            return 0.0
        rows = connection.execute(kept).scalars().all()
        partitions.hand_over(connection, table.name, archive, month, rows)
        return time.monotonic() - started

    seconds = partitions.briefly(engine, work)
    if not seconds:
        return None if seconds is None else _NOTHING
    with read_snapshot(engine, unlimited=True) as connection:
        return Moved(_count(connection, ARCHIVES[table], month), seconds)


def _is_possible(connection: Connection, table: Table, month: date) -> bool:
    return month in partitions.months(connection, table.name) and partitions.can_hand_over(
        connection, ARCHIVES[table].name, month
    )


def _count(connection: Connection, table: Table, month: date) -> int:
    live = next(live for live, old in ARCHIVES.items() if table in {live, old})
    moment = table.c[TIMES[live]]
    here = moment >= midnight(month), moment < midnight(next_month(month))
    return connection.execute(select(func.count()).select_from(table).where(*here)).scalar_one()


def drop_empty(engine: Engine, name: str, before: date, guard: Guard) -> int:
    """Drop the empty partitions of a table whose month ended before a day; return their number.

    One that is in use for too long stays until the next run.
    """
    with read_snapshot(engine) as connection:
        empty = [
            month
            for month in partitions.months(connection, name)
            if next_month(month) <= before and partitions.is_empty(connection, name, month)
        ]

    def work(connection: Connection, month: date) -> bool:
        locks.lock_writers(connection)
        guard(connection)
        partitions.lock(connection, name)
        return partitions.drop(connection, name, month)

    dropped = 0
    for month in empty:
        dropped += bool(partitions.briefly(engine, partial(work, month=month)))
    return dropped
