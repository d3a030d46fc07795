"""Errors and their causes."""

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.tables import Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.reports import error_examples, error_timeseries, error_types


def read(db: Connection, view: View) -> Content:
    """Return errors over time, by type, and the latest ones in full."""
    asked = view.only("version", "category")
    rows = error_types.read(db, view.window, **asked)
    examined = view.only("version", "category", "type")
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
    wanted = view.filters.get("type")
    one = [row for row in rows if row["type"] == wanted] if wanted else []
    return {
        "chart": chart(db, view),
        "table": arrange(
            view,
            columns,
            one or rows,
            empty="No errors in this time range.",
            searched=("type", "category"),
        ),
        "asked": asked,
        "affected": one[0]["top_versions"] if one else [],
        "examples": error_examples.read(db, view.window, **examined),
        "examined": examined,
    }


def chart(db: Connection, view: View) -> Chart:
    """Return the chart of categories over time, of all versions or of one."""
    by_version = view.only("version")
    return Chart(
        "by-category",
        "Errors by category",
        "errors/timeseries",
        charts.WHEN,
        (Series("errors", "Errors", 1),),
        error_timeseries.read(db, view.window, interval=view.day_interval, **by_version),
        kind="stack",
        parameters={"interval": view.day_interval, **by_version},
        split="category",
        rest="all others",
    )
