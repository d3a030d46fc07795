"""Which targets are asked for, and how their builds go."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import TargetRow
from asu_stats.store.packs import DEVICES, TARGETS
from asu_stats.store.rollups import PROFILES, VERSION_TARGET
from asu_stats.windows import Window


def read(connection: Connection, window: Window, *, version: str | None = None) -> list[TargetRow]:
    """Return a row per target, of one version or of all, by requests descending, then by name."""
    if version is None:
        totals, devices = sums.cubes(connection, window, TARGETS, DEVICES)
        found = [(target, sums.Builds(*row[:6])) for (target,), row in totals.rows()]
        asked: Iterable[tuple[str, str, int]] = (
            (target, profile, row[0]) for (target, profile), row in devices.rows()
        )
    else:
        filters = {"version": version}
        rows = sums.rows(connection, VERSION_TARGET, ("target",), window, filters)
        found = [(row[0], sums.Builds(*map(int, row[1:7]))) for row in rows]
        rows = sums.rows(connection, PROFILES, ("target", "profile"), window, filters)
        asked = ((row.target, row.profile, int(row.request_count)) for row in rows)
    profiles: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for target, profile, requests in asked:
        if requests:
            profiles[target].append((profile, requests))
    found.sort(key=lambda item: (-item[1].requests, item[0]))
    return [
        {
            "target": target,
            "requests": builds.requests,
            "unique_profiles": len(profiles[target]),
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
        for target, builds in found
        if builds
    ]
