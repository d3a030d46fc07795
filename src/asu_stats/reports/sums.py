"""Reading rollups: sums over a window, grouped by names. One function, one statement.

Questions about all read packed days (`store.packs`); those with a filter read the rollup's rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Date, Row, Select, bindparam, func, select

from asu_stats.reports import figures
from asu_stats.reports.answers import Period
from asu_stats.store import packs, prepared
from asu_stats.store.blocks import Totals
from asu_stats.store.cubes import Cube
from asu_stats.store.rollups import CLIENT_UNIQUE_REQUESTS, DAILY, Rollup
from asu_stats.store.tables import store_state
from asu_stats.store.vocabulary import Key
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
    return packs.read(connection, window.start, window.end, *wanted)


def cube_over_time(
    connection: Connection, window: Window, interval: Interval, cube: Cube
) -> list[tuple[str, Window, Totals]]:
    """Return the buckets of `window`, each with its days and the sums of packed days over them."""
    parts = list(window.parts(interval))
    days = [(part.start, part.end) for _, part in parts]
    found = packs.read_each(connection, days, cube)
    return [(stamp, part, sums) for (stamp, part), sums in zip(parts, found, strict=True)]


class Top(NamedTuple):
    """The names below one: how many there are, and those asked for most."""

    names: int
    first: list[tuple[str, int]]


NOTHING: Final = Top(0, [])


def tops(totals: Totals, places: int = 5) -> dict[Key, Top]:
    """Return, under all parts of a key but the last, the last parts with most requests."""
    groups, counts = totals.grouped()
    ranked, sizes = figures.top_of_each(groups.group, counts, places)
    shown = np.minimum(sizes, places)
    first = list(zip(groups.tails[ranked].tolist(), counts[ranked].tolist(), strict=True))
    heads = groups.heads[: len(sizes)]
    rows = zip(heads, sizes.tolist(), shown.tolist(), np.cumsum(shown).tolist(), strict=True)
    return {head: Top(size, first[end - n : end]) for head, size, n, end in rows if size}


def tops_of(pairs: Iterable[tuple[str, str, int]], places: int = 5) -> dict[Key, Top]:
    """Return what `tops` does, from (outer name, inner name, requests)."""
    asked: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for outer, inner, requests in pairs:
        if requests:
            asked[outer].append((inner, requests))
    return {(outer,): Top(len(names), figures.top(names, places)) for outer, names in asked.items()}


@lru_cache(maxsize=64)
def _days(adds: tuple[str, ...]) -> Select[Any]:
    t = DAILY.table
    window = t.c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
    return select(t.c.date, *(t.c[add] for add in adds)).where(window)


def days(connection: Connection, window: Window, *adds: str) -> list[tuple[Any, ...]]:
    """Return (day, sums) of `stats_daily`, of the days of `window` that have a row."""
    return prepared.fetch(connection, _days(adds), start=window.start, end=window.end)


def unique_requests(window: Window, pairs: Totals) -> int:
    """Return the number of distinct request hashes: each counts at its first day in `window`."""
    days, codes = pairs.column(0)
    before = days[codes] < window.start.toordinal()
    return int(pairs.sums[:, 0][before].sum())


def unique_by_client(window: Window, pairs: Totals) -> dict[str, int]:
    """Return the number of distinct request hashes per client."""
    clients, codes = pairs.column(0)
    days, day_codes = pairs.column(1)
    before = days[day_codes] < window.start.toordinal()
    sums = np.zeros(len(clients), np.int64)
    np.add.at(sums, codes[before], pairs.sums[:, 0][before])
    return dict(zip(clients.tolist(), sums.tolist(), strict=True))


def unique_of_client(connection: Connection, window: Window, client: str) -> int:
    """Return the number of distinct request hashes of one client."""
    t = CLIENT_UNIQUE_REQUESTS.table
    first = in_window(CLIENT_UNIQUE_REQUESTS, window) & (t.c.previous_date < window.start)
    found = connection.execute(of(CLIENT_UNIQUE_REQUESTS, (), first, {"client": client})).one()
    return int(found.requests or 0)


_SINCE = select(store_state.c.data_since)


def data_since(connection: Connection) -> str | None:
    """Return the first day of which anything is known (contract §2.11)."""
    ((since,),) = prepared.fetch(connection, _SINCE)
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
    found: date | None = prepared.fetch(connection, _HOURLY)[0][0]
    return found
