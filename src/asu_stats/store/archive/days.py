"""UTC days with data.

They are found by skipping through an index, so days without data cost nothing.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Date, Select, Table, func, select
from sqlalchemy import cast as sql_cast

from asu_stats.store.archive.archive import ARCHIVES, TIMES
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database import citus, dialects
from asu_stats.store.rollups.definitions import ROLLUPS
from asu_stats.times import midnight

# Times and dates of details in tables, and of rollups.
DETAILS = tuple(
    table.c[moment] for live, moment in TIMES.items() for table in (live, ARCHIVES[live])
)
ANYTHING = (*DETAILS, *(rollup.table.c[rollup.key[0]] for rollup in ROLLUPS))


def with_something(
    connection: Connection,
    columns: Iterable[ColumnElement[Any]] = ANYTHING,
    start: date | None = None,
    end: date | None = None,
) -> list[date]:
    """Return the days from `start` to `end` on which a column or an archive file has a value.

    For a file, all days between its first and last row count. They are in one month.
    """
    found: set[date] = set()
    for column in columns:
        found.update(of_column(connection, column, start, end))
    t = archive_parts.c
    for first_at, last_at in connection.execute(select(t.first_at, t.last_at)):
        first = max(first_at.date(), start or date.min)
        last = min(last_at.date(), end or date.max)
        found.update(map(date.fromordinal, range(first.toordinal(), last.toordinal() + 1)))
    return sorted(found)


def of_column(
    connection: Connection,
    column: ColumnElement[Any],
    start: date | None = None,
    end: date | None = None,
) -> list[date]:
    """Return the days from `start` to `end` on which an indexed date or time has a value."""
    dated = isinstance(column.type, Date)

    def bound(day: date) -> date:
        return day if dated else midnight(day)

    least = select(func.min(column))
    if end is not None:
        least = least.where(column < bound(end + timedelta(days=1)))
    first = least if start is None else least.where(column >= bound(start))
    if citus.has_shards(connection, cast(Table, column.table)):
        return _of_shards(connection, column, first)
    found = select(first.scalar_subquery().label("at")).cte("days", recursive=True)
    after = found.c.at if dated else dialects.next_day(connection.dialect.name, found.c.at)
    following = least.where(column > after if dated else column >= after).scalar_subquery()
    found = found.union_all(select(following).where(found.c.at.is_not(None)))
    moments = connection.execute(select(found.c.at).where(found.c.at.is_not(None))).scalars()
    return [moment.date() if isinstance(moment, datetime) else moment for moment in moments]


def _of_shards(
    connection: Connection, column: ColumnElement[Any], first: Select[Any]
) -> list[date]:
    """Return the days of the times from which `first` selects the least one, without recursion."""
    days = first.with_only_columns(sql_cast(column, Date)).where(column.is_not(None)).distinct()
    return sorted(connection.execute(days).scalars())


def last_with_details(connection: Connection, first: date, before: date) -> date | None:
    """Return the last day from `first` to before `before` that may have details."""
    start, end = midnight(first), midnight(before)
    found: list[datetime | None] = [
        connection.execute(select(func.max(column)).where(column >= start, column < end)).scalar()
        for column in DETAILS
    ]
    t = archive_parts.c
    parts = select(t.last_at).where(t.first_at < end, t.last_at >= start)
    found += [min(last, end - timedelta(days=1)) for last in connection.execute(parts).scalars()]
    days = [moment.date() for moment in found if moment is not None]
    return max(days, default=None)


def newest_event(connection: Connection) -> datetime | None:
    """Return the time of the newest request, build end or error in tables, without zone."""
    newest: list[datetime | None] = [
        connection.execute(select(func.max(live.c[moment]))).scalar()
        for live, moment in TIMES.items()
    ]
    return max((moment for moment in newest if moment is not None), default=None)
