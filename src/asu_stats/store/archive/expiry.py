"""Expiry: which details can be archived, and which are kept at any age."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ScalarSelect,
    Select,
    and_,
    func,
    or_,
    select,
)

from asu_stats.store.archive import archive
from asu_stats.store.archive.archive import DETAILS, TIMES
from asu_stats.store.archive.days import of_column
from asu_stats.store.database import partitions
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.partitions import next_month
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.rollups.definitions import HOURLY
from asu_stats.times import bounds, midnight

# Rows of a month. Up to so many are archived by day, in seconds; more wait for the end of the
# month, and leave with its partition.
_MANY: Final = 100_000


@dataclass(frozen=True, slots=True)
class Policy:
    """Number of days that details and hourly figures are kept, including today."""

    build_metrics_days: int = 90
    client_stats_days: int = 180
    error_stats_days: int = 180
    hourly_rollup_days: int = 90
    latest: int = 100  # number of newest builds and errors that are kept at any age

    def first_day(self, name: str, today: date) -> date:
        """Return the first day that is kept in full: of a table, or of the `hourly_rollup`s."""
        days: int = getattr(self, f"{name}_days")
        return today - timedelta(days=days - 1)


def moment_of(table: Any) -> ColumnElement[Any]:
    """Return the column with the time that decides on which day a row counts."""
    moment: ColumnElement[Any] = table.c[TIMES[table]]
    return moment


def can_be_archived(policy: Policy, today: date, table: Any, day: date) -> ColumnElement[bool]:
    """Return the condition that a row of an expired day can be archived.

    Rows without an end are kept, and rows that responses show: the slowest builds of the day, and
    the `latest` builds and errors. The row with the highest number is kept too, because SQLite
    would assign its number again.
    """
    first, after = bounds(day)
    t, moment = table.c, moment_of(table)
    conditions = [moment >= first, moment < after, t.id < _highest(table)]
    if table is client_stats:
        cut = midnight(policy.first_day(table.name, today))
        conditions.append(or_(t.ended_at.is_(None), t.ended_at < cut))
    else:
        conditions.append(moment < _newest(policy, table))
    if table is build_metrics:
        conditions.append(t.id.not_in(archive.slowest(table, day)))
    return and_(*conditions)


def kept(policy: Policy, today: date, table: Any, month: date) -> Select[int]:
    """Select the numbers of the rows of an expired month that `can_be_archived` excludes.

    For tables with partitions.
    """
    t, moment = table.c, moment_of(table)
    here = moment >= midnight(month), moment < midnight(next_month(month))
    others = [t.id >= _highest(table)]
    if table is client_stats:
        others.append(t.ended_at >= midnight(policy.first_day(table.name, today)))
    else:
        newest = _newest(policy, table)
        others += [newest.is_(None), moment >= newest]
    return select(t.id).where(*here, or_(*others))


def _highest(table: Any) -> ScalarSelect[Any]:
    return select(func.max(table.c.id)).scalar_subquery()


def _newest(policy: Policy, table: Any) -> ScalarSelect[Any]:
    """Select the time of the oldest one of the `latest` rows, null if there are fewer."""
    moment = moment_of(table)
    newest = select(moment).where(moment.is_not(None)).order_by(moment.desc())
    return newest.offset(policy.latest - 1).limit(1).scalar_subquery()


def days(connection: Connection, policy: Policy, today: date, table: Any) -> list[date]:
    """Return the expired days that have rows; some of these rows may be kept.

    A month with a partition and many rows expires as a whole, with its last day.
    """
    first = policy.first_day(table.name, today)
    last = first - timedelta(days=1)
    found = of_column(connection, moment_of(table), end=last)
    if not found or table not in partitions.BY_MONTH:
        return found
    months = {day.replace(day=1) for day in found} & {*partitions.months(connection, table.name)}
    waiting = {
        month
        for month in months
        if next_month(month) > first and _has_many_rows(connection, table, month)
    }
    return [day for day in found if day.replace(day=1) not in waiting]


def _has_many_rows(connection: Connection, table: Any, month: date) -> bool:
    moment = moment_of(table)
    here = moment >= midnight(month), moment < midnight(next_month(month))
    one_more = select(table.c.id).where(*here).order_by(moment).offset(_MANY).limit(1)
    return connection.execute(one_more).first() is not None


def waiting(engine: Engine, policy: Policy, today: date) -> dict[str, int]:
    """Return how many rows a run would archive per table, and how many hours it would delete.

    Changes nothing.
    """
    found = {}
    with read_snapshot(engine, unlimited=True) as connection:
        for table in DETAILS:
            found[f"{table.name}_archived"] = sum(
                connection.execute(count(policy, today, table, day)).scalar_one()
                for day in days(connection, policy, today, table)
            )
        hour = midnight(policy.first_day("hourly_rollup", today))
        found["hours_deleted"] = sum(
            connection.execute(
                select(func.count()).select_from(rollup.table).where(rollup.table.c.hour < hour)
            ).scalar_one()
            for rollup in HOURLY
        )
    return found


def count(policy: Policy, today: date, table: Any, day: date) -> Select[int]:
    """Count the rows of a day that can be archived."""
    return select(func.count()).select_from(table).where(can_be_archived(policy, today, table, day))
