"""Reading rollups: sums over a window, grouped by names. One function, one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from asu_stats.reports import figures
from asu_stats.reports.answers import Period
from asu_stats.store.rollups import (
    CLIENT_UNIQUE_REQUESTS,
    CLIENTS,
    DURATIONS,
    UNIQUE_REQUESTS,
    Rollup,
)
from asu_stats.store.tables import store_state
from asu_stats.windows import Window


def in_window(rollup: Rollup, window: Window) -> ColumnElement[bool]:
    """Return the condition that a row of a daily rollup lies in `window`."""
    return rollup.table.c.date.between(window.start, window.end)


def of(
    rollup: Rollup,
    by: Sequence[str],
    condition: ColumnElement[bool],
    filters: Mapping[str, str] | None = None,
) -> Select[Any]:
    """Select the sums of all that `rollup` adds, per value of the columns `by`."""
    t = rollup.table
    keys = [t.c[column] for column in by]
    sums = [func.sum(t.c[add]).label(add) for add in rollup.adds]
    same = [t.c[column] == value for column, value in (filters or {}).items()]
    return select(*keys, *sums).where(condition, *same).group_by(*keys)


def rows(
    connection: Connection,
    rollup: Rollup,
    by: Sequence[str],
    window: Window,
    filters: Mapping[str, str] | None = None,
) -> Sequence[Row[Any]]:
    """Return the sums of a daily rollup over `window`, per value of the columns `by`."""
    return connection.execute(of(rollup, by, in_window(rollup, window), filters)).all()


@dataclass(slots=True)
class Builds:
    """Requests and builds of one name, added up row by row."""

    requests: int = 0
    cache_hits: int = 0
    successful: int = 0
    failed: int = 0
    timed: int = 0
    seconds: int = 0

    def add(self, row: Row[Any]) -> None:
        """Add a row of `stats_version_target`, `stats_profiles` or `stats_hourly_profiles`."""
        self.requests += int(row.request_count)
        self.cache_hits += int(row.cache_hits)
        self.successful += int(row.success_count)
        self.failed += int(row.failure_count)
        self.timed += int(row.timed_builds)
        self.seconds += int(row.build_time_seconds)

    def __bool__(self) -> bool:
        return bool(self.requests or self.successful or self.failed)

    @property
    def cache_hit_rate(self) -> float | None:
        """Cache hits of requests, in percent."""
        return figures.rate(self.cache_hits, self.requests)

    @property
    def success_rate(self) -> float | None:
        """Successful of ended builds, in percent."""
        return figures.rate(self.successful, self.successful + self.failed)

    @property
    def avg_build_duration(self) -> float | None:
        """Average seconds of successful builds."""
        return figures.average(self.seconds, self.timed)


def durations(connection: Connection, window: Window) -> figures.Distribution:
    """Return the durations of all successful builds that finished in `window`."""
    found = rows(connection, DURATIONS, ("seconds",), window)
    return figures.Distribution((row.seconds, int(row.builds)) for row in found)


def unique_requests(connection: Connection, window: Window) -> int:
    """Return the number of distinct request hashes: each counts at its first day in `window`."""
    t = UNIQUE_REQUESTS.table
    first = in_window(UNIQUE_REQUESTS, window) & (t.c.previous_date < window.start)
    total = select(func.coalesce(func.sum(t.c.requests), 0)).where(first)
    return int(connection.execute(total).scalar_one())


def unique_by_client(
    connection: Connection, window: Window, client: str | None = None
) -> dict[str, int]:
    """Return the number of distinct request hashes per client."""
    t = CLIENT_UNIQUE_REQUESTS.table
    first = in_window(CLIENT_UNIQUE_REQUESTS, window) & (t.c.previous_date < window.start)
    filters = {} if client is None else {"client": client}
    found = connection.execute(of(CLIENT_UNIQUE_REQUESTS, ("client",), first, filters))
    return {row.client: int(row.requests) for row in found}


def requests_by_client(connection: Connection, window: Window) -> dict[str, int]:
    """Return the accepted requests per client."""
    return {row.client: int(row.requests) for row in rows(connection, CLIENTS, ("client",), window)}


def period(connection: Connection, window: Window) -> Period:
    """Return what an answer says about its window."""
    since: date | None = connection.execute(select(store_state.c.data_since)).scalar_one()
    return {
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "days": window.days,
        "data_since": since.isoformat() if since else None,
    }
