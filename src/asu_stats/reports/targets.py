"""Which targets are asked for, and how their builds go."""

from collections import defaultdict

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import TargetRow
from asu_stats.store.rollups import PROFILES
from asu_stats.windows import Window


def read(connection: Connection, window: Window, *, version: str | None = None) -> list[TargetRow]:
    """Return a row per target, of one version or of all, by requests descending, then by name."""
    targets: dict[str, sums.Builds] = defaultdict(sums.Builds)
    profiles: dict[str, dict[str, int]] = defaultdict(dict)
    filters = {} if version is None else {"version": version}
    for row in sums.rows(connection, PROFILES, ("target", "profile"), window, filters):
        targets[row.target].add(row)
        profiles[row.target][row.profile] = int(row.request_count)
    order = sorted(targets.items(), key=lambda item: (-item[1].requests, item[0]))
    return [
        {
            "target": target,
            "requests": builds.requests,
            "unique_profiles": sum(1 for requests in profiles[target].values() if requests),
            "cache_hits": builds.cache_hits,
            "cache_hit_rate": builds.cache_hit_rate,
            "avg_build_duration": builds.avg_build_duration,
            "successful_builds": builds.successful,
            "failed_builds": builds.failed,
            "success_rate": builds.success_rate,
            "top_profiles": [
                {"profile": p, "requests": n} for p, n in figures.top(profiles[target], 5)
            ],
        }
        for target, builds in order
        if builds
    ]
