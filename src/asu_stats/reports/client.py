"""Everything about one client."""

from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection, select
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
from asu_stats.reports.report import Report
from asu_stats.reports.timeseries import Bucket
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
    t = CLIENTS.table
    if connection.execute(select(t.c.client).where(t.c.client == client).limit(1)).first() is None:
        raise UnknownClientError(client)
    if floor.min_requests() and floor.is_rare(connection, window, filters):
        raise UnknownClientError(client)

    def first(rollup: Rollup, column: str, page: Page) -> FirstRows:
        return first_rows.read(connection, rollup, (column,), window, filters, page, fold=True)

    totals = [int(n or 0) for n in sums.rows(connection, CLIENTS, (), window, filters)[0]]
    imported = any(unhashed for _, unhashed in sums.days(connection, window, _UNHASHED))
    gaps = reasons(
        without_hash=totals[CLIENTS.place("requests_without_hash")],
        untraced=totals[CLIENTS.place("untraced_requests")],
        rejected_without_hash=totals[CLIENTS.place("rejected_without_hash")],
    )
    unique, turned_away = (
        sums.unique_of_client(connection, window, client, pairs)
        for pairs in (CLIENT_UNIQUE_REQUESTS, CLIENT_UNIQUE_REJECTED)
    )
    tops = Page(page.most(_TOP))
    versions = first(CLIENT_VERSIONS, "version", tops)
    own = first(CLIENT_VERSIONS, "client_version", page)
    targets, profiles = (first(CLIENT_DEVICES, name, tops) for name in ("target", "profile"))
    by_error = ("error_category", "error_type")
    errors = first_rows.read(connection, CLIENT_ERRORS, by_error, window, filters, page)
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


REPORT: Final = Report(
    name="clients/{client}",
    summary="Figures of one client",
    read=lambda connection, query: read(
        connection, query.window, query.filters["client"], query.page
    ),
    response=ClientReport,
    subject=parameters.CLIENT,
    nested=True,
    example={"client": "luci", "days": "2", "limit": "1"},
)
