"""How long builds take, and which took longest."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from asu_stats.cloudevents import format_time
from asu_stats.reports import sums
from asu_stats.reports.answers import Performance, SlowBuild
from asu_stats.reports.durations import all_durations, by_version
from asu_stats.store.packs import SECONDS, VERSION_SECONDS, VERSIONS
from asu_stats.store.rollups import DURATIONS
from asu_stats.store.tables import build_metrics, request_metadata
from asu_stats.windows import Window

SLOWEST: Final = 10


def read(connection: Connection, window: Window) -> Performance:
    """Return the durations of successful builds that finished in `window`, in whole seconds.

    Versions are in the order of their requests; `slowest_builds` has the ten slowest, with whole
    request hashes: who shows them cuts them (contract §2.12).
    """
    seconds, durations, versions = sums.cubes(
        connection, window, SECONDS, VERSION_SECONDS, VERSIONS
    )
    everything = all_durations(seconds)
    requests = {version: row[0] for (version,), row in versions.rows()}
    distributions = sorted(
        by_version(durations), key=lambda item: (-requests.get(item[0], 0), item[0])
    )
    return {
        "build_duration": {
            "avg_seconds": everything.average,
            "median_seconds": everything.percentile(50),
            "p50_seconds": everything.percentile(50),
            "p90_seconds": everything.percentile(90),
            "p95_seconds": everything.percentile(95),
            "p99_seconds": everything.percentile(99),
            "min_seconds": everything.least,
            "max_seconds": everything.most,
        },
        "by_version": [
            {
                "version": version,
                "avg_duration": distribution.average,
                "median_duration": distribution.percentile(50),
                "builds": distribution.builds,
            }
            for version, distribution in distributions
        ],
        "slowest_builds": _slowest(connection, window),
    }


def _slowest(connection: Connection, window: Window) -> list[SlowBuild]:
    """Return the slowest builds, read by index: the rollup says where they are."""
    t = DURATIONS.table
    places = (
        select(t.c.date, t.c.seconds)
        .where(sums.in_window(DURATIONS, window), t.c.builds > 0)
        .distinct()
        .order_by(t.c.seconds.desc(), t.c.date)
        .limit(SLOWEST)
    )
    wanted = [_on(day, seconds) for day, seconds in connection.execute(places).all()]
    if not wanted:
        return []
    b, r = build_metrics, request_metadata
    slowest = (
        select(
            b.c.request_hash,
            b.c.version,
            b.c.target,
            b.c.profile,
            b.c.duration_seconds,
            b.c.finished_at,
            r.c.package_count,
        )
        .join_from(b, r, b.c.request_hash == r.c.request_hash, isouter=True)
        .where(or_(*wanted), b.c.status == "success")
        .order_by(b.c.duration_seconds.desc(), b.c.finished_at, b.c.request_hash, b.c.build_id)
        .limit(SLOWEST)
    )
    return [
        {
            "request_hash": row.request_hash,
            "version": row.version,
            "target": row.target,
            "profile": row.profile,
            "duration": row.duration_seconds,
            "package_count": row.package_count,
            "finished_at": format_time(row.finished_at.replace(tzinfo=UTC)),
        }
        for row in connection.execute(slowest)
    ]


def _on(day: date, seconds: int) -> ColumnElement[bool]:
    """Return the condition that a build took `seconds` and finished on `day`."""
    b = build_metrics
    first = datetime.combine(day, time())
    return and_(
        b.c.duration_seconds == seconds,
        b.c.finished_at >= first,
        b.c.finished_at < first + timedelta(days=1),
    )
