"""Errors and their causes."""

from datetime import date
from typing import Final

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.tables import Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.releases import is_release
from asu_stats.reports import error_timeseries, error_types, release_days
from asu_stats.reports.insights import fingerprints
from asu_stats.reports.listing import Page

_FINGERPRINTS: Final = 20
_RELEASES: Final = 10


def read(db: Connection, view: View) -> Content:
    """Return errors over time, by type and by fingerprint; or the details of one fingerprint.

    Raises `UnknownFingerprintError`.
    """
    if "fingerprint" in view.filters:
        return _one(db, view, view.filters["fingerprint"])
    fingerprint_filters = view.only("version", "category", "type")
    filters = view.only("version", "category")
    rows = error_types.read(db, view.window, **filters)
    columns = (
        Column(
            "type",
            "Type",
            "name",
            lambda row: view.link(
                "errors", **{**filters, "category": row["category"], "type": row["type"]}
            ),
        ),
        Column("category", "Category", "text"),
        Column("count", "Errors", "share"),
        Column("percentage", "Share", "rate", secondary=True),
        Column("versions", "Versions", secondary=True),
        Column("top_versions", "Top versions", "names", secondary=True),
    )
    since = view.choices.get("new_since")
    named = None if since is None else fingerprints.NEW_SINCE.read(since)
    new_since = fingerprints.first_day(db, named, view.window.end)
    page = Page(_FINGERPRINTS)
    found = fingerprints.read(db, view.window, page, fingerprint_filters, new_since)
    error_type = view.filters.get("type")
    one = [row for row in rows if row["type"] == error_type] if error_type else []
    return {
        "chart": chart(db, view),
        "table": arrange(
            view,
            columns,
            one if error_type else rows,
            empty="No errors in this time range.",
            searched=("type", "category"),
        ),
        "filters": filters,
        "affected": one[0]["top_versions"] if one else [],
        "fingerprints": found["fingerprints"],
        "fingerprints_total": found["fingerprints_total"],
        "fingerprint_filters": {**fingerprint_filters, **view.choices},
        "new_since": new_since,
        "releases": _releases(db, view),
    }


def _releases(db: Connection, view: View) -> list[tuple[str, date]]:
    """Return the latest releases with their days."""
    days = release_days.published(db).items()
    past = [(name, day) for name, day in days if is_release(name) and day <= view.today]
    return sorted(past, key=lambda release: release[1], reverse=True)[:_RELEASES]


def _one(db: Connection, view: View, fingerprint: str) -> Content:
    one = fingerprints.read_one(db, view.window, fingerprint)
    days = [(row["timestamp"], row["count"]) for row in one["timeseries"] if row["count"]]
    return {
        "template": "fingerprint.html",
        "one": one,
        "chart": Chart(
            "over-time",
            "Errors with this text",
            f"insights/fingerprints/{fingerprint}",
            charts.TIMESTAMP,
            (Series("count", "Errors", 2),),
            one["timeseries"],
            kind="bars",
            path="timeseries",
            has_csv=False,
        ),
        "lists": [
            {
                "title": "Latest days",
                "rows": [
                    {"name": day, "requests": n, "link": view.same(start=day, end=day)}
                    for day, n in reversed(days)
                ],
            },
            {
                "title": "Versions",
                "rows": [
                    {
                        "name": row["version"],
                        "requests": row["count"],
                        "link": view.link("errors", version=row["version"]),
                    }
                    for row in one["top_versions"]
                ],
            },
            {
                "title": "Profiles",
                "rows": [
                    {
                        "name": row["profile"],
                        "requests": row["count"],
                        "link": view.link("profiles", profile=row["profile"]),
                    }
                    for row in one["top_profiles"]
                ],
            },
        ],
    }


def chart(db: Connection, view: View) -> Chart:
    """Return the chart of categories over time, optionally filtered."""
    filters = view.only("version", "target", "category", "type")
    return Chart(
        "by-category",
        "Errors by category" if "type" not in filters else f"Errors of type {filters['type']}",
        "errors/timeseries",
        charts.TIMESTAMP,
        (Series("errors", "Errors", 1),),
        error_timeseries.read(db, view.window, interval=view.day_interval, **filters),
        kind="stack",
        parameters={"interval": view.day_interval, **filters},
        split="category",
        rest="all others",
    )
