"""Requests and builds per target."""

from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.releases import as_text
from asu_stats.reports.fields import (
    Average,
    Built,
    CacheHits,
    Failed,
    ProfileRequests,
    Rate,
    Requests,
    Target,
)
from asu_stats.reports.listing import Listing
from asu_stats.reports.parameters import VERSION
from asu_stats.reports.ranking import Ranking
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import TARGET_PROFILES, TARGETS
from asu_stats.windows import Window


class TargetRow(TypedDict):
    """One target."""

    target: Target
    requests: Requests
    unique_profiles: Annotated[int, Field(description="Distinct profiles among the requests.")]
    cache_hits: CacheHits
    cache_hit_rate: Rate
    avg_build_duration: Average
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    top_profiles: list[ProfileRequests]


_RANKING: Final = Ranking(
    "target", TargetRow, as_text, TARGETS, below="profile", pairs=TARGET_PROFILES
)
CUBES: Final = _RANKING.cubes


def read(connection: Connection, window: Window, **filters: str) -> Listing[TargetRow]:
    """Return a row per target, by requests descending, then by name.

    `filters` may name a version.
    """
    return _RANKING.read(connection, window, filters)


REPORT: Final = Report(
    name="targets",
    summary="Requests and builds per target",
    send=_RANKING.send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[TargetRow],
    parameters=(VERSION,),
    row=TargetRow,
    paged=True,
)
