"""Versions, targets and profiles: lists that link to each other."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import (
    AVERAGE,
    BUILT,
    CACHED,
    FAILED,
    NO_REQUEST,
    REQUESTS,
    SUCCESS,
    Content,
)
from asu_stats.dashboard.tables import Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.reports import adoption, profiles, targets, timeseries, versions

_BUILDS: Final = (CACHED, SUCCESS, FAILED, BUILT, AVERAGE)


def read_versions(db: Connection, view: View) -> Content:
    """Return the versions, and their share over time."""
    columns = (
        Column(
            "version", "Version", "name", lambda row: view.link("targets", version=row["version"])
        ),
        REQUESTS,
        Column("unique_targets", "Targets", secondary=True),
        *_BUILDS,
        Column("top_targets", "Most requested", "names", secondary=True),
    )
    rows = versions.read(db, view.window)
    return {
        "charts": [adoption_chart(db, view)],
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "endpoint": "versions",
        "filters": {},
        "rows_name": "versions",
    }


def adoption_chart(db: Connection, view: View) -> Chart:
    """Return the chart of the share of versions over time."""
    return Chart(
        "adoption",
        "Share of requests by version",
        "versions/timeseries",
        charts.TIMESTAMP,
        (Series("percentage", "Share", 1, "%"), Series("requests", "Requests", 1)),
        adoption.read(db, view.window, interval=view.day_interval),
        kind="stack",
        parameters={"interval": view.day_interval},
        split="version",
        rest="all others",
    )


def read_targets(db: Connection, view: View) -> Content:
    """Return the targets, of all versions or of one."""
    filters = view.only("version")
    columns = (
        Column(
            "target",
            "Target",
            "name",
            lambda row: view.link("profiles", target=row["target"], **filters),
        ),
        REQUESTS,
        Column("unique_profiles", "Profiles", secondary=True),
        *_BUILDS,
        Column("top_profiles", "Most requested", "names", secondary=True),
    )
    rows = targets.read(db, view.window, **filters)
    top = charts.top_names(rows, "targets", "target", **filters)
    return {
        "charts": [*_series(db, view, filters), top],
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "endpoint": "targets",
        "filters": filters,
        "rows_name": "targets",
        "badge": filters,
    }


def read_profiles(db: Connection, view: View) -> Content:
    """Return the profiles of all or some versions and targets, or one profile by version."""
    if "profile" in view.filters:
        return _one_profile(db, view)
    filters = view.only("version", "target")
    columns = (
        Column(
            "profile", "Profile", "name", lambda row: view.link("profiles", profile=row["profile"])
        ),
        REQUESTS,
        *_BUILDS,
    )
    rows = profiles.read(db, view.window, **filters)
    top = charts.top_names(rows, "profiles", "profile", **filters)
    return {
        "charts": [*_series(db, view, filters), top],
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "endpoint": "profiles",
        "filters": filters,
        "rows_name": "profiles",
    }


def _one_profile(db: Connection, view: View) -> Content:
    columns = (
        Column(
            "version", "Version", "name", lambda row: view.link("targets", version=row["version"])
        ),
        REQUESTS,
        *_BUILDS,
        Column("top_targets", "Target", "names", secondary=True),
    )
    filters = view.only("target", "profile")
    version = view.filters.get("version")
    rows: Any = versions.read(db, view.window, **filters)
    if version is not None:
        rows = [row for row in rows if row["version"] == version]
    return {
        "charts": _series(db, view, view.filters),
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "endpoint": "versions",
        "filters": filters,
        "rows_name": "versions",
        "badge": {} if "target" in view.filters else view.filters,
    }


def _series(db: Connection, view: View, filters: Mapping[str, str]) -> list[Chart]:
    """Return the chart of requests over time, if there is a filter."""
    if not filters:
        return []
    rows = timeseries.read(db, view.window, interval=view.interval, filters=filters)
    title = f"Requests for {', '.join(filters.values())}"
    return [charts.over_time(rows, view.interval, title=title, **filters)]
