"""Cache hits with other times to live of images, and the images that are worth keeping."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Final, NamedTuple

from pydantic import Field
from sqlalchemy import (
    Connection,
    DateTime,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from typing_extensions import TypedDict

from asu_stats.cloudevents import format_time
from asu_stats.events import NO_HASH, shown_hash
from asu_stats.reports import figures, floor, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Average, Period, Profile, Rate, Target, Total, Version
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.marks import IDENTIFYING
from asu_stats.reports.overview import gaps as incomplete
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import BY_GAP
from asu_stats.store.database import citus, statements
from asu_stats.store.database.schema import build_metrics, client_stats, request_metadata
from asu_stats.times import aware, bounds
from asu_stats.windows import Window


class Now(TypedDict):
    """The cache as it is."""

    hit_rate: Rate
    hits: Annotated[int | None, Field(description="Accepted requests for an image that existed.")]
    builds: Annotated[int | None, Field(description="Builds that succeeded, failed or timed out.")]


class WhatIf(TypedDict):
    """The cache with another time to live."""

    ttl_seconds: Annotated[int, Field(description="Time to live: seconds since the last request.")]
    hit_rate: Annotated[
        float | None,
        Field(description="Hits in percent of accepted requests with a known hash."),
    ]
    builds_saved: Annotated[int, Field(description="Hits: builds that would run without a cache.")]
    build_hours_saved: Annotated[
        float | None,
        Field(
            description="Builds saved times the average duration of successful builds in the time "
            "range; null without successful builds."
        ),
    ]


class WorthKeeping(TypedDict):
    """An image that was requested at least twice."""

    request_hash: Annotated[
        str,
        IDENTIFYING,
        Field(description="First 12 characters; the full hash with a `read` token."),
    ]
    version: Version
    target: Target
    profile: Profile
    requests: Annotated[int, Field(description="Accepted requests since `worth_keeping_since`.")]
    build_seconds: Average


class Cache(TypedDict):
    """`GET /api/v1/stats/insights/cache`."""

    period: Period
    basis: Basis
    now: Now
    what_if: list[WhatIf]
    worth_keeping: Annotated[
        Sequence[WorthKeeping],
        Field(description="Requested at least twice; most requests times build seconds first."),
    ]
    worth_keeping_total: Total
    worth_keeping_since: Annotated[
        str | None,
        Field(description="Earliest request that `worth_keeping` counts. RFC 3339, UTC."),
    ]


_HOUR: Final = 3_600
_DAY: Final = 24 * _HOUR
TTLS: Final = (_HOUR, 6 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY)
MAX_REQUESTS: Final = 2_500  # newest requests that `worth_keeping` counts
_COLUMNS: Final = (
    "total_requests",
    "cache_hits",
    "successful_builds",
    "failed_builds",
    "diff_packages_true",
    "diff_packages_false",
    "requests_without_hash",
    "untraced_requests",
    "rejected_without_hash",
    "queued_requests",
    "joined_requests",
    "cached_failures",
    "timed_builds",
    "total_build_time_seconds",
)


def hits(connection: Connection, window: Window, ttls: Sequence[int]) -> list[int]:
    """Return the number of accepted requests that would be hits, for each time to live in seconds.

    The number is exact for a time to live that `gaps.exact` does not round.
    """
    (by_gap,) = sums.cubes(connection, window, BY_GAP)
    edges = [seconds + 1 for seconds in ttls]
    return list(accumulate(by_gap.distribution(0).histogram(edges)))


@covers(Cache)
def read(connection: Connection, window: Window, page: Page = ALL) -> Cache:
    """Return the hits in `window`, and the hits with other times to live."""
    days = [row[1:] for row in sums.days(connection, window, *_COLUMNS)]
    totals = {name: sum(int(row[place]) for row in days) for place, name in enumerate(_COLUMNS)}
    with_hash = totals["total_requests"] - totals["requests_without_hash"]
    keeping, since = _worth_keeping(connection, window) if with_hash else ([], None)
    return {
        "period": sums.period(connection, window, incomplete(totals)),
        "basis": {
            "builds": totals["timed_builds"],
            "requests": with_hash,
            "method": "A request is a hit if the previous accepted request for the same hash came "
            "within the time to live. The first request for a hash is a miss.",
            "enough": with_hash > 0,
        },
        "now": _now(totals) if with_hash else {"hit_rate": None, "hits": None, "builds": None},
        "what_if": _what_if(connection, window, totals, with_hash) if with_hash else [],
        "worth_keeping": [_row(image) for image in page.of(keeping)],
        "worth_keeping_total": len(keeping),
        "worth_keeping_since": format_time(aware(since)) if since else None,
    }


def _now(totals: Mapping[str, int]) -> Now:
    return {
        "hit_rate": figures.rate(totals["cache_hits"], totals["total_requests"]),
        "hits": totals["cache_hits"],
        "builds": totals["successful_builds"] + totals["failed_builds"],
    }


def _what_if(
    connection: Connection, window: Window, totals: Mapping[str, int], with_hash: int
) -> list[WhatIf]:
    seconds, builds = totals["total_build_time_seconds"], totals["timed_builds"]
    return [
        {
            "ttl_seconds": ttl,
            "hit_rate": figures.rate(saved, with_hash),
            "builds_saved": saved,
            "build_hours_saved": figures.quotient(saved * seconds, builds * 3_600, 2),
        }
        for ttl, saved in zip(TTLS, hits(connection, window, TTLS), strict=True)
    ]


_r, _b, _m = client_stats.c, build_metrics.c, request_metadata.c
# Reads the index of timestamps backwards, so the cost does not grow with the time range.
_newest = citus.read_first(
    select(_r.request_hash, _r.timestamp)
    .where(
        _r.timestamp >= bindparam("first", type_=DateTime),
        _r.timestamp < bindparam("after", type_=DateTime),
        _r.outcome != "rejected",
        _r.request_hash != NO_HASH,
    )
    .order_by(_r.timestamp.desc())
    .limit(literal_column(str(MAX_REQUESTS)))
    .cte("newest")
)
_repeated = citus.read_first(
    select(_newest.c.request_hash, func.count().label("requests"))
    .group_by(_newest.c.request_hash)
    .having(func.count() > literal_column("1"))
    .cte("repeated")
)
_built = citus.read_first(
    select(
        _repeated.c.request_hash,
        _repeated.c.requests,
        func.sum(_b.duration_seconds).label("seconds"),
        func.count().label("builds"),
    )
    .join_from(_repeated, build_metrics, _b.request_hash == _repeated.c.request_hash)
    .where(_b.status == "success", _b.duration_seconds.is_not(None))
    .group_by(_repeated.c.request_hash, _repeated.c.requests)
    .cte("built")
)
# Grouping the builds by device too would take as long again.
_images = citus.read_first(
    select(_m.request_hash, _m.version, _m.target, _m.profile)
    .add_columns(_built.c.requests, _built.c.seconds, _built.c.builds)
    .join_from(_built, request_metadata, _m.request_hash == _built.c.request_hash)
    .cte("images")
)
_oldest = select(func.min(_newest.c.timestamp).label("timestamp")).subquery("oldest")
# One statement, for one round trip. Without images, it has one row.
_COUNTED: Final = select(_oldest.c.timestamp, *_images.c).select_from(
    _oldest.outerjoin(_images, true())
)


class _Image(NamedTuple):
    """An image: its device, its requests, and the seconds and number of its builds."""

    request_hash: str
    version: str
    target: str
    profile: str
    requests: int
    seconds: int
    builds: int

    def rank(self) -> tuple[float, str]:
        """Sort key: most saved build time first."""
        return -self.requests * self.seconds / self.builds, self.request_hash


def _send_counted(connection: Connection, window: Window) -> statements.Sent:
    first, after = bounds(window.start, window.end)
    return statements.send_once(connection, _COUNTED, first=first, after=after)


def _worth_keeping(connection: Connection, window: Window) -> tuple[list[_Image], datetime | None]:
    """Return images by the build time that the cache saves, and the earliest request counted.

    Counts the newest requests of `window` that have details. An image needs details of a build.
    """
    rows = _send_counted(connection, window)()
    oldest: datetime | None = rows[0][0]
    images = [_Image(*row[1:5], *map(int, row[5:])) for row in rows if row[1] is not None]
    min_requests = floor.min_requests()
    ranked = sorted((image for image in images if image.requests >= min_requests), key=_Image.rank)
    if rest := [image[4:] for image in images if image.requests < min_requests]:
        requests, seconds, builds = map(sum, zip(*rest, strict=True))
        ranked.append(_Image(*(floor.OTHER,) * 4, requests, seconds, builds))
    return ranked, oldest


def _row(image: _Image) -> WorthKeeping:
    return {
        "request_hash": image.request_hash,
        "version": image.version,
        "target": image.target,
        "profile": image.profile,
        "requests": image.requests,
        "build_seconds": figures.average(image.seconds, image.builds),
    }


def _read(connection: Connection, query: Query) -> Cache:
    found = read(connection, query.window, query.page)
    if not query.full_hashes:
        for image in found["worth_keeping"]:
            image["request_hash"] = shown_hash(image["request_hash"])
    return found


def _send(connection: Connection, query: Query) -> None:
    sums.send_days(connection, query.window, *_COLUMNS)
    _send_counted(connection, query.window)
    sums.send_cubes(connection, query.window, BY_GAP)


REPORT: Final = Report(
    name="insights/cache",
    summary="Cache hits with other times to live of images",
    send=_send,
    read=_read,
    response=Cache,
    nested=True,
    shows_hashes=True,
)
