"""Which versions are asked for, and how their builds go."""

from sqlalchemy import Connection

from asu_stats.releases import release_order
from asu_stats.reports import sums
from asu_stats.reports.answers import VersionRow
from asu_stats.reports.builds import Ranked
from asu_stats.reports.listing import Listing
from asu_stats.store.blocks.cubes import VERSION_TARGETS, VERSIONS
from asu_stats.store.rollups.definitions import PROFILES
from asu_stats.windows import Window


def read(connection: Connection, window: Window, **filters: str) -> Listing[VersionRow]:
    """Return a row per version, by requests descending, then by release.

    `filters` may name a target and a profile.
    """
    if filters:
        rows = sums.rows(connection, PROFILES, ("version",), window, filters)
        found = Ranked.of_rows(rows, release_order)
        below = sums.rows(connection, PROFILES, ("version", "target"), window, filters)
        tops: sums.Below = sums.TopsOf(
            (row.version, row.target, int(row.request_count)) for row in below
        )
    else:
        versions, pairs = sums.cubes(connection, window, VERSIONS, VERSION_TARGETS)
        found = Ranked(*versions.by_name())
        tops = sums.Tops(*pairs.grouped())

    def make(first: int, after: int) -> list[VersionRow]:
        shown = found.rows(first, after)
        return [
            {
                "version": row.name,
                "requests": row.requests,
                "unique_targets": top.names,
                "cache_hits": row.cache_hits,
                "cache_hit_rate": row.cache_hit_rate,
                "avg_build_duration": row.avg_build_duration,
                "successful_builds": row.successful,
                "failed_builds": row.failed,
                "success_rate": row.success_rate,
                "top_targets": [{"target": name, "requests": n} for name, n in top.first],
            }
            for row, top in zip(shown, tops.of([(row.name,) for row in shown]), strict=True)
        ]

    return Listing(len(found), make)
