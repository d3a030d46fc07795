"""Which versions are asked for, and how their builds go."""

from collections import defaultdict

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import VersionRow
from asu_stats.store.rollups import VERSION_TARGET
from asu_stats.windows import Window


def read(connection: Connection, window: Window) -> list[VersionRow]:
    """Return a row per version, by requests descending, then by name."""
    versions: dict[str, sums.Builds] = defaultdict(sums.Builds)
    targets: dict[str, dict[str, int]] = defaultdict(dict)
    for row in sums.rows(connection, VERSION_TARGET, ("version", "target"), window):
        versions[row.version].add(row)
        targets[row.version][row.target] = int(row.request_count)
    order = sorted(versions.items(), key=lambda item: (-item[1].requests, item[0]))
    return [
        {
            "version": version,
            "requests": builds.requests,
            "unique_targets": sum(1 for requests in targets[version].values() if requests),
            "cache_hits": builds.cache_hits,
            "cache_hit_rate": builds.cache_hit_rate,
            "avg_build_duration": builds.avg_build_duration,
            "successful_builds": builds.successful,
            "failed_builds": builds.failed,
            "success_rate": builds.success_rate,
            "top_targets": [
                {"target": t, "requests": n} for t, n in figures.top(targets[version], 5)
            ],
        }
        for version, builds in order
        if builds
    ]
