"""Rollups, declared as data. A rollup contains only sums, so any time range is exact.

Every rollup is a table with a key and columns of sums. `apply`, `verify`, `rebuild` and `export`
walk `ROLLUPS`. Distinct counts of a day are sums too: a row adds one when a finer rollup first has
a sum above 0 under its key (`DISTINCT`). Averages and rates are generated columns of the database.
The shortest and longest build of a day are the only figures that are not sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import name, row_id

# Previous day of a hash that was never requested before, in a pair of days.
NEVER: Final = date.min
# Duration, in a key, of builds that did not succeed or whose duration is unknown.
UNTIMED: Final = -1

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """A table of sums: `adds` per `key`. `key[0]` is a UTC day or hour."""

    table: Table
    key: tuple[str, ...]
    adds: tuple[str, ...]

    def place(self, add: str) -> int:
        """Return the place of a sum among `adds`."""
        return self.adds.index(add)

    @property
    def name(self) -> str:
        return self.table.name


def _sum(column: str) -> Column[int]:
    return Column(column, BigInteger, nullable=False, server_default=text("0"))


def _ratio(column: str, numerator: str, denominator: str, factor: str = "") -> Column[float]:
    expression = f"CAST({numerator} AS DOUBLE PRECISION){factor} / NULLIF({denominator}, 0)"
    return Column(column, Double, Computed(expression, persisted=True))


def _rollup(
    table_name: str, key: Sequence[Column[Any]], adds: Sequence[str], *further: Any
) -> Rollup:
    """Declare a rollup whose primary key is its key."""
    for column in key:
        column.primary_key = True
        column.nullable = False
    sums = [_sum(add) for add in adds]
    table = Table(table_name, metadata, *key, *sums, *further, sqlite_with_rowid=False)
    return Rollup(table, tuple(column.name for column in key), tuple(adds))


def _numbered_rollup(
    table_name: str, key: Sequence[Column[Any]], adds: Sequence[str], *further: Any
) -> Rollup:
    """Declare a rollup that also has an `id` column."""
    names = tuple(column.name for column in key)
    for column in key:
        column.nullable = False
    sums = [_sum(add) for add in adds]
    table = Table(table_name, metadata, row_id(), *key, *sums, *further, UniqueConstraint(*names))
    return Rollup(table, names, tuple(adds))


def _day() -> Column[date]:
    return Column("date", Date)


DAILY: Final = _rollup(
    "stats_daily",
    [_day()],
    [
        "total_requests",
        "cache_hits",
        "successful_builds",
        "failed_builds",
        "total_build_time_seconds",
        "diff_packages_true",
        "diff_packages_false",
        "queued_requests",
        "joined_requests",
        "cached_failures",
        "rejected_requests",
        "timed_builds",
        "timeout_builds",
        "cancelled_builds",
        "unique_requests",
        "unique_clients",
        "requests_without_hash",
        "untraced_requests",
        "rejected_without_hash",
    ],
    Column("max_build_duration_seconds", Integer),
    Column("min_build_duration_seconds", Integer),
    _ratio("avg_build_duration_seconds", "total_build_time_seconds", "timed_builds"),
)

VERSION_TARGET: Final = _numbered_rollup(
    "stats_version_target",
    [_day(), name("version"), name("target")],
    [
        "request_count",
        "cache_hits",
        "success_count",
        "failure_count",
        "timed_builds",
        "build_time_seconds",
        "diff_packages_true",
        "diff_packages_false",
        "unique_profiles",
    ],
    _ratio("cache_hit_rate", "cache_hits", "request_count", " * 100"),
    _ratio("avg_build_duration", "build_time_seconds", "timed_builds"),
)

PROFILES: Final = _numbered_rollup(
    "stats_profiles",
    [_day(), name("version"), name("target"), name("profile")],
    [
        "request_count",
        "cache_hits",
        "success_count",
        "failure_count",
        "timed_builds",
        "build_time_seconds",
    ],
    _ratio("avg_build_duration", "build_time_seconds", "timed_builds"),
)

# Requests without hash come from older servers. Those that waited for a build are untraced: their
# result for the client is unknown.
CLIENTS: Final = _rollup(
    "stats_clients",
    [_day(), name("client")],
    [
        "requests",
        "cache_hits",
        "successful_builds",
        "failed_builds",
        "rejected_requests",
        "requests_without_hash",
        "untraced_requests",
        "rejected_without_hash",
    ],
)

CLIENT_VERSIONS: Final = _rollup(
    "stats_client_versions",
    [_day(), name("client"), name("version"), name("client_version")],
    [
        "requests",
        "custom_repos_true",
        "custom_repos_false",
        "defaults_true",
        "defaults_false",
        "rootfs_size_true",
        "rootfs_size_false",
    ],
)

ROOTFS_SIZES: Final = _rollup(
    "stats_rootfs_sizes",
    [_day(), name("version"), name("client"), Column("rootfs_size_mb", Integer)],
    ["requests"],
)

PACKAGE_COUNTS: Final = _rollup(
    "stats_package_counts",
    [_day(), name("version"), name("client"), Column("package_count", Integer)],
    ["requests"],
)

CLIENT_DEVICES: Final = _rollup(
    "stats_client_devices",
    [_day(), name("client"), name("target"), name("profile")],
    ["requests"],
)

DURATIONS: Final = _rollup(
    "stats_durations",
    [_day(), name("version"), Column("seconds", Integer)],
    ["builds"],
)

# How long phases of successful builds took: see phases.py.
PHASES: Final = _rollup(
    "stats_phases",
    [
        _day(),
        name("phase"),
        name("version"),
        name("worker"),
        Column("milliseconds", BigInteger),
    ],
    ["builds"],
)

# How long builds occupied a worker, whatever their status.
BUSY_SECONDS: Final = _rollup(
    "stats_busy_seconds",
    [_day(), Column("seconds", Integer)],
    ["builds"],
)

ERRORS: Final = _rollup(
    "stats_errors",
    [_day(), name("error_category"), name("error_type"), name("version"), name("target")],
    ["errors"],
)

CLIENT_ERRORS: Final = _rollup(
    "stats_client_errors",
    [_day(), name("client"), name("error_category"), name("error_type")],
    ["errors"],
)

# Requests by number of their package list: see package_lists.py.
PACKAGES: Final = _rollup(
    "stats_packages",
    [_day(), name("version"), name("target"), name("profile"), Column("package_list", BigInteger)],
    ["requests"],
)

# Pairs (day, previous day with a request for the same hash): see request_days.py.
UNIQUE_REQUESTS: Final = _rollup(
    "stats_unique_requests",
    [_day(), Column("previous_date", Date)],
    ["requests"],
)

CLIENT_UNIQUE_REQUESTS: Final = _rollup(
    "stats_client_unique_requests",
    [_day(), name("client"), Column("previous_date", Date)],
    ["requests"],
)

# The same of rejected requests: a client that posts again every few seconds is rejected each time.
UNIQUE_REJECTED: Final = _rollup(
    "stats_unique_rejected",
    [_day(), Column("previous_date", Date)],
    ["requests"],
)

CLIENT_UNIQUE_REJECTED: Final = _rollup(
    "stats_client_unique_rejected",
    [_day(), name("client"), Column("previous_date", Date)],
    ["requests"],
)

# Accepted requests by the time since the request before it of the same hash: see gaps.py.
GAPS: Final = _rollup(
    "stats_request_gaps",
    [_day(), Column("gap_seconds", Integer)],
    ["requests"],
)

# Requests that waited, by the hour of the week in which they came: 0 is Monday 00:00.
WAITS: Final = _rollup(
    "stats_waits",
    [_day(), Column("hour_of_week", Integer), Column("waited_seconds", Integer)],
    ["requests"],
)

# Requests without success. The index has hashes that were requested often on a day.
OFTEN: Final = "rejected + cached_failures + failed_builds >= 10"
REPEATS: Final = _rollup(
    "stats_repeats",
    [_day(), name("client"), name("request_hash")],
    ["rejected", "cached_failures", "failed_builds"],
    Index("ix_stats_repeats_often", "date", sqlite_where=text(OFTEN), postgresql_where=text(OFTEN)),
)

HOURLY_PROFILES: Final = _rollup(
    "stats_hourly_profiles",
    [Column("hour", DateTime), name("version"), name("target"), name("profile")],
    [
        "request_count",
        "cache_hits",
        "success_count",
        "failure_count",
        "timed_builds",
        "build_time_seconds",
        "queued_requests",
    ],
)

HOURLY_CLIENTS: Final = _rollup(
    "stats_hourly_clients",
    [Column("hour", DateTime), name("client"), name("version")],
    [
        "requests",
        "cache_hits",
        "successful_builds",
        "failed_builds",
        "rejected_requests",
        "untraced_requests",
    ],
)

# The counts of the Go server's endpoints, under its names: without target, and `request` is only
# the outcome `queued`. The sums of diff_packages are of `request` and `build_completed` together; a
# build with unknown diff_packages is in neither.
LEGACY: Final = _rollup(
    "stats_legacy",
    [_day(), name("version")],
    [
        "request",
        "cache_hit",
        "build_completed",
        "failure",
        "diff_packages_true",
        "diff_packages_false",
    ],
)

# Ended builds, and failures by fingerprint, by numbers of names: see `names`. `device` stands
# for version, target and profile, `asker` for the client and its version, `worker` for a worker.
# `seconds` is how long a successful build took; -1 for all others.
ATTEMPTS: Final = _rollup(
    "stats_attempts",
    [
        _day(),
        Column("device", BigInteger),
        Column("asker", BigInteger),
        Column("worker", BigInteger),
        Column("package_list", BigInteger),
        Column("seconds", Integer),
    ],
    ["successful_builds", "failed_builds"],
)

FAILURES: Final = _rollup(
    "stats_failures",
    [
        _day(),
        name("fingerprint"),
        name("error_category"),
        name("error_type"),
        name("package"),
        Column("device", BigInteger),
        Column("asker", BigInteger),
        Column("worker", BigInteger),
        Column("package_list", BigInteger),
        name("request_hash"),
    ],
    ["failed_builds", "rejected_requests"],
)

Index(None, FAILURES.table.c.fingerprint, FAILURES.table.c.date)

# Finer rollups come before the rollups that count their keys.
ROLLUPS: Final[tuple[Rollup, ...]] = (
    PROFILES,
    HOURLY_PROFILES,
    VERSION_TARGET,
    CLIENT_DEVICES,
    CLIENT_VERSIONS,
    ROOTFS_SIZES,
    PACKAGE_COUNTS,
    HOURLY_CLIENTS,
    CLIENTS,
    CLIENT_UNIQUE_REQUESTS,
    UNIQUE_REQUESTS,
    CLIENT_UNIQUE_REJECTED,
    UNIQUE_REJECTED,
    GAPS,
    WAITS,
    REPEATS,
    DURATIONS,
    PHASES,
    BUSY_SECONDS,
    CLIENT_ERRORS,
    ERRORS,
    LEGACY,
    PACKAGES,
    ATTEMPTS,
    FAILURES,
    DAILY,
)


# Deleted after their retention: `store_state.hourly_since` is the first day with hours.
HOURLY: Final = (HOURLY_PROFILES, HOURLY_CLIENTS)


@dataclass(frozen=True, slots=True)
class Distinct:
    """Number of keys of a finer rollup with a sum above 0, stored as a sum of a coarser rollup."""

    of: Rollup
    having: str
    into: Rollup
    add: str


DISTINCT: Final[tuple[Distinct, ...]] = (
    Distinct(PROFILES, "request_count", VERSION_TARGET, "unique_profiles"),
    Distinct(CLIENTS, "requests", DAILY, "unique_clients"),
)
