"""The figures of the overview beside those of the window before."""

from collections.abc import Callable
from datetime import date
from typing import Final

from sqlalchemy import Connection

from asu_stats.reports import figures, overview
from asu_stats.reports.answers import Compared, Overview
from asu_stats.windows import Window

_FIGURES: Final[tuple[tuple[str, str, Callable[[Overview], float | None]], ...]] = (
    ("requests", "count", lambda of: of["totals"]["requests"]),
    ("unique_requests", "count", lambda of: of["totals"]["unique_requests"]),
    ("cache_hit_rate", "percent", lambda of: of["totals"]["cache_hit_rate"]),
    ("success_rate", "percent", lambda of: of["totals"]["success_rate"]),
    ("failed_builds", "count", lambda of: of["totals"]["failed_builds"]),
    ("rejected_requests", "count", lambda of: of["totals"]["rejected_requests"]),
    (
        "median_duration_seconds",
        "seconds",
        lambda of: of["build_performance"]["median_duration_seconds"],
    ),
    ("p95_duration_seconds", "seconds", lambda of: of["build_performance"]["p95_duration_seconds"]),
    ("unique_clients", "count", lambda of: of["clients"]["total_unique"]),
    ("diff_packages_rate", "percent", lambda of: of["diff_packages"]["percentage_enabled"]),
)


def read(connection: Connection, window: Window) -> list[Compared]:
    """Return the figures of `window` and of as many days before it.

    What was before is known only if data goes back to its first day.
    """
    now = overview.read(connection, window)
    earlier, since = window.before(), now["period"]["data_since"]
    known = earlier is not None and since is not None and earlier.start >= date.fromisoformat(since)
    before = overview.read(connection, earlier) if known and earlier else None
    return [
        _compared(name, unit, figure(now), figure(before) if before else None)
        for name, unit, figure in _FIGURES
    ]


def _compared(name: str, unit: str, value: float | None, before: float | None) -> Compared:
    change = None
    if value is not None and before is not None:
        difference = figures.points if unit == "percent" else figures.growth
        change = difference(value, before)
    return {"figure": name, "unit": unit, "value": value, "before": before, "change": change}
