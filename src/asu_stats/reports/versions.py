"""Which versions are asked for, and how their builds go."""

from sqlalchemy import Connection

from asu_stats.releases import release_order
from asu_stats.reports import builds, sums
from asu_stats.reports.answers import VersionRow
from asu_stats.store.cubes import VERSION_TARGETS, VERSIONS
from asu_stats.store.rollups import PROFILES
from asu_stats.windows import Window


def read(connection: Connection, window: Window, **filters: str) -> list[VersionRow]:
    """Return a row per version, by requests descending, then by name.

    `filters` may name a target and a profile.
    """
    if filters:
        rows = sums.rows(connection, PROFILES, ("version",), window, filters)
        found = builds.ranked_rows(rows, release_order)
        below = sums.rows(connection, PROFILES, ("version", "target"), window, filters)
        targets = sums.tops_of((row.version, row.target, int(row.request_count)) for row in below)
    else:
        versions, pairs = sums.cubes(connection, window, VERSIONS, VERSION_TARGETS)
        found = builds.ranked(*versions.by_name())
        targets = sums.tops(pairs)
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
        for row in found
        for top in (targets.get((row.name,), sums.NOTHING),)
    ]
