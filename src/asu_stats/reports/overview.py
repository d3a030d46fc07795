"""The whole window at a glance."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import Overview, Period
from asu_stats.reports.durations import all_durations
from asu_stats.reports.figures import Distribution
from asu_stats.reports.incomplete import reasons
from asu_stats.store.cubes import BY_CLIENT, SECONDS, UNIQUE
from asu_stats.windows import Window

_ADDS = (
    "total_requests",
    "cache_hits",
    "successful_builds",
    "failed_builds",
    "diff_packages_true",
    "diff_packages_false",
    "rejected_requests",
    "cancelled_builds",
    "requests_without_hash",
    "untraced_requests",
    "queued_requests",
    "joined_requests",
    "cached_failures",
)


def read(connection: Connection, window: Window) -> Overview:
    """Return totals, durations, clients and diff_packages of `window`."""
    days = sums.days(connection, window, *_ADDS)
    totals = [sum(column) for column in list(zip(*days, strict=True))[1:]] or [0] * len(_ADDS)
    requests, hits, good, bad, enabled, disabled, rejected, cancelled, *others = map(int, totals)
    unhashed, untraced, *other_outcomes = others
    unknown = requests - enabled - disabled
    gaps = reasons(
        without_hash=unhashed,
        untraced=untraced,
        unknown_diff=unknown,
        unknown_outcome=requests - hits - sum(other_outcomes),
    )
    seconds, pairs, clients = sums.cubes(connection, window, SECONDS, UNIQUE, BY_CLIENT)
    return shown(
        sums.period(connection, window, gaps),
        Counts(requests, hits, good, bad, enabled, disabled, rejected, cancelled, unhashed),
        unique=sums.unique_requests(window, pairs),
        durations=all_durations(seconds),
        asked=[(key[0], row[0]) for key, row in clients.rows()],
    )


class Counts(NamedTuple):
    """What is counted of a window."""

    requests: int
    cache_hits: int
    successful: int
    failed: int
    enabled: int
    disabled: int
    rejected: int
    cancelled: int
    without_hash: int


def shown(
    period: Period,
    counts: Counts,
    *,
    unique: int,
    durations: Distribution,
    asked: Sequence[tuple[str, int]],
) -> Overview:
    """Return the answer: `unique` requests, durations of builds, and requests per client."""
    requests, hits, good, bad, enabled, disabled, rejected, cancelled, unhashed = counts
    return {
        "period": period,
        "totals": {
            "requests": requests,
            "unique_requests": None if unhashed else unique,
            "cache_hits": hits,
            "cache_hit_rate": figures.rate(hits, requests),
            "successful_builds": good,
            "failed_builds": bad,
            "success_rate": figures.rate(good, good + bad),
            "rejected_requests": None if unhashed else rejected,
            "cancelled_builds": cancelled,
        },
        "build_performance": {
            "avg_duration_seconds": durations.average,
            "median_duration_seconds": durations.percentile(50),
            "p95_duration_seconds": durations.percentile(95),
            "total_build_time_hours": figures.hours(durations.total),
        },
        "clients": {
            "total_unique": sum(1 for _, requests in asked if requests),
            "top_5": [{"client": c, "requests": n} for c, n in figures.top(asked, 5)],
        },
        "diff_packages": {
            "enabled": enabled,
            "disabled": disabled,
            "unknown": requests - enabled - disabled,
            "percentage_enabled": figures.rate(enabled, enabled + disabled),
        },
    }
