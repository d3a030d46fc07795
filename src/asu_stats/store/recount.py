"""The rollups counted anew from the details, one day at a time: what `verify` compares with.

A second definition of every rollup, over stored rows, beside the one in `counting`, which adds up
events as they come. That the two agree is what `verify` shows.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    DateTime,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    cast,
    extract,
    func,
    select,
)

from asu_stats.events import NO_HASH
from asu_stats.store import kinds, parts, prepared
from asu_stats.store.archive import TIMES, counted, day_bounds
from asu_stats.store.dialects import Row
from asu_stats.store.rollups import (
    CLIENT_DEVICES,
    CLIENT_ERRORS,
    CLIENT_UNIQUE_REQUESTS,
    CLIENT_VERSIONS,
    CLIENTS,
    DAILY,
    DISTINCT,
    DURATIONS,
    ERRORS,
    HOURLY,
    HOURLY_CLIENTS,
    HOURLY_PROFILES,
    LEGACY,
    NEVER,
    PACKAGES,
    PROFILES,
    UNIQUE_REQUESTS,
    VERSION_TARGET,
    Deltas,
    Key,
    Rollup,
)
from asu_stats.store.tables import (
    build_metrics,
    client_stats,
    error_stats,
    request_days,
    request_metadata,
)

_ROWS: Final = 1_000  # of details at a time: counting them holds up other threads


_NAMES: Final = ("version", "target", "profile")
_COUNTS: Final = {"request_count": "accepted", "cache_hits": "hit"}
_BUILDS: Final = {
    "success_count": "good",
    "failure_count": "bad",
    "timed_builds": "timed",
    "build_time_seconds": "seconds",
}
_CLIENT: Final = {
    "requests": "accepted",
    "cache_hits": "hit",
    "successful_builds": "good",
    "failed_builds": "bad",
    "rejected_requests": "rejected",
    "untraced_requests": "untraced",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What the rows of one detail table say of a rollup.

    `key` names columns, behind the time; `adds` names for each sum what a kind of row adds to it.
    """

    rollup: Rollup
    key: tuple[str, ...]
    adds: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A detail table, its columns that are read, and what they say."""

    rows: FromClause
    time: str
    kind: type[kinds.Kind]
    decides: tuple[ColumnElement[Any], ...]
    names: tuple[str, ...]
    parts: tuple[_Part, ...]


# Archived details count as live ones do.
_requests, _builds, _errors = map(counted, (client_stats, build_metrics, error_stats))
_r, _b, _e = _requests.c, _builds.c, _errors.c

_SOURCES: Final = (
    _Source(
        _requests,
        "timestamp",
        kinds.Request,
        (
            _r.outcome,
            _r.diff_packages,
            _r.status,
            _r.request_hash != NO_HASH,
            _r.ended_at.is_not(None),
            _r.package_list.is_not(None),
        ),
        ("client", *_NAMES, "client_version", "error_category", "error_type", "package_list"),
        (
            _Part(
                DAILY,
                (),
                {
                    "total_requests": "accepted",
                    "cache_hits": "hit",
                    "diff_packages_true": "diff",
                    "diff_packages_false": "no_diff",
                    "queued_requests": "queued",
                    "joined_requests": "joined",
                    "cached_failures": "cached_failure",
                    "rejected_requests": "rejected",
                    "requests_without_hash": "unhashed",
                    "untraced_requests": "untraced",
                },
            ),
            _Part(
                VERSION_TARGET,
                _NAMES[:2],
                {**_COUNTS, "diff_packages_true": "diff", "diff_packages_false": "no_diff"},
            ),
            _Part(PROFILES, _NAMES, _COUNTS),
            _Part(HOURLY_PROFILES, _NAMES, _COUNTS),
            _Part(CLIENTS, ("client",), {**_CLIENT, "requests_without_hash": "unhashed"}),
            _Part(HOURLY_CLIENTS, ("client", "version"), _CLIENT),
            _Part(
                CLIENT_VERSIONS, ("client", "version", "client_version"), {"requests": "accepted"}
            ),
            _Part(CLIENT_DEVICES, ("client", "target", "profile"), {"requests": "accepted"}),
            _Part(CLIENT_ERRORS, ("client", "error_category", "error_type"), {"errors": "error"}),
            _Part(PACKAGES, ("version", "target", "package_list"), {"requests": "listed"}),
            _Part(
                LEGACY,
                ("version",),
                {
                    "request": "queued",
                    "cache_hit": "hit",
                    "diff_packages_true": "queued_diff",
                    "diff_packages_false": "queued_no_diff",
                },
            ),
        ),
    ),
    _Source(
        _builds,
        "finished_at",
        kinds.Build,
        (_b.status, _b.duration_seconds, _b.diff_packages),
        (*_NAMES, "duration_seconds"),
        (
            _Part(
                DAILY,
                (),
                {
                    "successful_builds": "good",
                    "failed_builds": "bad",
                    "total_build_time_seconds": "seconds",
                    "timed_builds": "timed",
                    "timeout_builds": "timed_out",
                    "cancelled_builds": "cancelled",
                },
            ),
            _Part(VERSION_TARGET, _NAMES[:2], _BUILDS),
            _Part(PROFILES, _NAMES, _BUILDS),
            _Part(HOURLY_PROFILES, _NAMES, _BUILDS),
            _Part(DURATIONS, ("version", "duration_seconds"), {"builds": "timed"}),
            _Part(
                LEGACY,
                ("version",),
                {
                    "build_completed": "good",
                    "failure": "bad",
                    "diff_packages_true": "good_diff",
                    "diff_packages_false": "good_no_diff",
                },
            ),
        ),
    ),
    _Source(
        _errors,
        "timestamp",
        kinds.Error,
        (_e["count"],),
        ("error_category", "error_type", "version", "target"),
        (
            _Part(
                ERRORS, ("error_category", "error_type", "version", "target"), {"errors": "errors"}
            ),
        ),
    ),
)


# The day that is counted: as a date, and as the times between which it lies.
DAY: Final = bindparam("day", type_=Date)
_FIRST: Final = bindparam("first", type_=DateTime)
_AFTER: Final = bindparam("after", type_=DateTime)


def on_day(column: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that a stored time lies on the UTC day of `parameters_of`."""
    return and_(column >= _FIRST, column < _AFTER)


