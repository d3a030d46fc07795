"""Errors and their causes."""

from typing import Final

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.tables import Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.reports import error_timeseries, error_types
from asu_stats.reports.insights import fingerprints
from asu_stats.reports.listing import Page

_TEXTS: Final = 20


def read(db: Connection, view: View) -> Content:
    """Return errors over time, by type and by text; or the details of one fingerprint.

    Raises `UnknownFingerprintError`.
    """
    if "fingerprint" in view.filters:
        return _one(db, view, view.filters["fingerprint"])
    examined = view.only("version", "category", "type")
    asked = view.only("version", "category")
    rows = error_types.read(db, view.window, **asked)
    columns = (
        Column(
            "type",
            "Type",
            "name",
            lambda row: view.link(
                "errors", **{**asked, "category": row["category"], "type": row["type"]}
            ),
        ),
        Column("category", "Category", "text"),
        Column("count", "Errors", "share"),
        Column("percentage", "Share", "rate"),
        Column("versions", "Versions", secondary=True),
        Column("top_versions", "Top versions", "names", secondary=True),
    )
    texts = fingerprints.read(db, view.window, Page(_TEXTS), examined)
    wanted = view.filters.get("type")
    one = [row for row in rows if row["type"] == wanted] if wanted else []
    return {
        "chart": chart(db, view),
        "table": arrange(
            view,
            columns,
            one if wanted else rows,
            empty="No errors in this time range.",
            searched=("type", "category"),
        ),
        "asked": asked,
        "affected": one[0]["top_versions"] if one else [],
        "fingerprints": texts["fingerprints"],
        "fingerprints_total": texts["fingerprints_total"],
        "examined": examined,
    }


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
            charts.WHEN,
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
    """Return the chart of categories over time, of all errors or of some."""
    asked = view.only("version", "target", "category", "type")
    return Chart(
        "by-category",
        "Errors by category" if "type" not in asked else f"Errors of type {asked['type']}",
        "errors/timeseries",
        charts.WHEN,
        (Series("errors", "Errors", 1),),
        error_timeseries.read(db, view.window, interval=view.day_interval, **asked),
        kind="stack",
        parameters={"interval": view.day_interval, **asked},
        split="category",
        rest="all others",
    )
