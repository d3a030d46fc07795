"""UTC days with data.

They are found by skipping through an index, so days without data cost nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Date, Select, Table, bindparam, func, select
from sqlalchemy import cast as sql_cast

from asu_stats.store.archive.archive import ARCHIVES, TIMES
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database import citus, dialects, statements
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
    bounds = {"first": start, "before": None if end is None else end + timedelta(days=1)}
    given = {
        name: day if dated else midnight(day) for name, day in bounds.items() if day is not None
    }
    if citus.has_shards(connection, cast(Table, column.table)):
        return _of_shards(connection, column, given)
    query = _skipping(connection.dialect.name, column, start is not None, end is not None)
    moments = [moment for (moment,) in statements.fetch(connection, query, **given)]
    return [moment.date() if isinstance(moment, datetime) else moment for moment in moments]


# Declaring and compiling this for all columns takes longer than running it on a year.
@lru_cache(maxsize=256)
def _skipping(
    dialect: dialects.Dialect, column: ColumnElement[Any], from_first: bool, to_last: bool
) -> Select[Any]:
    """Select the least value of each day, from `first` and before `before` if these are given."""
    least = select(func.min(column))
    if to_last:
        least = least.where(column < bindparam("before", type_=column.type))
    first = least.where(column >= bindparam("first", type_=column.type)) if from_first else least
    found = select(first.scalar_subquery().label("at")).cte("days", recursive=True)
    dated = isinstance(column.type, Date)
    after = found.c.at if dated else dialects.next_day(dialect, found.c.at)
    following = least.where(column > after if dated else column >= after).scalar_subquery()
    found = found.union_all(select(following).where(found.c.at.is_not(None)))
    return select(found.c.at).where(found.c.at.is_not(None))


def _of_shards(
    connection: Connection, column: ColumnElement[Any], given: Mapping[str, date]
) -> list[date]:
    """Return the days of all values between the bounds, without recursion."""
    days = select(sql_cast(column, Date)).where(column.is_not(None)).distinct()
    if "first" in given:
        days = days.where(column >= given["first"])
    if "before" in given:
        days = days.where(column < given["before"])
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
