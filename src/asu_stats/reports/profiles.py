"""Which devices are asked for, and how their builds go."""

from sqlalchemy import Connection

from asu_stats.releases import as_text
from asu_stats.reports import sums
from asu_stats.reports.answers import ProfileRow
from asu_stats.reports.builds import Ranked
from asu_stats.reports.listing import Listing
from asu_stats.store.blocks.cubes import BY_PROFILE
from asu_stats.store.rollups.definitions import PROFILES
from asu_stats.windows import Window


def read(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    target: str | None = None,
) -> Listing[ProfileRow]:
    """Return a row per profile, of one version and target or of all, by requests, then by name."""
    given = {"version": version, "target": target}
    filters = {column: value for column, value in given.items() if value is not None}
    if filters:
        rows = sums.rows(connection, PROFILES, ("profile",), window, filters)
        found = Ranked.of_rows(rows, as_text)
    else:
        (profiles,) = sums.cubes(connection, window, BY_PROFILE)
        found = Ranked(*profiles.by_name())

    def make(first: int, after: int) -> list[ProfileRow]:
        return [
            {
                "profile": row.name,
                "requests": row.requests,
                "successful_builds": row.successful,
                "failed_builds": row.failed,
                "success_rate": row.success_rate,
                "avg_build_duration": row.avg_build_duration,
                "cache_hits": row.cache_hits,
                "cache_hit_rate": row.cache_hit_rate,
            }
            for row in found.rows(first, after)
        ]

    return Listing(len(found), make)
