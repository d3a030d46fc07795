"""Overview: totals of a time range."""

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import Overview, Period
from asu_stats.reports.durations import all_durations
from asu_stats.reports.figures import Distribution
from asu_stats.reports.incomplete import reasons
from asu_stats.store.blocks.cubes import BY_CLIENT, REJECTED, SECONDS, UNIQUE
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
    "rejected_without_hash",
    "queued_requests",
    "joined_requests",
    "cached_failures",
)


class Tally(NamedTuple):
    """What is counted of a time range: sums of `stats_daily` by name, and what is no sum.

    `unique` are the numbers of distinct accepted and rejected requests, `clients` are the requests
    of each client.
    """

    totals: Mapping[str, int]
    unique: tuple[int, int]
    durations: Distribution
    clients: Mapping[str, int]

    def plus(self, later: "Tally") -> "Tally":
        """Return the tally of both; `later` does not count as unique what was requested here."""
        names = self.totals.keys() | later.totals.keys()
        clients = Counter(self.clients)
        clients.update(later.clients)
        return Tally(
            {name: self.totals.get(name, 0) + later.totals.get(name, 0) for name in names},
            (self.unique[0] + later.unique[0], self.unique[1] + later.unique[1]),
            self.durations.plus(later.durations),
            clients,
        )


def read(connection: Connection, window: Window) -> Overview:
    """Return totals, durations, clients and diff_packages of `window`."""
    found = tally(connection, window)
    return response(sums.period(connection, window, gaps(found.totals)), found)


def tally(connection: Connection, window: Window) -> Tally:
    """Return what is counted of `window`."""
    days = [row[1:] for row in sums.days(connection, window, *_SUMS)]
    totals = {name: sum(int(row[place]) for row in days) for place, name in enumerate(_SUMS)}
    seconds, pairs, rejected, clients = sums.cubes(
        connection, window, SECONDS, UNIQUE, REJECTED, BY_CLIENT
    )
    return Tally(
        totals,
        (sums.unique_requests(window, pairs), sums.unique_requests(window, rejected)),
        all_durations(seconds),
        {key[0]: row[0] for key, row in clients.rows()},
    )


def gaps(totals: Mapping[str, int]) -> list[str]:
    """Return why figures are incomplete, given the sums of `stats_daily` by name."""
    outcomes = ("cache_hits", "queued_requests", "joined_requests", "cached_failures")
    return reasons(
        without_hash=totals["requests_without_hash"],
        untraced=totals["untraced_requests"],
        rejected_without_hash=totals["rejected_without_hash"],
        unknown_diff=_unknown_diff(totals),
        unknown_outcome=totals["total_requests"] - sum(totals[name] for name in outcomes),
    )


def _unknown_diff(totals: Mapping[str, int]) -> int:
    known = totals["diff_packages_true"] + totals["diff_packages_false"]
    return totals["total_requests"] - known


def response(period: Period, tally: Tally) -> Overview:
    """Return the response that says what was counted."""
    totals, unique, durations, clients = tally
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
            "unique_rejected_requests": (
                unique[1] if with_hash and not totals["rejected_without_hash"] else None
            ),
            "cancelled_builds": totals["cancelled_builds"],
        },
        "build_performance": {
            "avg_duration_seconds": durations.average,
            "median_duration_seconds": durations.percentile(50),
            "p95_duration_seconds": durations.percentile(95),
            "total_build_time_hours": figures.hours(durations.total),
        },
        "clients": {
            "total_unique": sum(1 for count in clients.values() if count),
            "top_5": [{"client": c, "requests": n} for c, n in figures.top(clients, 5)],
        },
        "diff_packages": {
            "enabled": enabled,
            "disabled": disabled,
            "unknown": _unknown_diff(totals),
            "percentage_enabled": figures.rate(enabled, enabled + disabled),
        },
    }
