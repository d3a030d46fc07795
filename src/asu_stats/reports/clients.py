"""Clients: their requests, and how those ended (docs/reference/figures.md, Clients)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from asu_stats.exceptions import UnknownClientError
from asu_stats.releases import order_of
from asu_stats.reports import figures, sums, timeseries
from asu_stats.reports.answers import ClientReport, ClientRow
from asu_stats.reports.incomplete import reasons
from asu_stats.reports.listing import ALL, Listing, Page
from asu_stats.store.blocks.cubes import (
    BY_CLIENT,
    BY_CLIENT_VERSION,
    CLIENT_REJECTED,
    CLIENT_UNIQUE,
)
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


def read(connection: Connection, window: Window) -> Listing[ClientRow]:
    """Return a row per client, by requests descending, then by name."""
    clients, pairs, rejected, versions = sums.cubes(
        connection, window, BY_CLIENT, CLIENT_UNIQUE, CLIENT_REJECTED, BY_CLIENT_VERSION
    )
    names, amounts = clients.by_name()
    order = figures.descending(amounts[:, 0])
    unique, turned_away = (sums.UniqueByClient(window, each) for each in (pairs, rejected))
    asked = sums.Tops(*versions.grouped())
    imported = bool(amounts[:, BY_CLIENT.place("requests_without_hash")].any())

    def make(first: int, after: int) -> list[ClientRow]:
        places = order[first:after]
        shown = [names[place] for place in places.tolist()]
        rows = zip(
            shown, amounts[places].tolist(), asked.of([(name,) for name in shown]), strict=True
        )
        return [
            _row(
                client,
                row,
                (unique.of(client), turned_away.of(client)),
                top.first,
                imported=imported,
            )
            for client, row, top in rows
        ]

    return Listing(len(names), make, "total_requests")


def read_one(connection: Connection, window: Window, client: str, page: Page = ALL) -> ClientReport:
    """Return all that is known of one client in `window`; of its lists a page.

    Raises `UnknownClientError` for a client of which nothing was ever recorded.
    """
    filters = {"client": client}
    t = CLIENTS.table
    if connection.execute(select(t.c.client).where(t.c.client == client).limit(1)).first() is None:
        raise UnknownClientError(client)

    def ranked(column: str, names: Sequence[Row[Any]]) -> list[tuple[str, int]]:
        counts: dict[str, int] = defaultdict(int)
        for row in names:
            counts[getattr(row, column)] += int(row.requests)
        return figures.top(counts, len(counts), order_of(column))

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
        **_row(client, totals, (unique, turned_away), versions[:most], imported=imported),
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


def _row(
    client: str,
    row: Sequence[int],
    unique: tuple[int, int],
    versions: Sequence[tuple[str, int]],
    *,
    imported: bool,
) -> ClientRow:
    """Return the row of a client from its sums, in the order of `CLIENTS.adds`.

    `unique` are its distinct request hashes, of accepted and of rejected requests. `imported` says
    that the window holds history of an older server, which kept no rejections.
    """
    requests, hits, good, bad, rejected, unhashed, untraced, unknown = row
    return {
        "client": client,
        "total_requests": requests,
        "unique_builds": None if unhashed else unique[0],
        "cache_hits": hits,
        "cache_hit_rate": figures.rate(hits, requests),
        "successful_builds": None if untraced else good,
        "failed_builds": None if untraced else bad,
        "pending": None if untraced else requests - hits - good - bad,
        "success_rate": None if untraced else figures.rate(good, good + bad),
        "rejected_requests": None if imported else rejected,
        "unique_rejected_requests": None if imported or unknown else unique[1],
        "top_versions": [{"version": v, "requests": n} for v, n in versions],
    }
