"""All clients, or one of them."""

from sqlalchemy import Connection

from asu_stats.dashboard import charts
from asu_stats.dashboard.contents.columns import BUILT, CACHED, FAILED, NO_REQUEST, SUCCESS, Content
from asu_stats.dashboard.tables import ROWS, Column, arrange
from asu_stats.dashboard.view import View
from asu_stats.reports import client as client_report
from asu_stats.reports import clients
from asu_stats.reports.listing import Page


def read(db: Connection, view: View) -> Content:
    """Return all clients, or the details of one. Raises `UnknownClientError`."""
    if "client" in view.filters:
        return _one(db, view, view.filters["client"])
    rows = clients.read(db, view.window)
    columns = (
        Column("client", "Client", "name", lambda row: view.link("clients", client=row["client"])),
        Column("total_requests", "Requests", "share"),
        Column("unique_builds", "Unique builds", secondary=True),
        CACHED,
        SUCCESS,
        FAILED,
        BUILT,
        Column("pending", "Pending", secondary=True),
        Column("rejected_requests", "Rejected", secondary=True),
        Column("unique_rejected_requests", "Unique rejected", secondary=True),
        Column("top_versions", "Most requested", "names", secondary=True),
    )
    return {
        "template": "list.html",
        "charts": [charts.top_names(rows, "clients", "client")],
        "table": arrange(view, columns, rows, empty=NO_REQUEST),
        "endpoint": "clients",
        "filters": {},
        "rows_name": "clients",
    }


def _one(db: Connection, view: View, client: str) -> Content:
    response = client_report.read(db, view.window, client, Page(ROWS))
    series = response["timeseries"]
    return {
        "template": "client.html",
        "client": response,
        "gaps": response["period"]["incomplete"],
        "chart": charts.Chart(
            "over-time",
            f"Requests of {client}",
            "timeseries",
            charts.TIMESTAMP,
            (charts.REQUESTS, charts.CACHE_HITS, charts.FAILED),
            series,
            parameters={"interval": "day", "client": client},
        ),
        "lists": [
            {
                "title": title,
                "rows": [
                    {"name": row[name], "requests": row["requests"], "link": link(row[name])}
                    for row in response[field]  # type: ignore[literal-required]
                ],
            }
            for title, field, name, link in (
                ("Versions", "top_versions", "version", lambda v: view.link("targets", version=v)),
                ("Targets", "top_targets", "target", lambda t: view.link("profiles", target=t)),
                (
                    "Profiles",
                    "top_profiles",
                    "profile",
                    lambda p: view.link(profile=p, page="profiles"),
                ),
                ("Client versions", "client_versions", "client_version", lambda _: None),
            )
        ],
    }
