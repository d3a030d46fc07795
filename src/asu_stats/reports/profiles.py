"""Which devices are asked for, and how their builds go."""

from sqlalchemy import Connection

from asu_stats.reports import sums
from asu_stats.reports.answers import ProfileRow
from asu_stats.store.packs import BY_PROFILE
from asu_stats.store.rollups import PROFILES
from asu_stats.windows import Window


def read(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    target: str | None = None,
) -> list[ProfileRow]:
    """Return a row per profile, of one version and target or of all, by requests, then by name."""
    given = {"version": version, "target": target}
    filters = {column: value for column, value in given.items() if value is not None}
    if filters:
        rows = sums.rows(connection, PROFILES, ("profile",), window, filters)
        found = [(row[0], sums.Builds(*map(int, row[1:]))) for row in rows]
    else:
        (profiles,) = sums.cubes(connection, window, BY_PROFILE)
        found = [(profile, sums.Builds(*row)) for (profile,), row in profiles.rows()]
    found.sort(key=lambda item: (-item[1].requests, item[0]))
    return [
        {
            "profile": profile,
            "requests": builds.requests,
            "successful_builds": builds.successful,
            "failed_builds": builds.failed,
            "success_rate": builds.success_rate,
            "avg_build_duration": builds.avg_build_duration,
            "cache_hits": builds.cache_hits,
            "cache_hit_rate": builds.cache_hit_rate,
        }
        for profile, builds in found
        if builds
    ]
