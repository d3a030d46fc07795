"""How versions come and go: their share of the requests over time."""

from typing import Final

from sqlalchemy import Connection

from asu_stats.releases import release_order
from asu_stats.reports import figures, sums
from asu_stats.reports.answers import VersionBucket
from asu_stats.store.blocks.cubes import VERSIONS
from asu_stats.windows import Interval, Window

SHOWN: Final = 8


def read(connection: Connection, window: Window, *, interval: Interval) -> list[VersionBucket]:
    """Return for each bucket the versions with most requests in `window`, and the others as one.

    Every version is in every bucket; the others only if there are any.
    """
    (totals,) = sums.cubes(connection, window, VERSIONS)
    requests = {version: row[0] for (version,), row in totals.rows() if row[0]}
    shown = [version for version, _ in figures.top(requests, SHOWN, release_order)]
    found: list[VersionBucket] = []
    for stamp, _, cube in sums.cube_over_time(connection, window, interval, VERSIONS):
        asked = {version: row[0] for (version,), row in cube.rows()}
        everything = sum(asked.values())
        rows: list[tuple[str | None, int]] = [(v, asked.get(v, 0)) for v in shown]
        if len(requests) > len(shown):
            rows.append((None, everything - sum(n for _, n in rows)))
        found += [
            {
                "timestamp": stamp,
                "version": version,
                "requests": n,
                "percentage": figures.rate(n, everything),
            }
            for version, n in rows
        ]
    return found
