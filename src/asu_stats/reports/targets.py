"""Which targets are asked for, and how their builds go."""

from sqlalchemy import Connection

from asu_stats.reports import sums
from asu_stats.reports.answers import TargetRow
from asu_stats.store.packs import TARGET_PROFILES, TARGETS
from asu_stats.store.rollups import PROFILES, VERSION_TARGET
from asu_stats.windows import Window


def read(connection: Connection, window: Window, *, version: str | None = None) -> list[TargetRow]:
    """Return a row per target, of one version or of all, by requests descending, then by name."""
    if version is None:
        totals, pairs = sums.cubes(connection, window, TARGETS, TARGET_PROFILES)
        found = [(target, sums.Builds(*row)) for (target,), row in totals.rows()]
        profiles = sums.tops(pairs)
    else:
        filters = {"version": version}
        rows = sums.rows(connection, VERSION_TARGET, ("target",), window, filters)
        found = [(row[0], sums.Builds(*map(int, row[1:7]))) for row in rows]
        below = sums.rows(connection, PROFILES, ("target", "profile"), window, filters)
        profiles = sums.tops_of((row.target, row.profile, int(row.request_count)) for row in below)
    found.sort(key=lambda item: (-item[1].requests, item[0]))
    return [
        {
            "target": target,
            "requests": builds.requests,
            "unique_profiles": profiles[target].names,
            "cache_hits": builds.cache_hits,
            "cache_hit_rate": builds.cache_hit_rate,
            "avg_build_duration": builds.avg_build_duration,
            "successful_builds": builds.successful,
            "failed_builds": builds.failed,
            "success_rate": builds.success_rate,
            "top_profiles": [{"profile": p, "requests": n} for p, n in profiles[target].first],
        }
        for target, builds in found
        if builds
    ]
