"""Build durations, and requests by hour of the week."""

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.tables import Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.events import shown_hash
from asu_stats.reports import distribution, duration_timeseries, performance, week
from asu_stats.reports.listing import Page
from asu_stats.windows import Window

LEVELS: Final = 8
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def read(db: Connection, view: View) -> Content:
    """Return percentiles, their trend, the distribution and the slowest builds.

    Request hashes are shortened.
    """
    filters = view.only("version")
    response = performance.read(db, view.window, Page(performance.SLOWEST), **filters)
    columns = (
        Column(
            "version",
            "Version",
            "name",
            lambda row: view.link("performance", version=row["version"]),
        ),
        Column("builds", "Builds", "share"),
        Column("median_duration", "Median", "seconds"),
        Column("avg_duration", "Average", "seconds", secondary=True),
    )
    return {
        "filters": filters,
        "durations": response["build_duration"],
        "slowest": [
            {**row, "request_hash": shown_hash(row["request_hash"] or "")}
            for row in response["slowest_builds"]
        ],
        "charts": (
            distribution_chart(db, view),
            Chart(
                "trend",
                "Median and 95th percentile",
                "performance/timeseries",
                charts.TIMESTAMP,
                (
                    Series("p95_seconds", "p95", 2, "s"),
                    Series("median_seconds", "Median", 1, "s"),
                ),
                duration_timeseries.read(db, view.window, interval=view.day_interval, **filters),
                parameters={"interval": view.day_interval, **filters},
            ),
        ),
        "table": arrange(
            view,
            columns,
            sorted(
                performance.by_version(db, view.window, **filters),
                key=lambda row: -row["builds"],  # the report has the order of requests
            ),
            empty="No builds finished in this time range.",
        ),
        "heat": _heat(db, view),
    }


def distribution_chart(db: Connection, view: View) -> Chart:
    """Return the histogram of build durations, optionally of one version."""
    filters = view.only("version")
    return Chart(
        "distribution",
        "Build time distribution",
        "performance/distribution",
        Column("from_seconds", "From", "seconds"),
        (Series("builds", "Builds", 1),),
        distribution.read(db, view.window, **filters),
        kind="bars",
        parameters=filters,
        note="Successful builds. The last bar contains all slower ones.",
    )


def _heat(db: Connection, view: View) -> Content:
    """Return the heat map: requests by hour of the week, from days with hourly figures."""
    if view.window.end < view.hours_since:
        return {"days": (), "cut": True, "since": view.hours_since}
    window = Window(max(view.window.start, view.hours_since), view.window.end)
    version = view.only("version")
    rows = week.read(db, window, **version)
    counted = _counted_hours(view, window)
    largest = max(row["requests"] for row in rows)
    return {
        "days": [
            (
                name,
                [
                    {
                        **row,
                        "level": -(-LEVELS * row["requests"] // largest) if largest else 0,
                        "counted": (row["weekday"], row["hour"]) in counted,
                    }
                    for row in rows
                    if row["weekday"] == number
                ],
            )
            for number, name in enumerate(_DAYS, 1)
        ],
        "most": largest,
        "cut": window != view.window,
        "since": view.hours_since,
        "parameters": {"start": window.start.isoformat(), "end": window.end.isoformat(), **version},
    }


def _counted_hours(view: View, window: Window) -> set[tuple[int, int]]:
    """Return the hours of the week, as (weekday, hour), that have started in a time range."""
    last = min(window.end, view.today)
    days = (last - timedelta(days=each) for each in range(min(8, (last - window.start).days + 1)))
    return {
        (day.isoweekday(), hour)
        for day in days
        for hour in range(24 if day < view.today else view.now.hour + 1)
    }
