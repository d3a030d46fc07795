"""The whole window at a glance."""

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import Overview
from asu_stats.store.rollups import DAILY
from asu_stats.windows import Window


def read(connection: Connection, window: Window) -> Overview:
    """Return totals, durations, clients and diff_packages of `window`."""
    row = sums.rows(connection, DAILY, (), window)[0]
    day = {add: int(getattr(row, add) or 0) for add in DAILY.adds}
    good, bad = day["successful_builds"], day["failed_builds"]
    enabled, disabled = day["diff_packages_true"], day["diff_packages_false"]
    durations = sums.durations(connection, window)
    clients = sums.requests_by_client(connection, window)
    return {
        "period": sums.period(connection, window),
        "totals": {
            "requests": day["total_requests"],
            "unique_requests": sums.unique_requests(connection, window),
            "cache_hits": day["cache_hits"],
            "cache_hit_rate": figures.rate(day["cache_hits"], day["total_requests"]),
            "successful_builds": good,
            "failed_builds": bad,
            "success_rate": figures.rate(good, good + bad),
            "rejected_requests": day["rejected_requests"],
            "cancelled_builds": day["cancelled_builds"],
        },
        "build_performance": {
            "avg_duration_seconds": durations.average,
            "median_duration_seconds": durations.percentile(50),
            "p95_duration_seconds": durations.percentile(95),
            "total_build_time_hours": figures.hours(durations.total),
        },
        "clients": {
            "total_unique": sum(1 for requests in clients.values() if requests),
            "top_5": [{"client": c, "requests": n} for c, n in figures.top(clients, 5)],
        },
        "diff_packages": {
            "enabled": enabled,
            "disabled": disabled,
            "percentage_enabled": figures.rate(enabled, enabled + disabled),
        },
    }
