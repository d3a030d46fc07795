"""Versions, targets and profiles: lists that link to each other."""

from typing import Final

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import (
    ASKED,
    AVERAGE,
    BUILT,
    CACHED,
    FAILED,
    NO_REQUEST,
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
        ASKED,
        Column("unique_targets", "Targets", secondary=True),
        *_BUILDS,
        Column("top_targets", "Most requested", "names", secondary=True),
    )
    rows = versions.read(db, view.window)
    return {
        "charts": [adoption_chart(db, view)],
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "question": "versions",
        "asked": {},
        "what": "versions",
    }


def adoption_chart(db: Connection, view: View) -> Chart:
    """Return the chart of the share of versions over time."""
    return Chart(
        "adoption",
        "Share of requests by version",
        "versions/timeseries",
        charts.WHEN,
        (Series("percentage", "Share", 1, "%"), Series("requests", "Requests", 1)),
        adoption.read(db, view.window, interval=view.day_interval),
        kind="stack",
        parameters={"interval": view.day_interval},
        split="version",
        rest="all others",
    )


def read_targets(db: Connection, view: View) -> Content:
    """Return the targets, of all versions or of one."""
    asked = view.only("version")
    columns = (
        Column(
            "target",
            "Target",
            "name",
            lambda row: view.link("profiles", target=row["target"], **asked),
        ),
        ASKED,
        Column("unique_profiles", "Profiles", secondary=True),
        *_BUILDS,
        Column("top_profiles", "Most requested", "names", secondary=True),
    )
    rows = targets.read(db, view.window, **asked)
    return {
        "charts": [_series(db, view, "version", asked["version"])] if asked else [],
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "question": "targets",
        "asked": asked,
        "what": "targets",
        "badge": asked,
    }


def read_profiles(db: Connection, view: View) -> Content:
    """Return the profiles of all or some versions and targets, or one profile by version."""
    if "profile" in view.filters:
        return _one_profile(db, view, view.filters["profile"])
    asked = view.only("version", "target")
    columns = (
        Column(
            "profile", "Profile", "name", lambda row: view.link("profiles", profile=row["profile"])
        ),
        ASKED,
        *_BUILDS,
    )
    rows = profiles.read(db, view.window, **asked)
    shown = []
    if len(asked) == 1:
        ((name, value),) = asked.items()
        shown = [_series(db, view, name, value)]
    return {
        "charts": shown,
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "question": "profiles",
        "asked": asked,
        "what": "profiles",
    }


def _one_profile(db: Connection, view: View, profile: str) -> Content:
    columns = (
        Column(
            "version", "Version", "name", lambda row: view.link("targets", version=row["version"])
        ),
        ASKED,
        *_BUILDS,
        Column("top_targets", "Target", "names", secondary=True),
    )
    asked = {"profile": profile}
    rows = versions.read(db, view.window, **asked)
    return {
        "charts": [_series(db, view, "profile", profile)],
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "question": "versions",
        "asked": asked,
        "what": "versions",
        "badge": asked,
    }


def _series(db: Connection, view: View, name: str, value: str) -> Chart:
    filters = {name: value}
    rows = timeseries.read(db, view.window, interval=view.interval, filters=filters)
    title = f"Requests for {value}"
    return charts.over_time(rows, view.interval, title=title, **filters)
