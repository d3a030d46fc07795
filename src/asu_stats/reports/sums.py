"""Reading rollups: sums over a time range, grouped by names. One function, one statement.

Unfiltered reports read blocks (`store.blocks`); filtered reports read rows of rollups.
"""

from collections import defaultdict, namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Date, DateTime, Select, Text, bindparam, func, select

from asu_stats.reports import figures
from asu_stats.reports.fields import Period
from asu_stats.store.blocks import reader
from asu_stats.store.blocks.cubes import Cube
from asu_stats.store.blocks.keys import Key
from asu_stats.store.blocks.totals import Before, Top, Totals
from asu_stats.store.database import changes, statements
from asu_stats.store.database.schema import day_changes
from asu_stats.store.rollups.definitions import DAILY, Rollup
from asu_stats.times import bounds
from asu_stats.windows import Interval, Window

_START: Final = bindparam("start", type_=Date)
_END: Final = bindparam("end", type_=Date)


@lru_cache(maxsize=256)
def select_rows(rollup: Rollup, by: tuple[str, ...], filters: tuple[str, ...]) -> Select[Any]:
    """Select sums from `start` to `end`, of the values `of_…` of the columns `filters`."""
    t = rollup.table.c
    if rollup.key[0] == "date":
        here = [t.date >= _START, t.date <= _END]
    else:
        first, after = (bindparam(name, type_=DateTime) for name in ("start", "end"))
        here = [t.hour >= first, t.hour < after]
    keys = [t[column] for column in by]
    added = [func.sum(t[add]).label(add) for add in rollup.adds]
    same = (t[column] == bindparam(f"of_{column}", type_=t[column].type) for column in filters)
    return select(*keys, *added).where(*here, *same).group_by(*keys)


def send_rows(
    connection: Connection,
    rollup: Rollup,
    by: Sequence[str],
    window: Window,
    filters: Mapping[str, str] | None = None,
) -> Callable[[], list[Any]]:
    """Ask for what `rows` returns. Return a function that waits for it."""
    given = filters or {}
    days = window.start, window.end
    first, after = days if rollup.key[0] == "date" else bounds(*days)
    statement = select_rows(rollup, tuple(by), tuple(given))
    values = {f"of_{column}": value for column, value in given.items()}
    sent = statements.send_once(connection, statement, start=first, end=after, **values)
    row = _row_of(statement)
    return lambda: [row(*values) for values in sent()]


@lru_cache(maxsize=256)
def _row_of(statement: Select[Any]) -> Any:
    return namedtuple("Sums", [column.name for column in statement.exported_columns])  # noqa: PYI024


def rows(
    connection: Connection,
    rollup: Rollup,
    by: Sequence[str],
    window: Window,
    filters: Mapping[str, str] | None = None,
) -> list[Any]:
    """Return all sums of a rollup over `window`, grouped by the columns `by`: named tuples."""
    return send_rows(connection, rollup, by, window, filters)()


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


def send_changes(connection: Connection, window: Window, unless: int | None = None) -> None:
    """Ask for what `send_cubes` needs first over a time range, and do not wait for it.

    With `unless`, see `reader.send_changes`.
    """
    reader.send_changes(connection, window.start, window.end, unless)


def send_cubes(
    connection: Connection, window: Window, *wanted: Cube, interval: Interval | None = None
) -> None:
    """Ask for cubes that are read later in this snapshot, or for those of each interval."""
    if interval is None:
        reader.send(connection, window.start, window.end, *wanted)
    else:
        days = [(part.start, part.end) for _, part in window.parts(interval)]
        reader.send_each(connection, days, *wanted)


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
    return select(t.c.date, *(t.c[add] for add in adds)).where(t.c.date.between(_START, _END))


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


@lru_cache(maxsize=2)
def _unique_of_client(pairs: Rollup) -> Select[Any]:
    t = pairs.table.c
    (add,) = pairs.adds
    here = t.date.between(_START, _END), t.client == bindparam("client", type_=Text)
    return select(func.sum(t[add])).where(*here, t.previous_date < _START)


def send_unique_of_client(
    connection: Connection, window: Window, client: str, pairs: Rollup
) -> Callable[[], int]:
    """Ask for the number of distinct request hashes of one client."""
    days = {"start": window.start, "end": window.end}
    sent = statements.send_once(connection, _unique_of_client(pairs), client=client, **days)
    return lambda: int(sent()[0][0] or 0)


def first_day(connection: Connection) -> date | None:
    """Return the first day with any data, `None` without data."""
    return changes.figures(connection).data_since


_LAST = select(func.max(day_changes.c.date).label("last"))


def last_day(connection: Connection) -> date | None:
    """Return the last day with any data, `None` without data."""
    found: date | None = statements.fetch_once(connection, _LAST)[0][0]
    return found


def send_days_of_data(connection: Connection) -> None:
    """Ask for the first and the last day with data, and do not wait for them."""
    changes.send_figures(connection)
    statements.send_once(connection, _LAST)


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


def hourly_since(connection: Connection) -> date | None:
    """Return the first day with hourly figures; `None` if none were ever deleted."""
    return changes.figures(connection).hourly_since
