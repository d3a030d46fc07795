"""The rollups counted anew from the details, one day at a time: what `verify` compares with.

A second definition of every rollup, in SQL over stored rows, beside the one in `counting`, which
adds up events as they come. That the two agree is what `verify` shows.
"""

from collections.abc import Mapping
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
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)

from asu_stats.events import FAILED_STATUSES, NO_HASH
from asu_stats.store import dialects, parts, prepared
from asu_stats.store.archive import TIMES, counted, day_bounds
from asu_stats.store.requests import UNTRACED
from asu_stats.store.rollups import (
    CLIENT_DEVICES,
    CLIENT_ERRORS,
    CLIENT_UNIQUE_REQUESTS,
    CLIENT_VERSIONS,
    CLIENTS,
    DAILY,
    DURATIONS,
    ERRORS,
    HOURLY_CLIENTS,
    HOURLY_PROFILES,
    LEGACY,
    NEVER,
    PACKAGES,
    PROFILES,
    UNIQUE_REQUESTS,
    VERSION_TARGET,
    Deltas,
    Rollup,
)
from asu_stats.store.tables import (
    build_metrics,
    client_stats,
    error_stats,
    request_days,
    request_metadata,
)

# Archived details count as live ones do.
_r, _b, _e = (counted(table).c for table in (client_stats, build_metrics, error_stats))


