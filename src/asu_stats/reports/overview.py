"""Overview: totals of a time range."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.cloudevents import format_time
from asu_stats.reports import figures, floor, rolling, sums
from asu_stats.reports.durations import all_durations
from asu_stats.reports.fields import (
    Average,
    Built,
    CacheHits,
    Client,
    Failed,
    KnownRate,
    Period,
    Rate,
    Rejected,
    Requests,
    Seconds,
    UniqueRejected,
    UniqueRequests,
    UnknownSplit,
)
from asu_stats.reports.incomplete import reasons
from asu_stats.reports.report import Query, Report
from asu_stats.reports.tally import Tally
from asu_stats.store.blocks.cubes import BY_CLIENT, REJECTED, SECONDS, UNIQUE
from asu_stats.windows import Window


class Totals(TypedDict):
    """Requests and builds."""

    requests: Requests
    unique_requests: UniqueRequests
    cache_hits: CacheHits
    cache_hit_rate: Rate
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    rejected_requests: Rejected
    unique_rejected_requests: UniqueRejected
    cancelled_builds: Annotated[int, Field(description="Neither successful nor failed.")]


class BuildPerformance(TypedDict):
    """Durations of successful builds."""

    avg_duration_seconds: Average
    median_duration_seconds: Seconds
    p95_duration_seconds: Seconds
    total_build_time_hours: Annotated[float, Field(description="Hours, 2 decimals.")]


class ClientRequests(TypedDict):
    """Requests of one client."""

    client: Client
    requests: Requests


class ClientsOverview(TypedDict):
    """Clients with accepted requests."""

    total_unique: Annotated[int, Field(description="Distinct clients among the accepted requests.")]
    top_5: list[ClientRequests]


class OverviewDiffPackages(TypedDict):
    """Requests with and without `diff_packages`."""

    enabled: Annotated[int, Field(description="Requests with `diff_packages`.")]
    disabled: Annotated[int, Field(description="Requests without `diff_packages`.")]
    unknown: UnknownSplit
    percentage_enabled: KnownRate


class Overview(TypedDict):
    """`GET /api/v1/stats/overview`."""

    period: Period
    totals: Totals
    build_performance: BuildPerformance
    clients: ClientsOverview
    diff_packages: OverviewDiffPackages


CUBES: Final = (SECONDS, UNIQUE, REJECTED, BY_CLIENT)
SUMS: Final = (
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


def send(connection: Connection, window: Window) -> None:
    """Ask for what `tally` needs, and do not wait for it."""
    sums.send_days(connection, window, *SUMS)
    sums.send_cubes(connection, window, *CUBES)


def read(connection: Connection, window: Window) -> Overview:
    """Return totals, durations, clients and diff_packages of `window`."""
    found = tally(connection, window)
    return response(sums.period(connection, window, gaps(found.totals)), found)


def read_hours(connection: Connection, now: datetime, hours: int) -> Overview:
    """Return the overview of the last `hours` hours, up to and including `now`."""
    first = now - timedelta(hours=hours)
    found = rolling.tally(connection, first, now)
    period: Period = {
        "start": format_time(first.astimezone(UTC)),
        "end": format_time(now.astimezone(UTC)),
        "days": None,
        "hours": hours,
        "data_since": sums.data_since(connection),
        "incomplete": gaps(found.totals),
    }
    return response(period, found)


def tally(connection: Connection, window: Window) -> Tally:
    """Count requests, builds and clients of `window`."""
    days = [row[1:] for row in sums.days(connection, window, *SUMS)]
    totals = {name: sum(int(row[place]) for row in days) for place, name in enumerate(SUMS)}
    seconds, pairs, rejected, clients = sums.cubes(connection, window, *CUBES)
    return Tally(
        totals,
        (sums.unique_requests(window, pairs), sums.unique_requests(window, rejected)),
        all_durations(seconds),
        {key[0]: row[0] for key, row in clients.rows()},
    )


def gaps(totals: Mapping[str, int]) -> list[str]:
    """Return why figures are incomplete, from the sums of `stats_daily` by name."""
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
    """Derive rates, averages and percentiles."""
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
            "avg_duration_seconds": figures.average(durations.total, durations.count),
            "median_duration_seconds": durations.percentile(50),
            "p95_duration_seconds": durations.percentile(95),
            "total_build_time_hours": figures.hours(durations.total),
        },
        "clients": {
            "total_unique": sum(1 for count in clients.values() if count),
            "top_5": [{"client": c, "requests": n} for c, n in figures.top(floor.fold(clients), 5)],
        },
        "diff_packages": {
            "enabled": enabled,
            "disabled": disabled,
            "unknown": _unknown_diff(totals),
            "percentage_enabled": figures.rate(enabled, enabled + disabled),
        },
    }


def _read(connection: Connection, query: Query) -> Overview:
    if query.hours is None or query.now is None:
        return read(connection, query.window)
    return read_hours(connection, query.now, query.hours)


def _send(connection: Connection, query: Query) -> None:
    if query.hours is None:
        send(connection, query.window)


REPORT: Final = Report(
    name="overview",
    summary="Overview of a time range",
    days=lambda query: query.window if query.hours is None else None,
    send=_send,
    read=_read,
    response=Overview,
    default_days=7,
    hours=True,
)
