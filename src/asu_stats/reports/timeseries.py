"""Requests and builds over time."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.exceptions import InvalidParameterError
from asu_stats.reports import builds, sums
from asu_stats.reports.fields import Average, CacheHits, Rate, Requests
from asu_stats.reports.parameters import CLIENT, INTERVAL, PROFILE, TARGET, VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import BY_CLIENT, UNIQUE
from asu_stats.store.rollups.definitions import (
    CLIENT_VERSIONS,
    CLIENTS,
    HOURLY_CLIENTS,
    HOURLY_PROFILES,
    PROFILES,
    VERSION_TARGET,
    Rollup,
)
from asu_stats.windows import MAX_BUCKETS, Interval, Window, bucket_of_day, bucket_of_hour

BucketBuilt = Annotated[
    int | None,
    Field(
        description="Successful builds. With `client`: those of its requests; null where unknown."
    ),
]
BucketFailed = Annotated[
    int | None, Field(description="Builds that failed or timed out; with `client` as above.")
]


class Bucket(TypedDict):
    """One bucket of a time series."""

    timestamp: Annotated[
        str,
        Field(description="Hour 2024-01-01T13:00:00Z, day, Monday of the week, or month 2024-01."),
    ]
    requests: Requests
    cache_hits: CacheHits
    cache_hit_rate: Rate
    successful_builds: BucketBuilt
    failed_builds: BucketFailed
    success_rate: Rate
    avg_build_duration: Average
    unique_clients: Annotated[
        int | None, Field(description="Distinct clients; null with `target` or `profile`.")
    ]
    unique_requests: Annotated[
        int | None, Field(description="Distinct request hashes; null by the hour or with a filter.")
    ]


Filters = Mapping[str, str]


@dataclass(slots=True)
class _Sums:
    """Sums of a bucket, in the order of `builds.ADDS`, and its clients."""

    amounts: list[int] = field(default_factory=lambda: [0] * len(builds.ADDS))
    clients: set[str] = field(default_factory=set)
    unique_clients: int | None = None
    untraced: int = 0
    unique_requests: int | None = None

    @property
    def client_count(self) -> int:
        return len(self.clients) if self.unique_clients is None else self.unique_clients

    def add(self, amounts: Iterable[Any]) -> None:
        """Add amounts, in the order of `builds.ADDS`."""
        for place, amount in enumerate(amounts):
            self.amounts[place] += int(amount)


def read(
    connection: Connection, window: Window, *, interval: Interval, filters: Filters
) -> list[Bucket]:
    """Return every bucket of `window`, including empty ones.

    `filters` holds names that `check` accepts together. With `client`, the builds are those that
    its requests waited for, `None` if unknown, and averages are `None`. With `target` or
    `profile`, the number of clients is unknown. Distinct requests are known for whole days without
    a filter, unless requests were imported without hash.
    """
    found = _read(connection, window, interval, filters)
    return _buckets(list(window.timestamps(interval)), found, filters)


def send(
    connection: Connection,
    window: Window,
    interval: Interval,
    filters: Filters = MappingProxyType({}),
) -> None:
    """Ask for what `read` needs, and do not wait for it."""
    if filters or interval == "hour":
        for rollup, by in _rollups(filters, hourly=interval == "hour"):
            sums.send_rows(connection, rollup, by, window, filters)
        return
    sums.send_days(connection, window, *_DAY)
    if interval != "day":
        sums.send_cubes(connection, window, BY_CLIENT, UNIQUE, interval=interval)


def read_days(connection: Connection, window: Window, filters: Filters) -> list[Bucket]:
    """Return the days of `window`. More than 10,000 days leave out those without data."""
    found = _read(connection, window, "day", filters)
    if window.days > MAX_BUCKETS:
        stamps = sorted(stamp for stamp, bucket in found.items() if any(bucket.amounts))
    else:
        stamps = list(window.timestamps("day"))
    return _buckets(stamps, found, filters)


def _read(
    connection: Connection, window: Window, interval: Interval, filters: Filters
) -> dict[str, _Sums]:
    if interval == "day" and not filters:
        return _read_all_days(connection, window)
    if interval != "hour" and not filters:
        return _read_all(connection, window, interval)
    buckets: dict[str, _Sums] = defaultdict(_Sums)
    hourly = interval == "hour"
    time_of = _hour_stamp if hourly else _day_stamp(interval)
    columns = _CLIENT_BUILDS if "client" in filters else builds.ADDS
    (rollup, by), *of_clients = _rollups(filters, hourly=hourly)
    for row in sums.rows(connection, rollup, by, window, filters):
        bucket = buckets[time_of(row)]
        bucket.add(getattr(row, column) for column in columns)
        if "client" in filters:
            bucket.untraced += int(row.untraced_requests)
    for rollup, by in of_clients:
        for row in sums.rows(connection, rollup, by, window, filters):
            if row.requests:
                buckets[time_of(row)].clients.add(row.client)
    return buckets


# The first of `builds.ADDS`: all that is known per client.
_CLIENT_BUILDS: Final = ("requests", "cache_hits", "successful_builds", "failed_builds")
_UNHASHED: Final = "requests_without_hash"
_DAY: Final = (
    "total_requests",
    "cache_hits",
    "successful_builds",
    "failed_builds",
    "timed_builds",
    "total_build_time_seconds",
    "unique_clients",
    "unique_requests",
    _UNHASHED,
)


def _read_all_days(connection: Connection, window: Window) -> dict[str, _Sums]:
    """Read the days without filter: they have their own rollup."""
    buckets: dict[str, _Sums] = defaultdict(lambda: _Sums(unique_requests=0))
    for day, *amounts, clients, requests, unhashed in sums.days(connection, window, *_DAY):
        bucket = buckets[day.isoformat()] = _Sums(amounts)
        bucket.unique_clients, bucket.unique_requests = int(clients), int(requests)
        if unhashed:
            bucket.unique_requests = None
    return buckets


def _read_all(connection: Connection, window: Window, interval: Interval) -> dict[str, _Sums]:
    """Read longer buckets without filter: sums of days, and distinct names from blocks."""
    buckets: dict[str, _Sums] = defaultdict(_Sums)
    unhashed = set()
    for day, *amounts, _, _, without_hash in sums.days(connection, window, *_DAY):
        buckets[bucket_of_day(day, interval)].add(amounts)
        if without_hash:
            unhashed.add(day)
    for stamp, _, clients in sums.cube_over_time(connection, window, interval, BY_CLIENT):
        buckets[stamp].unique_clients = len(clients.counts(0))
    for stamp, part, pairs in sums.cube_over_time(connection, window, interval, UNIQUE):
        if unhashed.isdisjoint(part):
            buckets[stamp].unique_requests = sums.unique_requests(part, pairs)
    return buckets


def _rollups(filters: Filters, *, hourly: bool) -> list[tuple[Rollup, tuple[str, ...]]]:
    """Return the rollup with builds, and the one with clients, and by what they are summed."""
    rollup = _builds_rollup(filters, hourly=hourly)
    found = [(rollup, rollup.key[:1])]
    if not {"target", "profile"} & filters.keys():
        clients = HOURLY_CLIENTS if hourly else CLIENT_VERSIONS if "version" in filters else CLIENTS
        found.append((clients, (clients.key[0], "client")))
    return found


def _builds_rollup(filters: Filters, *, hourly: bool) -> Rollup:
    if "client" in filters:
        return HOURLY_CLIENTS if hourly else CLIENTS
    if hourly:
        return HOURLY_PROFILES
    return PROFILES if "profile" in filters else VERSION_TARGET


def _hour_stamp(row: Any) -> str:
    return bucket_of_hour(row.hour)


def _day_stamp(interval: Interval) -> Callable[[Any], str]:
    return lambda row: bucket_of_day(row.date, interval)


def _buckets(stamps: list[str], found: dict[str, _Sums], filters: Filters) -> list[Bucket]:
    buckets = [found[stamp] for stamp in stamps]
    rows = builds.rows(bucket.amounts for bucket in buckets)
    known = not {"target", "profile"} & filters.keys()
    return [
        {
            "timestamp": stamp,
            "requests": row.requests,
            "cache_hits": row.cache_hits,
            "cache_hit_rate": row.cache_hit_rate,
            "successful_builds": None if bucket.untraced else row.successful_builds,
            "failed_builds": None if bucket.untraced else row.failed_builds,
            "success_rate": None if bucket.untraced else row.success_rate,
            "avg_build_duration": row.avg_build_duration,
            "unique_clients": bucket.client_count if known else None,
            "unique_requests": bucket.unique_requests,
        }
        for stamp, bucket, row in zip(stamps, buckets, rows, strict=True)
    ]


COMBINATIONS: Final = (
    "any of version, target and profile together, or client alone, or by the hour client and "
    "version"
)


def check(filters: Filters, interval: Interval) -> None:
    """Raise `InvalidParameterError` for filters that no stored sum has together."""
    if "client" not in filters:
        return
    together = {"client", "version"} if interval == "hour" else {"client"}
    for name in filters:
        if name not in together:
            raise InvalidParameterError(name, got=filters[name], expected=COMBINATIONS)


def _check(query: Query) -> None:
    check(_filters(query), query.filters["interval"])


def _filters(query: Query) -> Filters:
    return {name: value for name, value in query.filters.items() if name != "interval"}


def _series(connection: Connection, query: Query) -> list[Bucket]:
    interval = query.filters["interval"]
    return read(connection, query.window, interval=interval, filters=_filters(query))


def _reads_cubes(query: Query) -> bool:
    return query.filters["interval"] in {"week", "month"} and not _filters(query)


REPORT: Final = Report(
    name="timeseries",
    summary="Requests and builds over time",
    days=lambda query: query.window if _reads_cubes(query) else None,
    send=lambda connection, query: send(
        connection, query.window, query.filters["interval"], _filters(query)
    ),
    read=_series,
    response=list[Bucket],
    parameters=(VERSION, TARGET, PROFILE, CLIENT, INTERVAL),
    row=Bucket,
    check=_check,
    description=f"Filters: {COMBINATIONS}. Days are UTC days; every figure is exact and live.",
    example={"days": "2"},
)
