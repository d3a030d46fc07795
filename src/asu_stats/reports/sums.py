"""Reading rollups: sums over a window, grouped by names. One function, one statement.

Questions about all read packed days (`store.blocks`); those with a filter read the rollup's rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from sqlalchemy import ColumnElement, Connection, Date, Row, Select, bindparam, func, select

from asu_stats.reports import figures
from asu_stats.reports.fields import Period
from asu_stats.store.blocks import reader
from asu_stats.store.blocks.codec import Totals
from asu_stats.store.blocks.cubes import Cube
from asu_stats.store.blocks.keys import Groups, Ints, Key
from asu_stats.store.database import statements
from asu_stats.store.database.schema import store_state
from asu_stats.store.rollups.definitions import DAILY, Rollup
from asu_stats.windows import Interval, Window


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


def cubes(connection: Connection, window: Window, *wanted: Cube) -> list[Totals]:
    """Return the sums of packed days over `window`."""
    return reader.read(connection, window.start, window.end, *wanted)


def cube_over_time(
    connection: Connection, window: Window, interval: Interval, cube: Cube
) -> list[tuple[str, Window, Totals]]:
    """Return the buckets of `window`, each with its days and the sums of packed days over them."""
    parts = list(window.parts(interval))
    days = [(part.start, part.end) for _, part in parts]
    found = reader.read_each(connection, days, cube)
    return [(stamp, part, sums) for (stamp, part), sums in zip(parts, found, strict=True)]


class Top(NamedTuple):
    """The names below one: how many there are, and those asked for most."""

    names: int
    first: list[tuple[str, int]]


NOTHING: Final = Top(0, [])


class Below(Protocol):
    """What is below names."""

    def of(self, heads: Sequence[Key]) -> list[Top]:
        """Return, for each of `heads`, how many names there are and those with most requests."""


class Tops:
    """What is below each head of a key that has two parts or more: its last parts, ranked."""

    def __init__(self, groups: Groups, counts: Ints, places: int = 5) -> None:
        """Take the keys of a cube in order, and the requests of each."""
        self._groups, self._counts = groups, counts
        self._ranked, self.sizes = figures.top_of_each(groups.group, counts, places)
        self._shown = np.minimum(self.sizes, places)
        self._ends = np.cumsum(self._shown)

    def of(self, heads: Sequence[Key]) -> list[Top]:
        """Return, for each of `heads`, how many names there are and those with most requests."""
        if not len(self.sizes):
            return [NOTHING] * len(heads)
        known, last = self._groups.places, len(self.sizes)
        found = np.array([known.get(head, last) for head in heads], np.int64)
        here = found < last
        places = np.where(here, found, 0)
        sizes, shown = (np.where(here, of[places], 0) for of in (self.sizes, self._shown))
        up_to = np.cumsum(shown)
        taken = np.arange(shown.sum()) + np.repeat(self._ends[places] - up_to, shown)
        ranked = self._ranked[taken]
        first = list(
            zip(self._groups.tails[ranked].tolist(), self._counts[ranked].tolist(), strict=True)
        )
        rows = zip(sizes.tolist(), shown.tolist(), up_to.tolist(), strict=True)
        return [Top(size, first[end - n : end]) for size, n, end in rows]


class TopsOf:
    """What `Tops` is, from (outer name, inner name, requests)."""

    def __init__(self, pairs: Iterable[tuple[str, str, int]], places: int = 5) -> None:
        self._asked: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._places = places
        for outer, inner, requests in pairs:
            if requests:
                self._asked[outer].append((inner, requests))

    def of(self, heads: Sequence[Key]) -> list[Top]:
        """Return, for each of `heads`, how many names there are and those with most requests."""
        found = (self._asked.get(head, ()) for (head,) in heads)
        return [Top(len(names), figures.top(names, self._places)) for names in found]


@lru_cache(maxsize=64)
def _days(adds: tuple[str, ...]) -> Select[Any]:
    t = DAILY.table
    window = t.c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
    return select(t.c.date, *(t.c[add] for add in adds)).where(window)


def days(connection: Connection, window: Window, *adds: str) -> list[tuple[Any, ...]]:
    """Return (day, sums) of `stats_daily`, of the days of `window` that have a row."""
    return statements.fetch(connection, _days(adds), start=window.start, end=window.end)


def unique_requests(window: Window, pairs: Totals) -> int:
    """Return the number of distinct request hashes: each counts at its first day in `window`."""
    days, codes = pairs.column(0)
    before = days[codes] < window.start.toordinal()
    return int(pairs.sums[:, 0][before].sum())


class UniqueByClient:
    """The number of distinct request hashes of each client."""

    def __init__(self, window: Window, pairs: Totals) -> None:
        """Take pairs of a day and the day before it of the same hash, by client."""
        self._clients, codes = pairs.column(0)
        days, day_codes = pairs.column(1)
        first = np.flatnonzero(days[day_codes] < window.start.toordinal())
        # bincount adds floats up: exact up to 2 ** 53
        sums = np.bincount(codes[first], pairs.sums[first, 0], len(self._clients))
        self._sums = sums.astype(np.int64)

    def of(self, client: str) -> int:
        """Return that of one client."""
        place = int(np.searchsorted(self._clients, client))
        here = place < len(self._clients) and self._clients[place] == client
        return int(self._sums[place]) if here else 0


def unique_of_client(connection: Connection, window: Window, client: str, pairs: Rollup) -> int:
    """Return the number of distinct request hashes of one client."""
    first = in_window(pairs, window) & (pairs.table.c.previous_date < window.start)
    found = connection.execute(of(pairs, (), first, {"client": client})).one()
    return int(found.requests or 0)


_SINCE = select(store_state.c.data_since)


def data_since(connection: Connection) -> str | None:
    """Return the first day with any data, `None` if there is none."""
    ((since,),) = statements.fetch(connection, _SINCE)
    return since.isoformat() if since else None


def period(connection: Connection, window: Window, incomplete: list[str]) -> Period:
    """Return what an answer says about its window; `incomplete` is what can't be known of it."""
    return {
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "days": window.days,
        "data_since": data_since(connection),
        "incomplete": incomplete,
    }


_HOURLY = select(store_state.c.hourly_since)


def hourly_since(connection: Connection) -> date | None:
    """Return the first day of which there are hours, `None` where no hour was ever deleted."""
    found: date | None = statements.fetch(connection, _HOURLY)[0][0]
    return found
