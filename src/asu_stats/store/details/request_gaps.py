"""Gaps between successive accepted requests of one hash, exact and as sums.

A request counts by its gap: the time since the request of the same hash before it. A late request
changes two gaps, its own and that of the request after it. `request_days` knows the first and last
request of each day and client, so neighbours on other days need no details. Only a request between
two others of its hash on the same day looks for the nearest ones among the details of that day.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from sqlalchemy import ColumnElement, Connection, FromClause, Select, func, select

from asu_stats.store.database import dialects, statements
from asu_stats.store.database.schema import client_stats, request_days
from asu_stats.store.details.request_days import SPAN, RequestDay
from asu_stats.store.rollups import gaps
from asu_stats.store.rollups.definitions import GAPS
from asu_stats.store.rollups.deltas import Deltas
from asu_stats.times import midnight

Span: TypeAlias = tuple[int, int]

_MICRO: Final = timedelta(microseconds=1)
_NEAR: Final = timedelta(minutes=10)
_FEW: Final = 64  # requests that are looked up one by one; more read their days
_KEY: Final = RequestDay._fields
_FIELDS: Final = tuple((name, request_days.c[name].type) for name in _KEY[:2])


class AcceptedRequest(NamedTuple):
    """An accepted request: number and hash, its time without zone, and its client."""

    number: int
    request_hash: str
    at: datetime
    client: str


class Details(Protocol):
    """The details of requests, archived ones included."""

    @property
    def archived_before(self) -> datetime | None:
        """A time from which on no details were archived; `None` if none ever were."""

    def requests(self, first: datetime, after: datetime) -> Iterable[tuple[str, datetime]]:
        """Return hash and time of the accepted requests from a time to before another."""


class _Inside(NamedTuple):
    """A request between the `first` and the `last` request of its hash on its day."""

    request_hash: str
    at: datetime
    first: datetime
    last: datetime


def micros(at: datetime) -> int:
    """Return the microseconds since midnight."""
    return (at - midnight(at.date())) // _MICRO


_Days: TypeAlias = dict[date, tuple[datetime, datetime]]


class Spans(NamedTuple):
    """Accepted requests of a batch.

    `of_day` has the first and last request of each day and client, in microseconds since midnight,
    `times` the times of each request (number, hash), `known` the stored days on and around them.
    """

    of_day: dict[RequestDay, Span]
    times: dict[tuple[int, str], list[datetime]]
    known: statements.Sent


def send_spans(
    connection: Connection, requests: Sequence[AcceptedRequest], numbers: Collection[int]
) -> Spans:
    """Ask for what `add` needs, as in `statements.send`. `numbers` are those with possible days.

    Must be called before the details and days of the requests are written.
    """
    spans: dict[RequestDay, Span] = {}
    times: defaultdict[tuple[int, str], list[datetime]] = defaultdict(list)
    for number, request_hash, at, client in requests:
        day, moment = RequestDay(number, at.date(), client), micros(at)
        first, last = spans.get(day, (moment, moment))
        spans[day] = min(first, moment), max(last, moment)
        times[number, request_hash].append(at)
    days = sorted({day[:2] for day in spans if day.request_number in numbers})
    return Spans(spans, times, statements.send_for(connection, _around, _FIELDS, days))


def add(connection: Connection, deltas: Deltas, spans: Spans, details: Details) -> None:
    """Count the gaps of new requests and the changed gaps, and widen known days.

    Must be called before the details of the requests are written.
    """
    stored = _widen(connection, spans)
    beside: dict[str, set[datetime]] = {}
    between: list[_Inside] = []
    for (number, request_hash), of in spans.times.items():
        of.sort()
        if number in stored:
            beside[request_hash], inside = _neighbours(stored[number], of)
            between += [_Inside(request_hash, *each) for each in inside]
    for request_hash, at in _between(connection, between, details):
        beside[request_hash].add(at)
    for (_, request_hash), of in spans.times.items():
        _count(deltas, sorted(beside.get(request_hash, ())), of)


def _widen(connection: Connection, spans: Spans) -> dict[int, _Days]:
    """Return the first and last request of known days by number, and widen those of `spans`."""
    found: dict[int, _Days] = {}
    wider: dict[RequestDay, Span] = {}
    for number, day, client, first, last in spans.known():
        key = RequestDay(number, day, client)
        span = spans.of_day.get(key)
        if first is None:  # a day whose details could not be read
            if span:
                wider[key] = span
            continue
        if span and (span[0] < first or span[1] > last):
            wider[key] = min(first, span[0]), max(last, span[1])
        of, start = found.setdefault(number, {}), midnight(day)
        begin, end = start + first * _MICRO, start + last * _MICRO
        known = of.get(day, (begin, end))
        of[day] = min(known[0], begin), max(known[1], end)
    changed = [(*day, *span) for day, span in sorted(wider.items())]
    statements.update(connection, request_days, _KEY, SPAN, changed)
    return found


def _around(given: FromClause) -> Select[Any]:
    """Select given days with a known request, and the nearest known days before and after."""
    t, near = request_days, request_days.alias("near").c
    day = given.c.date
    same = near.request_number == given.c.request_number
    before = select(func.max(near.date)).where(same, near.date < day).scalar_subquery()
    after = select(func.min(near.date)).where(same, near.date > day).scalar_subquery()
    here = (t.c.request_number == given.c.request_number) & t.c.date.between(
        func.coalesce(before, day), func.coalesce(after, day)
    )
    return select(*(t.c[name] for name in (*_KEY, *SPAN))).join_from(given, t, here)


def _neighbours(
    days: _Days, times: Sequence[datetime]
) -> tuple[set[datetime], list[tuple[datetime, datetime, datetime]]]:
    """Return stored requests next to those of `times`, and which of them may have nearer ones.

    These are given with the first and last request of their day.
    """
    found: set[datetime] = set()
    inside = []
    order = sorted(days)
    for at in times:
        day = at.date()
        place = bisect_left(order, day)
        here = days.get(day)
        after = order[place + (here is not None) :][:1]
        if place:
            found.add(days[order[place - 1]][1])
        found.update(days[each][0] for each in after)
        if here:
            found.update(here)
            if here[0] < at < here[1]:
                inside.append((at, *here))
    return found, inside


def _between(
    connection: Connection, requests: Sequence[_Inside], details: Details
) -> Iterable[tuple[str, datetime]]:
    """Yield stored requests of the hashes of `requests`, among them the two next to each."""
    if dialects.has_citus(connection):
        yield from _on_days(requests, details)
        return
    archived = details.archived_before
    few = [each for each in requests if archived is None or each.first >= archived]
    if len(few) > _FEW:
        few = []
    others = [each for each in requests if each not in few]
    for request_hash, *near in statements.fetch_for(connection, _nearest, _INSIDE, few):
        yield from ((request_hash, at) for at in near if at is not None)
    yield from _on_days(others, details)


def _nearest(given: FromClause) -> Select[Any]:
    """Select the stored requests next to given ones: at or before each, and after it.

    From the time of each, the index on times is read in both directions until a request of the same
    hash is found. There is no index on hash and time: with every request, it would cost more than
    this costs with the few that arrive late.
    """
    t = client_stats.alias("near").c
    at = given.c.at
    same = (t.request_hash == given.c.request_hash) & (t.outcome != "rejected")

    def first(here: ColumnElement[bool], order: ColumnElement[Any]) -> ColumnElement[Any]:
        return select(t.timestamp).where(same, here).order_by(order).limit(1).scalar_subquery()

    return select(
        given.c.request_hash,
        first(t.timestamp.between(given.c.first, at), t.timestamp.desc()).label("before"),
        first((t.timestamp > at) & (t.timestamp <= given.c.last), t.timestamp).label("after"),
    )


_INSIDE: Final = tuple(
    (name, client_stats.c["request_hash" if name == "request_hash" else "timestamp"].type)
    for name in _Inside._fields
)


def _on_days(requests: Sequence[_Inside], details: Details) -> Iterable[tuple[str, datetime]]:
    """Yield what `_between` yields, from all details near each request, or else of its whole day.

    This is for Citus, for days with archived details, and for many requests: it reads each stored
    time at most twice.
    """
    for day in sorted({each.at.date() for each in requests}):
        of_day = [each[:2] for each in requests if each.at.date() == day]
        least, most = midnight(day), midnight(day) + timedelta(days=1)
        times = [at for _, at in of_day]
        first, after = max(least, min(times) - _NEAR), min(most, max(times) + _NEAR)
        found = _of_hashes(of_day, details.requests(first, after))
        if not all(
            known[0] <= at <= known[-1] if (known := found.get(request_hash)) else False
            for request_hash, at in of_day
        ):
            found = _of_hashes(of_day, details.requests(least, most))
        yield from ((request_hash, at) for request_hash, of in found.items() for at in of)


def _of_hashes(
    wanted: Iterable[tuple[str, datetime]], requests: Iterable[tuple[str, datetime]]
) -> dict[str, list[datetime]]:
    """Return the times of the requests of each hash of `wanted`, in order."""
    hashes = {request_hash for request_hash, _ in wanted}
    found: defaultdict[str, list[datetime]] = defaultdict(list)
    for request_hash, at in requests:
        if request_hash in hashes:
            found[request_hash].append(at)
    for of in found.values():
        of.sort()
    return found


def _count(deltas: Deltas, stored: list[datetime], times: Sequence[datetime]) -> None:
    """Insert `times` into the adjacent `stored` requests, and count the changes of the gaps."""
    for at in times:
        place = bisect_right(stored, at)
        around, after = stored[max(0, place - 1) : place], stored[place : place + 1]
        for sign, of in ((-1, [*around, *after]), (1, [*around, at, *after])):
            for when, gap in gaps.of_times(of):
                deltas.add(GAPS, (when.date(), gap), (sign,))
        insort(stored, at)