def _failed(status: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(*(status == name for name in sorted(FAILED_STATUSES)))


_ACCEPTED: Final = _r.outcome != "rejected"
_UNHASHED: Final = _ACCEPTED & (_r.request_hash == NO_HASH)
_UNTRACED: Final = _r.status == UNTRACED
_QUEUED: Final = _r.outcome == "queued"
_WAITED: Final = _r.ended_at.is_not(None)
_GOOD: Final = _b.status == "success"
_BAD: Final = _failed(_b.status)
_TIMED: Final = and_(_GOOD, _b.duration_seconds.is_not(None))
_WENT_BAD: Final = and_(_WAITED, _failed(_r.status))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _distinct(element: ColumnElement[str]) -> ColumnElement[int]:
    """Count the distinct values that are known among accepted requests."""
    return func.count(case((_ACCEPTED & (element != NO_HASH), element)).distinct())


def _outcome(name: str) -> ColumnElement[int]:
    return _count(_r.outcome == name)


_REQUESTS: Final[Mapping[str, ColumnElement[int]]] = {
    "request_count": func.count(),
    "cache_hits": _outcome("cache_hit"),
}
_BUILDS: Final[Mapping[str, ColumnElement[int]]] = {
    "success_count": _count(_GOOD),
    "failure_count": _count(_BAD),
    "timed_builds": _count(_TIMED),
    "build_time_seconds": func.coalesce(func.sum(case((_TIMED, _b.duration_seconds), else_=0)), 0),
}
_DIFF: Final[Mapping[str, ColumnElement[int]]] = {
    "diff_packages_true": _count(_r.diff_packages.is_(True)),
    "diff_packages_false": _count(_r.diff_packages.is_(False)),
}
_CLIENT: Final[Mapping[str, ColumnElement[int]]] = {
    "requests": _count(_ACCEPTED),
    "cache_hits": _outcome("cache_hit"),
    "successful_builds": _count(and_(_WAITED, _r.status == "success")),
    "failed_builds": _count(_WENT_BAD | (_r.outcome == "cached_failure")),
    "rejected_requests": _outcome("rejected"),
    "requests_without_hash": _count(_UNHASHED),
    "untraced_requests": _count(_UNTRACED),
}


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A part of a rollup that follows from one detail table."""

    rollup: Rollup
    time: ColumnElement[datetime]
    names: tuple[ColumnElement[Any], ...]
    adds: Mapping[str, ColumnElement[int]]
    condition: ColumnElement[bool] | None = None


def _triple(table: Any) -> tuple[ColumnElement[Any], ...]:
    return table.version, table.target, table.profile


_SOURCES: Final[tuple[_Source, ...]] = (
    _Source(
        DAILY,
        _r.timestamp,
        (),
        {
            "total_requests": _count(_ACCEPTED),
            "cache_hits": _outcome("cache_hit"),
            "diff_packages_true": _count(_ACCEPTED & _r.diff_packages.is_(True)),
            "diff_packages_false": _count(_ACCEPTED & _r.diff_packages.is_(False)),
            "queued_requests": _outcome("queued"),
            "joined_requests": _outcome("joined"),
            "cached_failures": _outcome("cached_failure"),
            "rejected_requests": _outcome("rejected"),
            "unique_requests": _distinct(_r.request_hash),
            "unique_clients": _distinct(_r.client),
            "requests_without_hash": _count(_UNHASHED),
            "untraced_requests": _count(_UNTRACED),
        },
    ),
    _Source(
        DAILY,
        _b.finished_at,
        (),
        {
            "successful_builds": _count(_GOOD),
            "failed_builds": _count(_BAD),
            "total_build_time_seconds": _BUILDS["build_time_seconds"],
            "timed_builds": _count(_TIMED),
            "timeout_builds": _count(_b.status == "timeout"),
            "cancelled_builds": _count(_b.status == "cancelled"),
        },
    ),
    _Source(
        VERSION_TARGET,
        _r.timestamp,
        _triple(_r)[:2],
        {**_REQUESTS, **_DIFF, "unique_profiles": func.count(_r.profile.distinct())},
        _ACCEPTED,
    ),
    _Source(VERSION_TARGET, _b.finished_at, _triple(_b)[:2], _BUILDS, _GOOD | _BAD),
    _Source(PROFILES, _r.timestamp, _triple(_r), _REQUESTS, _ACCEPTED),
    _Source(PROFILES, _b.finished_at, _triple(_b), _BUILDS, _GOOD | _BAD),
    _Source(HOURLY_PROFILES, _r.timestamp, _triple(_r), _REQUESTS, _ACCEPTED),
    _Source(HOURLY_PROFILES, _b.finished_at, _triple(_b), _BUILDS, _GOOD | _BAD),
    _Source(CLIENTS, _r.timestamp, (_r.client,), _CLIENT),
    _Source(HOURLY_CLIENTS, _r.timestamp, (_r.client, _r.version), _CLIENT),
    _Source(
        CLIENT_VERSIONS,
        _r.timestamp,
        (_r.client, _r.version, _r.client_version),
        {"requests": func.count()},
        _ACCEPTED,
    ),
    _Source(
        CLIENT_DEVICES,
        _r.timestamp,
        (_r.client, _r.target, _r.profile),
        {"requests": func.count()},
        _ACCEPTED,
    ),
    _Source(
        DURATIONS,
        _b.finished_at,
        (_b.version, _b.duration_seconds),
        {"builds": func.count()},
        _TIMED,
    ),
    _Source(
        ERRORS,
        _e.timestamp,
        (_e.error_category, _e.error_type, _e.version, _e.target),
        {"errors": func.sum(_e.count)},
    ),
    _Source(
        CLIENT_ERRORS,
        _r.timestamp,
        (_r.client, _r.error_category, _r.error_type),
        {"errors": func.count()},
        _WENT_BAD | (_r.outcome == "rejected"),
    ),
    _Source(
        PACKAGES,
        _r.timestamp,
        (_r.version, _r.target, _r.package_list),
        {"requests": func.count()},
        _r.package_list.is_not(None),
    ),
    _Source(
        LEGACY,
        _r.timestamp,
        (_r.version,),
        {
            "request": _outcome("queued"),
            "cache_hit": _outcome("cache_hit"),
            "diff_packages_true": _count(_QUEUED & _r.diff_packages.is_(True)),
            "diff_packages_false": _count(_QUEUED & _r.diff_packages.is_(False)),
        },
        _QUEUED | (_r.outcome == "cache_hit"),
    ),
    _Source(
        LEGACY,
        _b.finished_at,
        (_b.version,),
        {
            "build_completed": _count(_GOOD),
            "failure": _count(_BAD),
            "diff_packages_true": _count(_GOOD & _b.diff_packages.is_(True)),
            "diff_packages_false": _count(_GOOD & _b.diff_packages.is_(False)),
        },
        _GOOD | _BAD,
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
    parts.load(connection, TIMES, *day_bounds(day))
    for source in _SOURCES:
        _add(connection, deltas, source, parameters)
    for rollup, pairs in _PAIRS:
        for *client, previous, requests in prepared.fetch(connection, pairs, **parameters):
            deltas.add(rollup, (day, *client, previous or NEVER), (requests,))
    return deltas


def _add(
    connection: Connection, deltas: Deltas, source: _Source, parameters: dict[str, object]
) -> None:
    """Add what one detail table says of a rollup."""
    rollup, width = source.rollup, len(source.names)
    hourly = rollup.key[0] == "hour"
    start = () if hourly else (parameters["day"],)
    width += hourly
    adds = list(source.adds)
    # Behind each row a 0 is put, for what this source does not say.
    amounts = itemgetter(*(width + adds.index(a) if a in source.adds else -1 for a in rollup.adds))
    for row in prepared.fetch(connection, _query(connection.dialect.name, source), **parameters):
        found = amounts((*row, 0))
        deltas.add(rollup, (*start, *row[:width]), found if len(rollup.adds) > 1 else (found,))


@lru_cache(maxsize=64)
def _query(dialect: str, source: _Source) -> Select[Any]:
    hour = (dialects.hour_of(dialect, source.time),) if source.rollup.key[0] == "hour" else ()
    groups = (*hour, *source.names)
    query = select(*groups, *source.adds.values()).where(on_day(source.time))
    if source.condition is not None:
        query = query.where(source.condition)
    return query.group_by(*groups) if groups else query


def _asked() -> FromClause:
    """Return the distinct hashes and clients of a day's accepted requests."""
    m = request_metadata
    return (
        select(m.c.request_number, _r.client)
        .join(m, m.c.request_hash == _r.request_hash)
        .where(on_day(_r.timestamp), _ACCEPTED)
        .distinct()
        .subquery("asked")
    )


def _pairs(*, by_client: bool) -> Select[Any]:
    """Select, per client and previous day, how many hashes asked for were seen before then."""
    d, asked = request_days.c, _asked()
    names = [asked.c.client] if by_client else []
    same = [d.request_number == asked.c.request_number, d.date < DAY]
    if by_client:
        same.append(d.client == asked.c.client)
    found = (
        select(*names, func.max(d.date).label("previous_date"))
        .join_from(asked, request_days, and_(*same), isouter=True)
        .group_by(asked.c.request_number, *names)
        .subquery("found")
    )
    groups = [*(found.c[name.name] for name in names), found.c.previous_date]
    return select(*groups, func.count()).group_by(*groups)


_PAIRS: Final = (
    (UNIQUE_REQUESTS, _pairs(by_client=False)),
    (CLIENT_UNIQUE_REQUESTS, _pairs(by_client=True)),
)
