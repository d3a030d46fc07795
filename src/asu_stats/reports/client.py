"""Everything about one client."""

from collections.abc import Callable
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection, Text, bindparam, literal_column, select
from typing_extensions import TypedDict

from asu_stats.exceptions import UnknownClientError
from asu_stats.reports import clients, figures, first_rows, floor, parameters, sums, timeseries
from asu_stats.reports.clients import ClientRow
from asu_stats.reports.fields import (
    Category,
    Period,
    ProfileRequests,
    Rate,
    Requests,
    TargetRequests,
    Total,
    TypeOfError,
)
from asu_stats.reports.first_rows import FirstRows
from asu_stats.reports.incomplete import reasons
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.marks import Named
from asu_stats.reports.report import Query, Report
from asu_stats.reports.timeseries import Bucket
from asu_stats.store.database import statements
from asu_stats.store.rollups.definitions import (
    CLIENT_DEVICES,
    CLIENT_ERRORS,
    CLIENT_UNIQUE_REJECTED,
    CLIENT_UNIQUE_REQUESTS,
    CLIENT_VERSIONS,
    CLIENTS,
    Rollup,
)
from asu_stats.windows import Window

_UNHASHED = "requests_without_hash"
_TOP: Final = 5


class ClientVersionRequests(TypedDict):
    """A version of a client and its requests."""

    client_version: Annotated[
        str, Named("client_version"), Field(description="Version that the client sent.")
    ]
    requests: Requests


class ClientErrorRow(TypedDict):
    """Requests of a client that were rejected or whose build failed, of one type."""

    category: Category
    type: TypeOfError
    count: Annotated[int, Field(description="Requests of the client that ended with this error.")]
    percentage: Rate


class ClientReport(ClientRow):
    """`GET /api/v1/stats/clients/{client}`."""

    period: Period
    top_versions_total: Total
    client_versions: list[ClientVersionRequests]
    client_versions_total: Total
    top_targets: list[TargetRequests]
    top_targets_total: Total
    top_profiles: list[ProfileRequests]
    top_profiles_total: Total
    errors: Annotated[list[ClientErrorRow], Field(description="By category and type.")]
    errors_total: Total
    timeseries: Annotated[list[Bucket], Field(description="By day.")]


def read(connection: Connection, window: Window, client: str, page: Page = ALL) -> ClientReport:
    """Return all figures of one client in `window`. Its lists are cut to `page`.

    Raises `UnknownClientError` for a client without any recorded request, or below the floor.
    """
    filters = {"client": client}
    if not statements.fetch_once(connection, _KNOWN, client=client):
        raise UnknownClientError(client)
    if floor.min_requests() and floor.is_rare(connection, window, filters):
        raise UnknownClientError(client)

    totals = [int(n or 0) for n in sums.rows(connection, CLIENTS, (), window, filters)[0]]
    imported = any(unhashed for _, unhashed in sums.days(connection, window, _UNHASHED))
    gaps = reasons(
        without_hash=totals[CLIENTS.place("requests_without_hash")],
        untraced=totals[CLIENTS.place("untraced_requests")],
        rejected_without_hash=totals[CLIENTS.place("rejected_without_hash")],
    )
    unique, turned_away = (each() for each in _send_unique(connection, window, client))
    versions, own, targets, profiles, errors = (
        rows() for rows in _send_first_rows(connection, window, client, page)
    )
    return {
        **clients.row(client, totals, (unique, turned_away), versions.rows, imported=imported),
        "period": sums.period(connection, window, gaps),
        "top_versions_total": versions.total,
        "client_versions": [{"client_version": name, "requests": n} for name, n in own.rows],
        "client_versions_total": own.total,
        "top_targets": [{"target": name, "requests": n} for name, n in targets.rows],
        "top_targets_total": targets.total,
        "top_profiles": [{"profile": name, "requests": n} for name, n in profiles.rows],
        "top_profiles_total": profiles.total,
        "errors": [
            {
                "category": category,
                "type": error_type,
                "count": count,
                "percentage": figures.rate(count, errors.amount),
            }
            for category, error_type, count in errors.rows
        ],
        "errors_total": errors.total,
        "timeseries": timeseries.read_days(connection, window, filters),
    }


_KNOWN: Final = (
    select(CLIENTS.table.c.client)
    .where(CLIENTS.table.c.client == bindparam("client", type_=Text))
    .limit(literal_column("1"))
)


def _send_unique(connection: Connection, window: Window, client: str) -> list[Callable[[], int]]:
    """Ask for the distinct accepted and rejected requests."""
    return [
        sums.send_unique_of_client(connection, window, client, pairs)
        for pairs in (CLIENT_UNIQUE_REQUESTS, CLIENT_UNIQUE_REJECTED)
    ]


def _send_first_rows(
    connection: Connection, window: Window, client: str, page: Page
) -> list[Callable[[], FirstRows]]:
    """Ask for the most common versions, client versions, targets, profiles and errors."""
    filters, tops = {"client": client}, Page(page.most(_TOP))
    by_error = ("error_category", "error_type")
    lists: list[tuple[Rollup, str, Page]] = [
        (CLIENT_VERSIONS, "version", tops),
        (CLIENT_VERSIONS, "client_version", page),
        (CLIENT_DEVICES, "target", tops),
        (CLIENT_DEVICES, "profile", tops),
    ]
    return [
        *(
            first_rows.send(connection, rollup, (column,), window, filters, of, fold=True)
            for rollup, column, of in lists
        ),
        first_rows.send(connection, CLIENT_ERRORS, by_error, window, filters, page),
    ]


def _send(connection: Connection, query: Query) -> None:
    window, client = query.window, query.filters["client"]
    statements.send_once(connection, _KNOWN, client=client)
    sums.send_rows(connection, CLIENTS, (), window, {"client": client})
    sums.send_days(connection, window, _UNHASHED)
    _send_unique(connection, window, client)
    _send_first_rows(connection, window, client, query.page)
    timeseries.send(connection, window, "day", {"client": client})


REPORT: Final = Report(
    name="clients/{client}",
    summary="Figures of one client",
    days=lambda _: None,
    send=_send,
    read=lambda connection, query: read(
        connection, query.window, query.filters["client"], query.page
    ),
    response=ClientReport,
    subject=parameters.CLIENT,
    nested=True,
    example={"client": "luci", "days": "2", "limit": "1"},
)
