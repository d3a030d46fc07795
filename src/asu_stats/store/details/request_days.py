"""Distinct requests, exact and as sums: pairs of a day and the previous day of the same hash.

For each day on which a hash was requested, the rollups count a pair (day, previous day), with
`NEVER` on the first. In a window [a, b] a hash counts once, on its first day there: the day whose
previous day lies before a. A late day d between two known ones, p < d < n, adds (d, p), removes one
from (n, p) and adds one to (n, d): still a sum. The same is stored per client.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, FromClause, Select, Table, func, select

from asu_stats.store.database import statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.schema import rejected_days, request_days
from asu_stats.store.rollups.definitions import (
    CLIENT_UNIQUE_REJECTED,
    CLIENT_UNIQUE_REQUESTS,
    DAILY,
    NEVER,
    UNIQUE_REJECTED,
    UNIQUE_REQUESTS,
    Rollup,
)
from asu_stats.store.rollups.deltas import Deltas


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """Days of requests: their table, and the rollups that count pairs of them.

    `daily` is the column of `stats_daily` with the distinct hashes of a day, if there is one.
    """

    table: Table
    of_hash: Rollup
    of_client: Rollup
    daily: str | None
    spans: tuple[str, ...] = ()


SPAN: Final = ("first_at", "last_at")
ACCEPTED: Final = Days(
    request_days, UNIQUE_REQUESTS, CLIENT_UNIQUE_REQUESTS, "unique_requests", SPAN
)
REJECTED: Final = Days(rejected_days, UNIQUE_REJECTED, CLIENT_UNIQUE_REJECTED, None)


class RequestDay(NamedTuple):
    """A day on which a client requested a hash, given by its number."""

    request_number: int
    date: date
    client: str


class _Known(NamedTuple):
    """Known days, sorted: per hash, and per hash and client."""

    of_hash: dict[int, list[date]]
    of_client: dict[tuple[int, str], list[date]]

    def put(self, number: int, day: date | None, client: str | None = None) -> None:
        """Add a day, per hash or per hash and client."""
        if day is None:
            return
        _insert_once(self.of_hash.setdefault(number, []), day)
        if client is not None:
            _insert_once(self.of_client.setdefault((number, client), []), day)


def send_known(
    connection: Connection, of: Days, days: AbstractSet[RequestDay], numbers: Collection[int]
) -> statements.Sent:
    """Ask what is known of `days`, as in `statements.send`. `numbers` are those with possible days.

    `add` takes the result.
    """
    wanted = [day for day in sorted(days) if day.request_number in numbers]
    return statements.send_for(connection, _NEIGHBOURS[of], _FIELDS, wanted)


def add(
    connection: Connection,
    deltas: Deltas,
    of: Days,
    days: AbstractSet[RequestDay],
    known: statements.Sent,
    spans: Mapping[RequestDay, tuple[int, int]] | None = None,
) -> None:
    """Store `days` and count the changed pairs. `known` comes from `send_known`."""
    found, around = _read(known())
    new = [day for day in sorted(days) if day not in found]
    for number, day, client in new:
        for (on, previous), count in _pairs(around.of_hash.setdefault(number, []), day):
            deltas.add(of.of_hash, (on, previous), (count,))
            if of.daily:
                deltas.add_one(DAILY, (on,), of.daily, count)
        for (on, previous), count in _pairs(around.of_client.setdefault((number, client), []), day):
            deltas.add(of.of_client, (on, client, previous), (count,))
    rows = [(*day, *spans[day]) if spans else day for day in new]
    statements.insert(connection, of.table, (*RequestDay._fields, *of.spans), rows)


def _insert_once(days: list[date], day: date) -> None:
    place = bisect_left(days, day)
    if place == len(days) or days[place] != day:
        days.insert(place, day)


def _pairs(days: list[date], day: date) -> Iterator[tuple[tuple[date, date], int]]:
    """Insert `day` into the sorted `days`; yield added and removed pairs (day, previous day)."""
    place = bisect_left(days, day)
    following = days[place] if place < len(days) else None
    if following == day:
        return
    previous = days[place - 1] if place else NEVER
    days.insert(place, day)
    yield (day, previous), 1
    if following is not None:
        yield (following, previous), -1
        yield (following, day), 1


_FIELDS: Final = tuple((name, request_days.c[name].type) for name in RequestDay._fields)


def _read(rows: Iterable[Row]) -> tuple[Collection[RequestDay], _Known]:
    """Return which days are known, and the nearest known days of the others."""
    found, known = set(), _Known({}, {})
    for number, day, client, before, after, own_last, own_after in rows:
        if own_last == day:
            found.add(RequestDay(number, day, client))
            continue
        known.put(number, before)
        known.put(number, after)
        known.put(number, own_last, client)
        known.put(number, own_after, client)
    return found, known


def _neighbours(t: Table, given: FromClause) -> Select[Any]:
    """Select for each given day its nearest known days.

    For any client before it and from it on, and for its own client up to it and after it. Without
    EXISTS: PostgreSQL may read a whole table to compute that for a few rows.
    """
    of_hash = t.c.request_number == given.c.request_number
    own = of_hash & (t.c.client == given.c.client)
    day = given.c.date
    return select(
        *given.c,
        select(func.max(t.c.date)).where(of_hash, t.c.date < day).scalar_subquery(),
        select(func.min(t.c.date)).where(of_hash, t.c.date >= day).scalar_subquery(),
        select(func.max(t.c.date)).where(own, t.c.date <= day).scalar_subquery(),
        select(func.min(t.c.date)).where(own, t.c.date > day).scalar_subquery(),
    )


_NEIGHBOURS: Final = {of: partial(_neighbours, of.table) for of in (ACCEPTED, REJECTED)}