def parameters_of(day: date) -> dict[str, object]:
    """Return the parameters that stand for a UTC day."""
    first = datetime.combine(day, time())
    return {"day": day, "first": first, "after": first + timedelta(days=1)}


def of_day(connection: Connection, day: date) -> Deltas:
    """Return what the details of `day` add up to, for every rollup; those in files are read."""
    deltas = Deltas()
    parameters = parameters_of(day)
    hours = [datetime.combine(day, time(hour)) for hour in range(24)]
    parts.load(connection, TIMES, *day_bounds(day))
    for source in _SOURCES:
        for part, found in zip(source.parts, _count(connection, source, parameters), strict=True):
            hourly = part.rollup in HOURLY
            for (names, weights), rows in found.items():
                if weights:
                    key = (hours[names[0]], *names[1:]) if hourly else (day, *names)
                    amounts = weights if rows == 1 else [rows * weight for weight in weights]
                    deltas.add(part.rollup, key, amounts)
    for client, own, previous, of_client, hashes in prepared.fetch(
        connection, _PAIRS, **parameters
    ):
        deltas.add(CLIENT_UNIQUE_REQUESTS, (day, client, own or NEVER), (of_client,))
        deltas.add(UNIQUE_REQUESTS, (day, previous or NEVER), (hashes,))
        deltas.add_one(DAILY, (day,), "unique_requests", hashes)
    for distinct in DISTINCT:
        width, place = len(distinct.into.key), distinct.of.place(distinct.having)
        place += len(distinct.of.key)
        counts = Counter(row[:width] for row in deltas.of(distinct.of) if row[place])
        for key, count in counts.items():
            deltas.add_one(distinct.into, key, distinct.add, count)
    return deltas


def _count(
    connection: Connection, source: _Source, parameters: dict[str, object]
) -> list[Counter[tuple[Key, Sequence[int]]]]:
    """Return for each part how many rows have a key and add the same to its sums."""
    query, width = _QUERIES[source], len(source.decides)
    names = ["hour", *source.names]
    keys = []
    for part in source.parts:
        wanted = ("hour", *part.key) if part.rollup in HOURLY else part.key
        keys.append(_picker([width + names.index(name) for name in wanted]))
    known: list[dict[Any, tuple[int, ...]]] = [{} for _ in source.parts]
    found: list[Counter[tuple[Key, Sequence[int]]]] = [Counter() for _ in source.parts]
    for rows in prepared.stream(connection, query, _ROWS, **parameters):
        of_rows = [row[:width] for row in rows]
        for kind in set(of_rows) - known[0].keys():
            for part, weights in zip(source.parts, known, strict=True):
                weights[kind] = _weights(part, source.kind(*kind))
        for counter, key, weights in zip(found, keys, known, strict=True):
            counter.update(zip(map(key, rows), map(weights.__getitem__, of_rows), strict=True))
    return found


@lru_cache(maxsize=1 << 16)
def _weights(part: _Part, kind: kinds.Kind) -> tuple[int, ...]:
    """Return what a row adds to the sums of a rollup, nothing if that is 0 for all."""
    names = (part.adds.get(add) for add in part.rollup.adds)
    found = tuple(0 if name is None else int(getattr(kind, name)) for name in names)
    return found if any(found) else ()


def _picker(places: Sequence[int]) -> Callable[[Row], Key]:
    """Return what takes the values at some places out of a row, as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))


def _query(source: _Source) -> Select[Any]:
    moment = source.rows.c[source.time]
    hour = cast(extract("hour", moment), Integer)
    names = (source.rows.c[name] for name in source.names)
    return select(*source.decides, hour, *names).where(on_day(moment))


_QUERIES: Final = {source: _query(source) for source in _SOURCES}


def _pairs() -> Select[Any]:
    """Select the distinct hashes and clients of a day's accepted requests, added up.

    By client, day on which the client asked for the hash before, and day on which anyone did: how
    many hashes the client asked for, and how many of those no client that comes before it.
    """
    d, m = request_days.c, request_metadata.c
    asked = (
        select(m.request_number, _r.client)
        .join_from(_requests, request_metadata, m.request_hash == _r.request_hash)
        .where(on_day(_r.timestamp), _r.outcome != "rejected")
        .distinct()
        .subquery("asked")
    )

    def last_day_before(*same: ColumnElement[bool]) -> ColumnElement[date]:
        days = select(d.date).where(d.request_number == asked.c.request_number, d.date < DAY, *same)
        return days.order_by(d.date.desc()).limit(1).scalar_subquery()

    in_order = func.row_number().over(partition_by=asked.c.request_number, order_by=asked.c.client)
    found = select(
        asked.c.client,
        last_day_before(d.client == asked.c.client).label("own"),
        last_day_before().label("previous"),
        in_order.label("place"),
    ).subquery("found")
    groups = found.c.client, found.c.own, found.c.previous
    hashes = func.sum(case((found.c.place == 1, 1), else_=0))
    return select(*groups, func.count(), hashes).group_by(*groups)


_PAIRS: Final = _pairs()
