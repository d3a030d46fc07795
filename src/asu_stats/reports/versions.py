"""Which versions are asked for, and how their builds go."""

from sqlalchemy import Connection

from asu_stats.reports import sums
from asu_stats.reports.answers import VersionRow
from asu_stats.store.packs import VERSION_TARGETS, VERSIONS
from asu_stats.store.rollups import PROFILES
from asu_stats.windows import Window


def read(connection: Connection, window: Window, **filters: str) -> list[VersionRow]:
    """Return a row per version, by requests descending, then by name.

    `filters` may name a target and a profile.
    """
    if filters:
        rows = sums.rows(connection, PROFILES, ("version",), window, filters)
        found = [(row[0], sums.Builds(*map(int, row[1:7]))) for row in rows]
        below = sums.rows(connection, PROFILES, ("version", "target"), window, filters)
        targets = sums.tops_of((row.version, row.target, int(row.request_count)) for row in below)
    else:
        versions, pairs = sums.cubes(connection, window, VERSIONS, VERSION_TARGETS)
        found = [(version, sums.Builds(*row[:6])) for (version,), row in versions.rows()]
        targets = sums.tops(pairs)
    found.sort(key=lambda item: (-item[1].requests, item[0]))
    return [
        {
            "version": version,
            "requests": builds.requests,
            "unique_targets": targets[version].names,
            "cache_hits": builds.cache_hits,
            "cache_hit_rate": builds.cache_hit_rate,
            "avg_build_duration": builds.avg_build_duration,
            "successful_builds": builds.successful,
            "failed_builds": builds.failed,
            "success_rate": builds.success_rate,
            "top_targets": [{"target": t, "requests": n} for t, n in targets[version].first],
        }
        for version, builds in found
        if builds
    ]
