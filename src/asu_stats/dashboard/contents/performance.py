"""Build durations, and requests by hour of the week."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents import heat
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.tables import Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.events import shown_hash
from asu_stats.reports import distribution, duration_timeseries, performance, week
from asu_stats.reports.listing import Page
from asu_stats.text import counted
from asu_stats.windows import Window


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


def _heat(db: Connection, view: View) -> heat.Heat:
    """Return the heat map: requests by hour of the week, from days with hourly figures."""
    title, since = "Requests by hour of week", view.hours_since
    if view.window.end < since:
        note = f"Hourly figures start at {since}. Choose a later time range."
        return heat.Heat("heat", title, (), "", "", note=note)
    window = Window(max(view.window.start, since), view.window.end)
    version = view.only("version")
    rows = week.read(db, window, **version)
    counted_hours = _counted_hours(view, window)
    is_counted = [(row["weekday"], row["hour"]) in counted_hours for row in rows]

    def words(place: int) -> str:
        row = rows[place]
        said = f"{counted(row['requests'], 'request')}, "
        said += counted(row["failed_builds"], "failed build")
        return said if is_counted[place] else "not in this time range"

    values = [
        row["requests"] if known else None for row, known in zip(rows, is_counted, strict=True)
    ]
    shown = replace(view, range_parameters={"start": str(window.start), "end": str(window.end)})
    cut = f"since {since}; older hourly figures are deleted"
    return heat.Heat(
        "heat",
        title,
        heat.days(values, words),
        counted(max(row["requests"] for row in rows), "request"),
        shown.api("timeseries/week", **version),
        shown.csv("timeseries/week", **version),
        cut if window != view.window else "",
    )


def _counted_hours(view: View, window: Window) -> set[tuple[int, int]]:
    """Return the hours of the week, as (weekday, hour), that have started in a time range."""
    last = min(window.end, view.today)
    days = (last - timedelta(days=each) for each in range(min(8, (last - window.start).days + 1)))
    return {
        (day.isoweekday(), hour)
        for day in days
        for hour in range(24 if day < view.today else view.now.hour + 1)
    }
