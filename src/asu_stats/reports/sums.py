"""Reading rollups: sums over a time range, grouped by names. One function, one statement.

Unfiltered reports read blocks (`store.blocks`); filtered reports read rows of rollups.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Date, Row, Select, bindparam, func, select

from asu_stats.reports import figures
from asu_stats.reports.fields import Period
from asu_stats.store.blocks import reader
from asu_stats.store.blocks.cubes import Cube
from asu_stats.store.blocks.keys import Key
from asu_stats.store.blocks.totals import Before, Top, Totals
from asu_stats.store.database import statements
from asu_stats.store.database.schema import day_changes, store_state
from asu_stats.store.rollups.definitions import DAILY, Rollup
from asu_stats.windows import Interval, Window


def in_window(rollup: Rollup, window: Window) -> ColumnElement[bool]:
    """Return the condition that a row of a daily rollup lies in `window`."""
    return rollup.table.c.date.between(window.start, window.end)


def select_sums(
    rollup: Rollup,
    by: Sequence[str],
    condition: ColumnElement[bool],
    filters: Mapping[str, str] | None = None,
) -> Select[Any]:
    """Select all sums of `rollup`, grouped by the columns `by`."""
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
    """Return all sums of a daily rollup over `window`, grouped by the columns `by`."""
    return connection.execute(select_sums(rollup, by, in_window(rollup, window), filters)).all()


def cubes(connection: Connection, window: Window, *wanted: Cube) -> list[Totals]:
    """Return the totals of each cube over `window`."""
    return reader.read(connection, window.start, window.end, *wanted)


def cube_over_time(
    connection: Connection, window: Window, interval: Interval, cube: Cube
) -> list[tuple[str, Window, Totals]]:
    """Return timestamp, days and totals of each bucket of `window`."""
    parts = list(window.parts(interval))
    days = [(part.start, part.end) for _, part in parts]
    found = reader.read_each(connection, days, cube)
    return [(stamp, part, sums) for (stamp, part), sums in zip(parts, found, strict=True)]


def send_changes(connection: Connection, window: Window) -> None:
    """Ask for what `ahead` needs first over a time range, and do not wait for it."""
    reader.send_changes(connection, window.start, window.end)


def ahead(connection: Connection, *wanted: tuple[Window, Sequence[Cube], bool]) -> None:
    """Bring cubes that reports read later in this snapshot into memory, together.

    Each is wanted over a time range: as one sum, or (`True`) by day.
    """
    reader.ahead(
        connection,
        [reader.Ahead(window.start, window.end, cubes, by_day) for window, cubes, by_day in wanted],
    )


class Below(Protocol):
    """Counts and ranks of the names below other names."""

    def of(self, heads: Sequence[Key]) -> list[Top]:
        """Return, for each of `heads`, the number of names and those with most requests."""

    def counts_of(self, heads: Iterable[Key]) -> dict[str, int]:
        """Return the requests of each name below some heads together."""


class TopsOf:
    """Counts and ranks from rows of (outer name, inner name, requests)."""

    def __init__(self, pairs: Iterable[tuple[str, str, int]], places: int = 5) -> None:
        self._asked: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._places = places
        for outer, inner, requests in pairs:
            if requests:
                self._asked[outer].append((inner, requests))

    def counts_of(self, heads: Iterable[Key]) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for (head,) in heads:
            for name, requests in self._asked.get(head, ()):
                found[name] += requests
        return found

    def of(self, heads: Sequence[Key]) -> list[Top]:
        found = (self._asked.get(head, ()) for (head,) in heads)
        return [Top(len(names), figures.top(names, self._places)) for names in found]


@lru_cache(maxsize=64)
def _days(adds: tuple[str, ...]) -> Select[Any]:
    t = DAILY.table
    window = t.c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
    return select(t.c.date, *(t.c[add] for add in adds)).where(window)


def days(connection: Connection, window: Window, *adds: str) -> list[tuple[Any, ...]]:
    """Return (day, sums) of `stats_daily`, for the days of `window` that have a row."""
    return statements.fetch_once(connection, _days(adds), start=window.start, end=window.end)


def send_days(connection: Connection, window: Window, *adds: str) -> None:
    """Ask for the rows of `days`, and do not wait for them."""
    statements.send_once(connection, _days(adds), start=window.start, end=window.end)


def unique_requests(window: Window, pairs: Totals) -> int:
    """Return the number of distinct request hashes. Each counts on its first day in `window`.

    `pairs` counts hashes by the previous day on which the same hash was requested.
    """
    return pairs.total({0: Before(window.start)})[0]


def unique_by_client(window: Window, pairs: Totals) -> dict[str, int]:
    """Return the number of distinct request hashes of each client with any."""
    return pairs.counts(0, {1: Before(window.start)})


def unique_of_client(connection: Connection, window: Window, client: str, pairs: Rollup) -> int:
    """Return the number of distinct request hashes of one client."""
    first = in_window(pairs, window) & (pairs.table.c.previous_date < window.start)
    found = connection.execute(select_sums(pairs, (), first, {"client": client})).one()
    return int(found.requests or 0)


_SINCE = select(store_state.c.data_since)


def first_day(connection: Connection) -> date | None:
    """Return the first day with any data, `None` without data."""
    found: date | None = statements.fetch_once(connection, _SINCE)[0][0]
    return found


_LAST = select(func.max(day_changes.c.date).label("last"))


def last_day(connection: Connection) -> date | None:
    """Return the last day with any data, `None` without data."""
    found: date | None = statements.fetch_once(connection, _LAST)[0][0]
    return found


def send_days_of_data(connection: Connection) -> None:
    """Ask for the first and the last day with data, and do not wait for them."""
    for query in (_SINCE, _LAST):
        statements.send_once(connection, query)


def data_since(connection: Connection) -> str | None:
    """Return the first day with any data as responses have it, `None` without data."""
    since = first_day(connection)
    return since.isoformat() if since else None


def period(connection: Connection, window: Window, incomplete: list[str]) -> Period:
    """Return the time range of a response; `incomplete` says which figures are unknown and why."""
    return {
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "days": window.days,
        "data_since": data_since(connection),
        "incomplete": incomplete,
    }


_HOURLY = select(store_state.c.hourly_since)


def hourly_since(connection: Connection) -> date | None:
    """Return the first day with hourly figures; `None` if none were ever deleted."""
    found: date | None = statements.fetch_once(connection, _HOURLY)[0][0]
    return found
