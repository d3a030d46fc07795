"""Everything about one client."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection, Row, select
from typing_extensions import TypedDict

from asu_stats.exceptions import UnknownClientError
from asu_stats.releases import order_of
from asu_stats.reports import clients, figures, floor, parameters, sums, timeseries
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
)
from asu_stats.windows import Window

_UNHASHED = "requests_without_hash"


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
    if floor.least() and floor.is_rare(connection, window, filters):
        raise UnknownClientError(client)

    def ranked(column: str, names: Sequence[Row[Any]]) -> list[tuple[str, int]]:
        counts: dict[str, int] = defaultdict(int)
        for row in names:
            counts[getattr(row, column)] += int(row.requests)
        return figures.top(floor.fold(counts), len(counts), order_of(column))

    seen = sums.rows(connection, CLIENT_VERSIONS, ("version", "client_version"), window, filters)
    devices = sums.rows(connection, CLIENT_DEVICES, ("target", "profile"), window, filters)
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
    errors = {
        (row.error_category, row.error_type): int(row.errors)
        for row in sums.rows(
            connection, CLIENT_ERRORS, ("error_category", "error_type"), window, filters
        )
        if row.errors
    }
    versions, own = ranked("version", seen), ranked("client_version", seen)
    targets, profiles = ranked("target", devices), ranked("profile", devices)
    by_errors = sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    all_errors, most = sum(errors.values()), page.most(5)
    return {
        **clients.row(client, totals, (unique, turned_away), versions[:most], imported=imported),
        "period": sums.period(connection, window, gaps),
        "top_versions_total": len(versions),
        "client_versions": [{"client_version": name, "requests": n} for name, n in page.of(own)],
        "client_versions_total": len(own),
        "top_targets": [{"target": name, "requests": n} for name, n in targets[:most]],
        "top_targets_total": len(targets),
        "top_profiles": [{"profile": name, "requests": n} for name, n in profiles[:most]],
        "top_profiles_total": len(profiles),
        "errors": [
            {
                "category": category,
                "type": error_type,
                "count": count,
                "percentage": figures.rate(count, all_errors),
            }
            for (category, error_type), count in page.of(by_errors)
        ],
        "errors_total": len(by_errors),
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
