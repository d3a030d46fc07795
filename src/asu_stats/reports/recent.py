"""The last hours for the monitor: hourly sums, failed builds, and the past to compare with.

A window of n hours is the current hour and the n - 1 hours before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Connection, DateTime, Select, bindparam, func, literal_column, select

from asu_stats.events import UNKNOWN
from asu_stats.reports import sums
from asu_stats.reports.builds import ADDS, Sums
from asu_stats.reports.durations import all_durations
from asu_stats.store.blocks.cubes import BUILDS_BY_CLIENT, SECONDS
from asu_stats.store.database import statements
from asu_stats.store.database.schema import client_stats, error_stats
from asu_stats.store.rollups import names
from asu_stats.store.rollups.definitions import (
    ERRORS,
    HOURLY_CLIENTS,
    HOURLY_PROFILES,
    VERSION_TARGET,
)
from asu_stats.times import naive
from asu_stats.windows import Window

PAST_DAYS: Final = 14
_HOUR: Final = timedelta(hours=1)


class ClientSums(NamedTuple):
    """A client's own requests by result, without requests of cancelled builds."""

    successful: int
    failed: int
    rejected: int


# Version and target.
Place: TypeAlias = tuple[str, str]


class Failure(NamedTuple):
    """A build that failed or timed out."""

    version: str
    target: str
    error_type: str
    request_hash: str
    client: str  # of the earliest request that waited for it; `unknown` if none did


@dataclass(frozen=True, slots=True)
class BuildGroups:
    """Ended and failed builds, and the failures by type."""

    ended: Mapping[Place, int]
    failed: Mapping[Place, int]
    kinds: Sequence[tuple[str, str, str, int]]  # version, target, error type, count
    clients: Mapping[str, tuple[int, int]]  # failed and ended


@dataclass(frozen=True, slots=True)
class Span:
    """Hours in UTC without zone: `first` is included, `after` is not."""

    first: datetime
    after: datetime

    @classmethod
    def last(cls, hours: int, *, now: datetime) -> "Span":
        """Return the current hour and the hours before it."""
        begun = naive(now).replace(minute=0, second=0, microsecond=0)
        return cls(begun - (hours - 1) * _HOUR, begun + _HOUR)

    def before(self, hours: int | None = None) -> "Span":
        """Return the `hours` hours before this span, by default as many as it has."""
        length = self.after - self.first if hours is None else hours * _HOUR
        return Span(self.first - length, self.first)


_FIRST: Final = bindparam("first", type_=DateTime)
_AFTER: Final = bindparam("after", type_=DateTime)


def _by_version_and_target() -> Select[Any]:
    t = HOURLY_PROFILES.table.c
    adds = [func.sum(t[add]) for add in ADDS]
    return (
        select(t.version, t.target, *adds)
        .where(t.hour >= _FIRST, t.hour < _AFTER)
        .group_by(t.version, t.target)
    )


def _by_client() -> Select[Any]:
    t = HOURLY_CLIENTS.table.c
    adds = ("successful_builds", "failed_builds", "rejected_requests")
    return (
        select(t.client, t.version, *(func.sum(t[add]) for add in adds))
        .where(t.hour >= _FIRST, t.hour < _AFTER)
        .group_by(t.client, t.version)
    )


_HOURS: Final = _by_version_and_target()
_CLIENTS: Final = _by_client()
_r = client_stats.c
# By the index of requests whose build has ended.
_CLIENT: Final = (
    select(_r.client)
    .where(
        _r.request_hash == error_stats.c.request_hash,
        _r.ended_at.is_not(None),
        _r.build_id == error_stats.c.build_id,
    )
    .order_by(_r.timestamp, _r.id)
    .limit(literal_column("1"))
    .scalar_subquery()
)
_FAILURES: Final = select(
    error_stats.c.version,
    error_stats.c.target,
    error_stats.c.error_type,
    error_stats.c.request_hash,
    _CLIENT,
).where(
    error_stats.c.timestamp >= _FIRST,
    error_stats.c.timestamp < _AFTER,
    error_stats.c.build_id.is_not(None),
)


@dataclass(frozen=True, slots=True)
class Hours:
    """Requests and builds of a span by version and target."""

    groups: Mapping[Place, Sums]

    @property
    def total(self) -> Sums:
        """Return the sums over all versions and targets."""
        return Sums(*map(sum, zip(*self.groups.values(), strict=True))) if self.groups else NONE

    def ended(self) -> dict[Place, int]:
        """Return the successful and failed builds of each group with any."""
        return {
            group: builds.successful + builds.failed
            for group, builds in self.groups.items()
            if builds.successful or builds.failed
        }


NONE: Final = Sums(*(0,) * len(Sums._fields))


def hours(connection: Connection, span: Span) -> Hours:
    """Return requests and builds of a span."""
    rows = statements.fetch(connection, _HOURS, first=span.first, after=span.after)
    return Hours({(row[0], row[1]): Sums(*map(int, row[2:])) for row in rows})


def clients(connection: Connection, span: Span) -> dict[tuple[str, str], ClientSums]:
    """Return the results of the requests of each client for each version."""
    rows = statements.fetch(connection, _CLIENTS, first=span.first, after=span.after)
    return {(row[0], row[1]): ClientSums(*map(int, row[2:])) for row in rows}


def failures(connection: Connection, span: Span) -> list[Failure]:
    """Return the failed builds of a span one by one, read from details by index."""
    rows = statements.fetch(connection, _FAILURES, first=span.first, after=span.after)
    return [
        Failure(version, target, error_type, request_hash, client or UNKNOWN)
        for version, target, error_type, request_hash, client in rows
    ]


def past(connection: Connection, last: date) -> BuildGroups:
    """Return ended and failed builds of the `PAST_DAYS` days that end with `last`.

    The failures by type include rejected requests. Few error types occur with both. The client of
    a build is that of the earliest request that waited for it.
    """
    window = Window(last - timedelta(days=PAST_DAYS - 1), last)
    builds = [
        ((row.version, row.target), int(row.success_count), int(row.failure_count))
        for row in sums.rows(connection, VERSION_TARGET, ("version", "target"), window)
    ]
    errors = sums.rows(connection, ERRORS, ("version", "target", "error_type"), window)
    clients: dict[str, tuple[int, int]] = {}
    (totals,) = sums.cubes(connection, window, BUILDS_BY_CLIENT)
    by_client = [(number, counts) for (number,), counts in totals.rows()]
    known = names.of(connection, (number for number, _ in by_client))
    for number, (good, bad) in by_client:
        client = known[number][0] if number in known else UNKNOWN
        failed, ended = clients.get(client, (0, 0))
        clients[client] = failed + int(bad), ended + int(good + bad)
    return BuildGroups(
        ended={place: good + bad for place, good, bad in builds},
        failed={place: bad for place, _, bad in builds},
        kinds=[(row.version, row.target, row.error_type, int(row.errors)) for row in errors],
        clients=clients,
    )


def variation(connection: Connection, last: date) -> float:
    """Return the coefficient of variation of the durations in those days; 1 if unknown."""
    window = Window(last - timedelta(days=PAST_DAYS - 1), last)
    (seconds,) = sums.cubes(connection, window, SECONDS)
    return all_durations(seconds).variation or 1.0
