"""Which targets are asked for, and how their builds go."""

from sqlalchemy import Connection

from asu_stats.releases import as_text
from asu_stats.reports import sums
from asu_stats.reports.answers import TargetRow
from asu_stats.reports.builds import Ranked
from asu_stats.reports.listing import Listing
from asu_stats.store.blocks.cubes import TARGET_PROFILES, TARGETS
from asu_stats.store.rollups.definitions import PROFILES, VERSION_TARGET
from asu_stats.windows import Window


def read(
    connection: Connection, window: Window, *, version: str | None = None
) -> Listing[TargetRow]:
    """Return a row per target, of one version or of all, by requests descending, then by name."""
    if version is None:
        totals, pairs = sums.cubes(connection, window, TARGETS, TARGET_PROFILES)
        found = Ranked(*totals.by_name())
        tops: sums.Below = sums.Tops(*pairs.grouped())
    else:
        filters = {"version": version}
        rows = sums.rows(connection, VERSION_TARGET, ("target",), window, filters)
        found = Ranked.of_rows(rows, as_text)
        below = sums.rows(connection, PROFILES, ("target", "profile"), window, filters)
        tops = sums.TopsOf((row.target, row.profile, int(row.request_count)) for row in below)

    def make(first: int, after: int) -> list[TargetRow]:
        shown = found.rows(first, after)
        return [
            {
                "target": row.name,
                "requests": row.requests,
                "unique_profiles": top.names,
                "cache_hits": row.cache_hits,
                "cache_hit_rate": row.cache_hit_rate,
                "avg_build_duration": row.avg_build_duration,
                "successful_builds": row.successful,
                "failed_builds": row.failed,
                "success_rate": row.success_rate,
                "top_profiles": [{"profile": name, "requests": n} for name, n in top.first],
            }
            for row, top in zip(shown, tops.of([(row.name,) for row in shown]), strict=True)
        ]

    return Listing(len(found), make)
