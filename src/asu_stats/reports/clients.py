"""Who asks, and how it went for them (contract §2.5)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from asu_stats.exceptions import UnknownClientError
from asu_stats.reports import figures, sums, timeseries
from asu_stats.reports.answers import ClientReport, ClientRow
from asu_stats.store.rollups import CLIENT_DEVICES, CLIENT_ERRORS, CLIENT_VERSIONS, CLIENTS
from asu_stats.windows import Window


def read(connection: Connection, window: Window) -> list[ClientRow]:
    """Return a row per client, by requests descending, then by name."""
    unique = sums.unique_by_client(connection, window)
    versions: dict[str, dict[str, int]] = defaultdict(dict)
    for row in sums.rows(connection, CLIENT_VERSIONS, ("client", "version"), window):
        versions[row.client][row.version] = int(row.requests)
    found = [
        _row(row.client, row, unique.get(row.client, 0), versions[row.client])
        for row in sums.rows(connection, CLIENTS, ("client",), window)
        if any(getattr(row, add) for add in CLIENTS.adds)
    ]
    return sorted(found, key=lambda row: (-row["total_requests"], row["client"]))


def read_one(connection: Connection, window: Window, client: str) -> ClientReport:
    """Return all that is known of one client in `window`.

    Raises `UnknownClientError` for a client of which nothing was ever recorded.
    """
    filters = {"client": client}
    t = CLIENTS.table
    if connection.execute(select(t.c.client).where(t.c.client == client).limit(1)).first() is None:
        raise UnknownClientError(client)

    def requests_by(column: str, names: Sequence[Row[Any]]) -> dict[str, int]:
        counts: dict[str, int] = defaultdict(int)
        for row in names:
            counts[getattr(row, column)] += int(row.requests)
        return counts

    seen = sums.rows(connection, CLIENT_VERSIONS, ("version", "client_version"), window, filters)
    devices = sums.rows(connection, CLIENT_DEVICES, ("target", "profile"), window, filters)
    totals = sums.rows(connection, CLIENTS, (), window, filters)[0]
    unique = sums.unique_by_client(connection, window, client)
    errors = {
        (row.error_category, row.error_type): int(row.errors)
        for row in sums.rows(
            connection, CLIENT_ERRORS, ("error_category", "error_type"), window, filters
        )
        if row.errors
    }
    all_errors = sum(errors.values())
    return {
        **_row(client, totals, unique.get(client, 0), requests_by("version", seen)),
        "period": sums.period(connection, window),
        "client_versions": [
            {"client_version": name, "requests": n}
            for name, n in figures.top(requests_by("client_version", seen), len(seen))
        ],
        "top_targets": [
            {"target": name, "requests": n}
            for name, n in figures.top(requests_by("target", devices), 5)
        ],
        "top_profiles": [
            {"profile": name, "requests": n}
            for name, n in figures.top(requests_by("profile", devices), 5)
        ],
        "errors": [
            {
                "category": category,
                "type": error_type,
                "count": count,
                "percentage": figures.rate(count, all_errors),
            }
            for (category, error_type), count in sorted(
                errors.items(), key=lambda item: (-item[1], item[0])
            )
        ],
        "timeseries": timeseries.read_days(connection, window, filters),
    }


def _row(client: str, row: Row[Any], unique: int, versions: Mapping[str, int]) -> ClientRow:
    requests, hits, good, bad, rejected = (int(getattr(row, add) or 0) for add in CLIENTS.adds)
    return {
        "client": client,
        "total_requests": requests,
        "unique_builds": unique,
        "cache_hits": hits,
        "cache_hit_rate": figures.rate(hits, requests),
        "successful_builds": good,
        "failed_builds": bad,
        "pending": requests - hits - good - bad,
        "success_rate": figures.rate(good, good + bad),
        "rejected_requests": rejected,
        "top_versions": [{"version": v, "requests": n} for v, n in figures.top(versions, 5)],
    }
