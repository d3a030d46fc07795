"""Requests and builds per profile."""

from typing import Final

from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.releases import as_text
from asu_stats.reports.fields import Average, Built, CacheHits, Failed, Profile, Rate, Requests
from asu_stats.reports.listing import Listing
from asu_stats.reports.parameters import TARGET, VERSION
from asu_stats.reports.ranking import Ranking
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import BY_PROFILE
from asu_stats.windows import Window


class ProfileRow(TypedDict):
    """One profile."""

    profile: Profile
    requests: Requests
    successful_builds: Built
    failed_builds: Failed
    success_rate: Rate
    avg_build_duration: Average
    cache_hits: CacheHits
    cache_hit_rate: Rate


_RANKING: Final = Ranking("profile", ProfileRow, as_text, BY_PROFILE)
CUBES: Final = _RANKING.cubes


def read(connection: Connection, window: Window, **filters: str) -> Listing[ProfileRow]:
    """Return a row per profile, by requests descending, then by name.

    `filters` may name a version and a target.
    """
    return _RANKING.read(connection, window, filters)


REPORT: Final = Report(
    name="profiles",
    summary="Requests and builds per profile",
    send=_RANKING.send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[ProfileRow],
    parameters=(VERSION, TARGET),
    row=ProfileRow,
    paged=True,
)
