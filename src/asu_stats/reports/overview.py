"""Overview: totals of a time range."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import Overview, Period
from asu_stats.reports.durations import all_durations
from asu_stats.reports.figures import Distribution
from asu_stats.reports.incomplete import reasons
from asu_stats.store.cubes import BY_CLIENT, REJECTED, SECONDS, UNIQUE
from asu_stats.windows import Window

_SUMS: Final = (
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
    days = [row[1:] for row in sums.days(connection, window, *_SUMS)]
    totals = {name: sum(int(row[place]) for row in days) for place, name in enumerate(_SUMS)}
    seconds, pairs, rejected, clients = sums.cubes(
        connection, window, SECONDS, UNIQUE, REJECTED, BY_CLIENT
    )
    return response(
        sums.period(connection, window, gaps(totals)),
        totals,
        unique=(sums.unique_requests(window, pairs), sums.unique_requests(window, rejected)),
        durations=all_durations(seconds),
        clients=[(key[0], row[0]) for key, row in clients.rows()],
    )


def gaps(totals: Mapping[str, int]) -> list[str]:
    """Return why figures are incomplete, given the sums of `stats_daily` by name."""
    outcomes = ("cache_hits", "queued_requests", "joined_requests", "cached_failures")
    return reasons(
        without_hash=totals["requests_without_hash"],
        untraced=totals["untraced_requests"],
        unknown_diff=_unknown_diff(totals),
        unknown_outcome=totals["total_requests"] - sum(totals[name] for name in outcomes),
    )


def _unknown_diff(totals: Mapping[str, int]) -> int:
    known = totals["diff_packages_true"] + totals["diff_packages_false"]
    return totals["total_requests"] - known


def response(
    period: Period,
    totals: Mapping[str, int],
    *,
    unique: tuple[int, int],
    durations: Distribution,
    clients: Sequence[tuple[str, int]],
) -> Overview:
    """Return the response, given the sums of `stats_daily` by name.

    `unique` are the numbers of distinct accepted and rejected requests, `clients` are the requests
    of each client.
    """
    requests, hits = totals["total_requests"], totals["cache_hits"]
    successful, failed = totals["successful_builds"], totals["failed_builds"]
    enabled, disabled = totals["diff_packages_true"], totals["diff_packages_false"]
    with_hash = not totals["requests_without_hash"]
    return {
        "period": period,
        "totals": {
            "requests": requests,
            "unique_requests": unique[0] if with_hash else None,
            "cache_hits": hits,
            "cache_hit_rate": figures.rate(hits, requests),
            "successful_builds": successful,
            "failed_builds": failed,
            "success_rate": figures.rate(successful, successful + failed),
            "rejected_requests": totals["rejected_requests"] if with_hash else None,
            "unique_rejected_requests": unique[1] if with_hash else None,
            "cancelled_builds": totals["cancelled_builds"],
        },
        "build_performance": {
            "avg_duration_seconds": durations.average,
            "median_duration_seconds": durations.percentile(50),
            "p95_duration_seconds": durations.percentile(95),
            "total_build_time_hours": figures.hours(durations.total),
        },
        "clients": {
            "total_unique": sum(1 for _, count in clients if count),
            "top_5": [{"client": c, "requests": n} for c, n in figures.top(clients, 5)],
        },
        "diff_packages": {
            "enabled": enabled,
            "disabled": disabled,
            "unknown": _unknown_diff(totals),
            "percentage_enabled": figures.rate(enabled, enabled + disabled),
        },
    }
