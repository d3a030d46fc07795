"""Requests and builds per version."""

from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.releases import release_order
from asu_stats.reports.fields import (
    Average,
    Built,
    CacheHits,
    Failed,
    Rate,
    Requests,
    TargetRequests,
    Version,
)
from asu_stats.reports.listing import Listing
from asu_stats.reports.parameters import PROFILE, TARGET
from asu_stats.reports.ranking import Ranking
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import VERSION_TARGETS, VERSIONS
from asu_stats.windows import Window


class VersionRow(TypedDict):
    """One version."""

    version: Version
    requests: Requests
    unique_targets: Annotated[int, Field(description="Distinct targets among the requests.")]
    cache_hits: CacheHits
    cache_hit_rate: Rate
    avg_build_duration: Average
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    top_targets: list[TargetRequests]


_RANKING: Final = Ranking(
    "version", VersionRow, release_order, VERSIONS, below="target", pairs=VERSION_TARGETS
)
CUBES: Final = _RANKING.cubes


def read(connection: Connection, window: Window, **filters: str) -> Listing[VersionRow]:
    """Return a row per version, by requests descending, then by release.

    `filters` may name a target and a profile.
    """
    return _RANKING.read(connection, window, filters)


REPORT: Final = Report(
    name="versions",
    summary="Requests and builds per version",
    send=_RANKING.send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[VersionRow],
    parameters=(TARGET, PROFILE),
    row=VersionRow,
    paged=True,
)
