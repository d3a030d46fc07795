"""Requested packages, and requests by `diff_packages`."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.contents.default_packages import DEFAULT_PACKAGES
from asu_stats.dashboard.tables import ROWS, Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.reports import diff_packages, packages
from asu_stats.reports.listing import Page

_SHARE_HINT: Final = "Share of all accepted requests. Cache hits name no packages"


def read(db: Connection, view: View) -> Content:
    """Return the packages of all or some versions and targets, and `diff_packages`."""
    filters = view.only("version", "target")
    columns = (
        Column("package", "Package", "name"),
        Column("requests", "Requests", "share"),
        Column("percentage", "Share of requests", "rate", hint=_SHARE_HINT),
    )
    rows: Sequence[Any] = packages.read(db, view.window, **filters)
    if not view.all_packages:
        rows = [row for row in rows if row["package"] not in DEFAULT_PACKAGES]
    diff = diff_packages.read(db, view.window, Page(ROWS), **filters)
    by_version = (
        Column(
            "version", "Version", "name", lambda row: view.link("packages", version=row["version"])
        ),
        Column("total", "Requests"),
        Column("enabled", "With"),
        Column("disabled", "Without", secondary=True),
        Column("percentage_enabled", "Share with", "rate"),
    )
    return {
        "overview": diff["overview"],
        "chart": Chart(
            "diff",
            "Requests with and without diff_packages",
            "diff-packages",
            Column("date", "UTC", "name"),
            (Series("enabled", "With", 1), Series("disabled", "Without", 5)),
            diff["trend"],
            kind="stack",
            parameters=filters,
            path="trend",
        ),
        "table": arrange(
            view, columns, rows, empty="No request named a package in this time range."
        ),
        "default_packages": len(DEFAULT_PACKAGES),
        "filters": filters,
        "by_version": diff["by_version"],
        "by_version_total": diff["by_version_total"],
        "version_columns": by_version,
    }
