"""Clients: requests and their results (docs/reference/figures.md, Clients)."""

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.releases import release_order
from asu_stats.reports import figures, floor, sums
from asu_stats.reports.fields import (
    CacheHits,
    Client,
    Rate,
    Rejected,
    Requests,
    UniqueRejected,
    UniqueRequests,
    Version,
)
from asu_stats.reports.listing import Listing
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import (
    BY_CLIENT,
    BY_CLIENT_VERSION,
    CLIENT_REJECTED,
    CLIENT_UNIQUE,
)
from asu_stats.windows import Window

_TOP: Final = 5
CUBES: Final = (BY_CLIENT, CLIENT_UNIQUE, CLIENT_REJECTED, BY_CLIENT_VERSION)
_UNTRACED: Final = "null if some were imported without hash, see `period.incomplete`."
ClientBuilt = Annotated[
    int | None, Field(description=f"The client's requests whose build succeeded; {_UNTRACED}")
]
ClientFailed = Annotated[
    int | None,
    Field(
        description="The client's requests whose build failed, or had failed just before; "
        + _UNTRACED
    ),
]


class VersionRequests(TypedDict):
    """A version and its requests."""

    version: Version
    requests: Requests


class ClientRow(TypedDict):
    """One client. Its builds are those that its own requests waited for."""

    client: Client
    total_requests: Requests
    unique_builds: UniqueRequests
    cache_hits: CacheHits
    cache_hit_rate: Rate
    successful_builds: ClientBuilt
    failed_builds: ClientFailed
    pending: Annotated[
        int | None,
        Field(description=f"Requests whose build has not ended or was cancelled; {_UNTRACED}"),
    ]
    success_rate: Rate
    rejected_requests: Rejected
    unique_rejected_requests: UniqueRejected
    top_versions: list[VersionRequests]


def read(connection: Connection, window: Window) -> Listing[ClientRow]:
    """Return a row per client, by requests descending, then by name."""
    clients, pairs, rejected, versions = sums.cubes(connection, window, *CUBES)
    ranked, hidden = floor.fold_ranked(clients.ranked_rows(len(BY_CLIENT.adds)))
    unique, unique_rejected = (sums.unique_by_client(window, each) for each in (pairs, rejected))
    below = versions.tops()
    imported = clients.total()[BY_CLIENT.place("requests_without_hash")] > 0

    def make(first: int, after: int) -> list[ClientRow]:
        shown = ranked.names(first, after)
        tops = floor.tops(below, shown, hidden, _TOP, release_order)
        return [
            row(
                client,
                amounts,
                (None, None)
                if hidden and client == floor.OTHER
                else (unique.get(client, 0), unique_rejected.get(client, 0)),
                top.first,
                imported=imported,
            )
            for client, amounts, top in zip(shown, ranked.rows(first, after), tops, strict=True)
        ]

    return Listing(len(ranked), make, "total_requests")


def row(
    client: str,
    amounts: Sequence[int],
    unique: tuple[int | None, int | None],
    versions: Sequence[tuple[str, int]],
    *,
    imported: bool,
) -> ClientRow:
    """Return the row of a client from its sums, in the order of `CLIENTS.adds`.

    `unique` holds its numbers of distinct hashes: of accepted and of rejected requests, `None` if
    they are not known of several clients together. `imported`
    tells whether the window contains imported history, which lacks rejections.
    """
    requests, hits, good, bad, rejected, unhashed, untraced, unknown = amounts
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


REPORT: Final = Report(
    name="clients",
    summary="Requests and results per client",
    send=lambda connection, query: sums.send_cubes(connection, query.window, *CUBES),
    read=lambda connection, query: read(connection, query.window),
    response=list[ClientRow],
    row=ClientRow,
    paged=True,
)
