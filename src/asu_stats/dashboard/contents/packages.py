"""What requests say of packages."""

from sqlalchemy import Connection

from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import NO_REQUEST, Content
from asu_stats.dashboard.tables import Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.reports import diff_packages


def read(db: Connection, view: View) -> Content:
    """Return the requests by `diff_packages`."""
    answer = diff_packages.read(db, view.window)
    columns = (
        Column(
            "version", "Version", "name", lambda row: view.link("targets", version=row["version"])
        ),
        Column("total", "Requests", "share"),
        Column("enabled", "With"),
        Column("disabled", "Without", secondary=True),
        Column("percentage_enabled", "Share with", "rate"),
    )
    return {
        "overview": answer["overview"],
        "chart": Chart(
            "diff",
            "Requests with and without diff_packages",
            "diff-packages",
            Column("date", "UTC", "name"),
            (Series("enabled", "With", 1), Series("disabled", "Without", 5)),
            answer["trend"],
            kind="stack",
            path="trend",
        ),
        "table": arrange(view, columns, answer["by_version"], empty=NO_REQUEST),
        "question": "diff-packages",
    }
