"""Checks and corrects the boundary days in `store_state` from the details.

They are the first day with hourly figures, the last day with archived details, and the first day
with data. A wrong clock can have set wrong values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Connection, Engine, delete, func, select, update

from asu_stats.event_times import OLDEST_EVENT
from asu_stats.store.archive.archive import ARCHIVES, DETAILS, TIMES
from asu_stats.store.archive.days import last_with_details
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database import changes, locks, statements
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.schema import build_metrics, store_state
from asu_stats.store.rollups.definitions import DAILY, HOURLY
from asu_stats.store.verification import recount
from asu_stats.times import midnight

_s = store_state.c


@dataclass(frozen=True, slots=True)
class RetainedRange:
    """The range that retention keeps today, and the earliest possible UTC day of history."""

    policy: Policy
    today: date
    oldest: date = OLDEST_EVENT

    @property
    def hours_from(self) -> date:
        """First day whose hourly figures are kept."""
        return self.policy.first_day("hourly_rollup", self.today)

    @property
    def details_from(self) -> date:
        """First day without archived details."""
        return max(self.policy.first_day(table.name, self.today) for table in DETAILS)


def missing_hours(connection: Connection, kept: RetainedRange) -> date | None:
    """Return the first day with hourly figures if details can restore earlier ones, else `None`."""
    since: date | None = connection.execute(select(_s.hourly_since)).scalar()
    if since is None or since <= kept.hours_from:
        return None
    return since if last_with_details(connection, kept.hours_from, since) else None


def restore_hours(engine: Engine, first: date, progress: Callable[[date], object]) -> None:
    """Recount missing hours that should be kept, back to the day `first`.

    The last day comes first. Each day is one transaction that also moves the boundary, so kept
    hours are complete at any moment.
    """
    day: date | None = None
    while True:
        with write_transaction(engine, streams=True) as connection:
            locks.lock_writers(connection)
            since = connection.execute(select(_s.hourly_since)).scalar()
            if since is None or since <= first:
                return
            day = last_with_details(connection, first, since)
            if day is not None:
                _count_hours(connection, day)
            counted = changes.begin(connection).changes
            changes.stamp(connection, [day or first], counted)
            connection.execute(update(store_state).values(hourly_since=day or first))
        if day is None:
            return
        progress(day)


def _count_hours(connection: Connection, day: date) -> None:
    deltas = recount.of_day(connection, day)
    for rollup in HOURLY:
        here = recount.on_day(rollup.table.c[rollup.key[0]])
        connection.execute(delete(rollup.table).where(here), recount.parameters_of(day))
        statements.insert(connection, rollup.table, (*rollup.key, *rollup.adds), deltas.of(rollup))


def correct(engine: Engine, kept: RetainedRange) -> None:
    """Correct the first day with data and the boundary of the archive."""
    with write_transaction(engine) as connection:
        locks.lock_writers(connection)
        state = connection.execute(select(_s.data_since, _s.archived_before)).one()
        values: dict[str, date | None] = {}
        first = _first_day(connection, kept.oldest)
        since = state.data_since
        if since is not None and (since < kept.oldest or (first is not None and first < since)):
            values["data_since"] = first
        archived = max(_archived_before(connection), kept.details_from)
        if state.archived_before is not None and state.archived_before > archived:
            values["archived_before"] = archived
        if values:
            changes.begin(connection)
            connection.execute(update(store_state).values(values))


def _first_day(connection: Connection, oldest: date) -> date | None:
    """Return the first day from `oldest` on with any data."""
    days = DAILY.table.c.date
    found = [connection.execute(select(func.min(days)).where(days >= oldest)).scalar()]
    for table in (build_metrics, ARCHIVES[build_metrics]):
        start = table.c.started_at
        started = select(func.min(start)).where(start >= midnight(oldest))
        moment = connection.execute(started).scalar()
        found.append(moment and moment.date())
    return min((day for day in found if day is not None), default=None)


def _archived_before(connection: Connection) -> date:
    """Return the day after the last one with archived details."""
    times = [ARCHIVES[live].c[moment] for live, moment in TIMES.items()]
    found = [
        connection.execute(select(func.max(column))).scalar()
        for column in (*times, archive_parts.c.last_at)
    ]
    days = [moment.date() + timedelta(days=1) for moment in found if moment is not None]
    return max(days, default=date.min)
