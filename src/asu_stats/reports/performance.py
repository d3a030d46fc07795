"""Build durations, and the slowest builds."""

from collections.abc import Sequence
from datetime import datetime, time
from types import SimpleNamespace
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection, FromClause, Select, bindparam, literal_column, select
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
    seconds = durations.largest(SLOWEST)
    if not seconds:
        return []
    days = {"first": midnight(window.start), "last": datetime.combine(window.end, _END)}
    given = days if version is None else {**days, "version": version}
    fields, took, took_last = _ALL if version is None else _OF_VERSION
    *longer, least = seconds
    # Fewer than ten took longer. As many as there are may have taken as long as the last.
    sent = (
        statements.send_for_once(
            connection, took, fields, [(each, *given.values()) for each in longer]
        ),
        statements.send_once(connection, took_last, seconds=least, **given),
    )
    rows = [row for each in sent for row in each()][:SLOWEST]
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
_b, _r = build_metrics.c, request_metadata.c
_FIELDS: Final = (
    ("seconds", _b.duration_seconds.type),
    ("first", _b.finished_at.type),
    ("last", _b.finished_at.type),
    ("version", _b.version.type),
)


def _selected(source: FromClause, given: Any) -> Select[Any]:
    """Select the slowest successful builds of `source` with given durations and ends."""
    return (
        select(
            _b.duration_seconds,
            _b.finished_at,
            _b.request_hash,
            _b.version,
            _b.target,
            _b.profile,
            _r.package_count,
        )
        .select_from(source.outerjoin(request_metadata, _b.request_hash == _r.request_hash))
        .where(
            _b.status == literal_column("'success'"),  # a constant, as in the index
            _b.duration_seconds == given.seconds,
            _b.finished_at.between(given.first, given.last),
        )
        .limit(literal_column(str(SLOWEST)))
    )


_ORDER: Final = (_b.finished_at, _b.request_hash, _b.build_id)  # begins like the index


def _took(given: FromClause) -> Select[Any]:
    source = given.join(build_metrics, _b.duration_seconds == given.c.seconds)
    return _selected(source, given.c).order_by(_b.duration_seconds.desc(), *_ORDER)


def _took_with_version(given: FromClause) -> Select[Any]:
    return _took(given).where(_b.version == given.c.version)


_one: Final = SimpleNamespace(**{name: bindparam(name, type_=kind) for name, kind in _FIELDS})
_LAST: Final = _selected(build_metrics, _one).order_by(*_ORDER)
_ALL: Final = _FIELDS[:3], _took, _LAST
_OF_VERSION: Final = _FIELDS, _took_with_version, _LAST.where(_b.version == _one.version)


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
