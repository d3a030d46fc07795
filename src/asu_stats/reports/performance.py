"""Build durations, and the slowest builds."""

from collections.abc import Sequence
from datetime import datetime, time
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection, FromClause, Select, literal_column, select
from typing_extensions import TypedDict

from asu_stats.cloudevents import format_time
from asu_stats.events import shown_hash
from asu_stats.reports import figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.durations import durations_by_version, of_version
from asu_stats.reports.fields import Average, Profile, Seconds, Target, Total, Version
from asu_stats.reports.listing import ALL, Listing, Page
from asu_stats.reports.marks import IDENTIFYING
from asu_stats.reports.parameters import VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import SECONDS, VERSION_SECONDS, VERSIONS
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics, request_metadata
from asu_stats.times import aware, midnight
from asu_stats.windows import Window

Hash = Annotated[
    str | None,
    IDENTIFYING,
    Field(
        description="First 12 characters; full hash with a `read` token. Null if the "
        "build was imported without it."
    ),
]


class BuildDuration(TypedDict):
    """Durations of successful builds; percentiles are nearest-rank."""

    avg_seconds: Average
    median_seconds: Seconds
    p50_seconds: Seconds
    p90_seconds: Seconds
    p95_seconds: Seconds
    p99_seconds: Seconds
    min_seconds: Seconds
    max_seconds: Seconds


class VersionPerformance(TypedDict):
    """Durations of one version's successful builds."""

    version: Version
    avg_duration: Average
    median_duration: Seconds
    builds: Annotated[int, Field(description="Successful builds of known duration.")]


class SlowBuild(TypedDict):
    """One of the slowest successful builds."""

    request_hash: Hash
    version: Version
    target: Target
    profile: Profile
    duration: Annotated[int, Field(description="Whole seconds.")]
    package_count: Annotated[
        int | None, Field(description="Packages of the image; null if unknown.")
    ]
    finished_at: Annotated[str, Field(description="RFC 3339, UTC.")]


class Performance(TypedDict):
    """`GET /api/v1/stats/performance`."""

    build_duration: BuildDuration
    by_version: Sequence[VersionPerformance]
    by_version_total: Total
    slowest_builds: Annotated[list[SlowBuild], Field(description="At most 10.")]
    slowest_builds_total: Total


SLOWEST: Final = 10


@covers(Performance)
def read(
    connection: Connection, window: Window, page: Page = ALL, version: str | None = None
) -> Performance:
    """Return the durations of successful builds that finished in `window`, in whole seconds.

    All of them, or those of one version. `page` selects versions. `slowest_builds` holds the ten
    slowest builds with full request hashes. Callers shorten them for display
    (docs/reference/figures.md, Request hashes).
    """
    (seconds,) = sums.cubes(connection, window, SECONDS if version is None else VERSION_SECONDS)
    everything, versions = of_version(seconds, version), by_version(connection, window, version)
    return {
        "build_duration": {
            "avg_seconds": figures.average(everything.total, everything.count),
            "median_seconds": everything.percentile(50),
            "p50_seconds": everything.percentile(50),
            "p90_seconds": everything.percentile(90),
            "p95_seconds": everything.percentile(95),
            "p99_seconds": everything.percentile(99),
            "min_seconds": everything.least,
            "max_seconds": everything.most,
        },
        "by_version": page.of(versions),
        "by_version_total": len(versions),
        "slowest_builds": _slowest(connection, window, everything, version)[: page.most(SLOWEST)],
        "slowest_builds_total": everything.count,
    }


def by_version(
    connection: Connection, window: Window, version: str | None = None
) -> Listing[VersionPerformance]:
    """Return the durations of each version that has any, or of one, by requests descending."""
    durations, versions = sums.cubes(connection, window, VERSION_SECONDS, VERSIONS)
    durations = floor.rename(connection, window, durations, 0, "version")
    requests = floor.fold({version: row[0] for (version,), row in versions.rows()})
    found = durations_by_version(durations)
    if version is not None:
        found = [row for row in found if row.version == version]
    found.sort(key=lambda row: -requests.get(row.version, 0))

    def make(first: int, after: int) -> list[VersionPerformance]:
        return [
            {
                "version": row.version,
                "avg_duration": figures.average(row.total, row.builds),
                "median_duration": row.median,
                "builds": row.builds,
            }
            for row in found[first:after]
        ]

    return Listing(len(found), make, "")


def _slowest(
    connection: Connection, window: Window, durations: Distribution, version: str | None
) -> list[SlowBuild]:
    """Return the slowest builds. Their durations come from the distribution, the rows by index."""
    rows = statements.fetch_for(
        connection,
        _took if version is None else _took_with_version,
        _FIELDS[: 3 if version is None else 4],
        [
            (seconds, midnight(window.start), datetime.combine(window.end, _END), version)[
                : 3 if version is None else 4
            ]
            for seconds in durations.largest(SLOWEST)
        ],
    )
    return [
        {
            "request_hash": request_hash or None,
            "version": version,
            "target": target,
            "profile": profile,
            "duration": seconds,
            "package_count": packages,
            "finished_at": format_time(aware(finished)),
        }
        for seconds, finished, request_hash, version, target, profile, packages in rows
    ]


_END: Final = time(23, 59, 59, 999_999)
_FIELDS: Final = (
    ("seconds", build_metrics.c.duration_seconds.type),
    ("first", build_metrics.c.finished_at.type),
    ("last", build_metrics.c.finished_at.type),
    ("version", build_metrics.c.version.type),
)


def _took(given: FromClause) -> Select[Any]:
    """Select the slowest successful builds with given durations and ends."""
    b, r = build_metrics.c, request_metadata.c
    here = (b.duration_seconds == given.c.seconds) & b.finished_at.between(
        given.c.first, given.c.last
    )
    return (
        select(
            b.duration_seconds,
            b.finished_at,
            b.request_hash,
            b.version,
            b.target,
            b.profile,
            r.package_count,
        )
        .select_from(
            given.join(build_metrics, here).outerjoin(
                request_metadata, b.request_hash == r.request_hash
            )
        )
        .where(b.status == literal_column("'success'"))  # a constant, as in the index
        .order_by(b.duration_seconds.desc(), b.finished_at, b.request_hash, b.build_id)
        .limit(SLOWEST)
    )


def _took_with_version(given: FromClause) -> Select[Any]:
    """Select the same of given versions."""
    return _took(given).where(build_metrics.c.version == given.c.version)


def _read(connection: Connection, query: Query) -> Performance:
    found = read(connection, query.window, query.page, **query.filters)
    if not query.full_hashes:
        for build in found["slowest_builds"]:
            full = build["request_hash"]
            build["request_hash"] = shown_hash(full) if full else None
    return found


def _send(connection: Connection, query: Query) -> None:
    of_all = () if "version" in query.filters else (SECONDS,)
    sums.send_cubes(connection, query.window, *of_all, VERSION_SECONDS, VERSIONS)


REPORT: Final = Report(
    name="performance",
    summary="Build durations",
    send=_send,
    read=_read,
    response=Performance,
    parameters=(VERSION,),
    row=VersionPerformance,
    member="by_version",
    nested=True,
    shows_hashes=True,
)
