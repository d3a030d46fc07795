"""Images that are likely to be requested after a release, so that they can be built in advance."""

from collections.abc import Collection, Iterable
from datetime import date, timedelta
from fractions import Fraction
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from pydantic import Field
from sqlalchemy import (
    BigInteger,
    Connection,
    Date,
    FromClause,
    Select,
    Text,
    bindparam,
    case,
    func,
    select,
)
from typing_extensions import TypedDict

from asu_stats.releases import branch_of, is_release, release_order
from asu_stats.reports import figures, floor, parameters, release_days, sums
from asu_stats.reports.cover import covers
from asu_stats.reports.fields import Period, Profile, Target, Total
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.marks import IDENTIFYING
from asu_stats.reports.parameters import VERSION, Parameter
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import VERSIONS
from asu_stats.store.database import statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.schema import package_lists
from asu_stats.store.rollups.definitions import PACKAGES
from asu_stats.windows import FIRST_DAY, Window


class Image(TypedDict):
    """An image with its expected requests."""

    target: Target
    profile: Profile
    packages_digest: Annotated[
        str,
        IDENTIFYING,
        Field(description="Identifies the list of packages: column `digest` of `package_lists`."),
    ]
    expected_requests: Annotated[
        float, Field(description="In the first 14 days after the release, 1 decimal.")
    ]


class Tried(TypedDict):
    """The hit rate of such a list at an earlier release."""

    version: Annotated[str, Field(description="An earlier release.")]
    released_on: Annotated[str, Field(description="UTC day, YYYY-MM-DD.")]
    requests: Annotated[
        int,
        Field(description="Requests for the version that named packages, in its first 14 days."),
    ]
    hit_rate: Annotated[
        float | None, Field(description="Percent of them for images on the list, 2 decimals.")
    ]


class Warmup(TypedDict):
    """`GET /api/v1/stats/insights/warmup`."""

    period: Period
    basis: Basis
    version: Annotated[
        str | None, Field(description="As given, else the newest release; null if none is known.")
    ]
    images: Annotated[list[Image], Field(description="Most expected requests first.")]
    images_total: Total
    backtest: Annotated[
        list[Tried],
        Field(
            description="Up to 3 earlier releases, newest first, each with a list made before it."
        ),
    ]


FIRST_DAYS: Final = 14
_RELEASES: Final = 3
_MIN_REQUESTS: Final = 20
_HISTORY_DAYS: Final = 92
_SAME_BRANCH: Final = 2  # weight of a request for the same branch; other requests have 1
METHOD: Final = (
    "Images are ranked by the requests of the time range that named packages and were not cache "
    "hits; requests for the same branch count twice. Expected requests are an image's share of "
    "them times the mean of earlier releases."
)

IMAGES: Final = Parameter(
    "images",
    "Maximum number of images.",
    {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100},
)
FOR_VERSION: Final = Parameter(
    "version",
    "The release to prepare for, also a future one. Default: the newest.",
    VERSION.schema,
    VERSION.stored,
    selects=False,
)

# Without a default: `images` has one.
LIMIT: Final = Parameter(
    "limit",
    "Maximum number of entries of each list in the response.",
    {name: value for name, value in parameters.LIMIT.schema.items() if name != "default"},
)

_Key: TypeAlias = tuple[str, str, str]  # target, profile, digest of the packages


class _Release(NamedTuple):
    day: date
    version: str


class _Ranked(NamedTuple):
    """The most requested images with their weights, and the total weight of all images."""

    images: list[tuple[_Key, int]]
    weight: int


@covers(Warmup)
def read(
    connection: Connection,
    window: Window,
    today: date,
    images: int,
    version: str | None = None,
    limit: int | None = None,
) -> Warmup:
    """Return the images to build before a release, and the hit rates of such lists in the past."""
    past = _past(window, today)
    last = past.end
    requests = int(sums.rows(connection, PACKAGES, (), past)[0].requests or 0)
    releases = _releases(connection, window, last)
    chosen = version or (releases[0].version if releases else None)
    found: Warmup = {
        "period": sums.period(connection, window, []),
        "basis": {"builds": 0, "requests": requests, "method": METHOD, "enough": False},
        "version": chosen,
        "images": [],
        "images_total": 0,
        "backtest": [],
    }
    if chosen is None or requests < _MIN_REQUESTS:
        return found
    found["basis"]["enough"] = True
    ranked = _rank(connection, past, branch_of(chosen), images, floor.min_requests())
    backtest = _backtest(connection, _before(releases, chosen), past.days, last, images)
    if backtest:
        mean = Fraction(sum(row["requests"] for row in backtest), len(backtest))
    else:
        mean = Fraction(requests * FIRST_DAYS, past.days)
    found["images"] = [
        {
            "target": target,
            "profile": profile,
            "packages_digest": digest,
            "expected_requests": figures.exactly(mean * weight / ranked.weight, 1),
        }
        for (target, profile, digest), weight in ranked.images[:limit]
    ]
    found["images_total"] = len(ranked.images)
    found["backtest"] = backtest[:limit]
    return found


def _past(window: Window, today: date) -> Window:
    """Return the days whose requests are counted."""
    last = min(window.end, today)
    return Window(min(last, max(window.start, last - timedelta(days=_HISTORY_DAYS - 1))), last)


def _releases(connection: Connection, window: Window, last: date) -> list[_Release]:
    """Return the releases up to a day, newest first: listed ones and requested ones."""
    listed = release_days.published(connection)
    days = {version: day for version, day in listed.items() if is_release(version)}
    requested = floor.fold(release_days.requested(connection, window))
    unlisted = {name for name in requested if name not in listed and is_release(name)}
    days |= release_days.first_requested(connection, unlisted, last)
    found = [_Release(day, version) for version, day in days.items() if day <= last]
    return sorted(found, key=lambda each: (each.day, release_order(each.version)), reverse=True)


def _before(releases: Iterable[_Release], chosen: str) -> list[_Release]:
    """Return the releases that came before a version, newest first."""
    order = release_order(chosen)
    day = next((each.day for each in releases if each.version == chosen), None)
    return [
        each
        for each in releases
        if each.version != chosen
        and (day is None or (each.day, release_order(each.version)) < (day, order))
    ]


_P: Final = PACKAGES.table.c
_L: Final = package_lists.c
_START, _END = (bindparam(name, type_=Date) for name in ("start", "end"))
_VERSION: Final = (("version", _P.version.type),)


def _top(doubled: FromClause) -> Select[Any]:
    """Select the most requested images. Requests for `doubled` versions count twice."""
    is_doubled = _P.version.in_(select(doubled.c.version))
    weight = _P.requests * case((is_doubled, _SAME_BRANCH), else_=1)
    here = _P.date.between(_START, _END), _P.profile != "unknown"
    grouped = (
        select(
            _P.target,
            _P.profile,
            _P.package_list,
            func.sum(weight).label("weight"),
            func.sum(_P.requests).label("requests"),
        )
        .where(*here)
        .group_by(_P.target, _P.profile, _P.package_list)
        .subquery("grouped")
    )
    g = grouped.c
    total = select(func.sum(weight)).where(*here).scalar_subquery()
    return (
        select(g.target, g.profile, _L.digest, g.weight, total)
        .where(g.requests >= bindparam("minimum", type_=BigInteger))
        .join_from(grouped, package_lists, _L.number == g.package_list)
        .order_by(g.weight.desc(), g.target, g.profile, _L.digest)
        .limit(bindparam("images", type_=BigInteger))
    )


def _rank(
    connection: Connection, window: Window, branch: str | None, images: int, minimum: int = 0
) -> _Ranked:
    """Return the most requested images of `window`; requests for `branch` count twice.

    Images with fewer than `minimum` requests are left out.
    """
    versions = release_days.requested(connection, window)
    same = sorted(version for version in versions if branch and branch_of(version) == branch)
    # No version is null.
    doubled: list[Row] = [(version,) for version in same] or [(None,)]
    given = {"start": window.start, "end": window.end, "minimum": minimum, "images": images}
    rows = statements.send_for_once(connection, _top, _VERSION, doubled, **given)()
    return _Ranked(
        [((row[0], row[1], row[2]), int(row[3])) for row in rows], int(rows[0][4]) if rows else 0
    )


def _backtest(
    connection: Connection, releases: Collection[_Release], days: int, last: date, images: int
) -> list[Tried]:
    """Return the hit rates that lists made before earlier releases would have had.

    Counts releases whose first 14 days are over, have data and have enough requests.
    """
    since = sums.first_day(connection) or last
    found: list[Tried] = []
    for day, version in releases:
        first_days = Window(day, day + timedelta(days=FIRST_DAYS - 1))
        if day - timedelta(days=FIRST_DAYS) < since or len(found) == _RELEASES:
            break
        if first_days.end >= last:
            continue
        by_image = _requests_by_image(connection, first_days, version)
        requests = sum(by_image.values())
        if requests < _MIN_REQUESTS:
            continue
        before = Window(max(FIRST_DAY, day - timedelta(days=days)), day - timedelta(days=1))
        ranked = _rank(connection, before, branch_of(version), images)
        hits = sum(by_image.get(image, 0) for image, _ in ranked.images)
        found.append(
            {
                "version": version,
                "released_on": day.isoformat(),
                "requests": requests,
                "hit_rate": figures.rate(hits, requests),
            }
        )
    return found


_BY_IMAGE: Final = (
    select(_P.target, _P.profile, _L.digest, func.sum(_P.requests))
    .join_from(PACKAGES.table, package_lists, _L.number == _P.package_list)
    .where(_P.date.between(_START, _END), _P.version == bindparam("version", type_=Text))
    .group_by(_P.target, _P.profile, _L.digest)
)


def _requests_by_image(connection: Connection, window: Window, version: str) -> dict[_Key, int]:
    days = {"start": window.start, "end": window.end}
    rows = statements.fetch_once(connection, _BY_IMAGE, version=version, **days)
    return {(row[0], row[1], row[2]): int(row[3]) for row in rows}


def _send(connection: Connection, query: Query) -> None:
    past = _past(query.window, query.today)
    sums.send_rows(connection, PACKAGES, (), past)
    release_days.send(connection, query.window)
    sums.send_cubes(connection, past, VERSIONS)


REPORT: Final = Report(
    name="insights/warmup",
    summary="Images that are likely to be requested after a release",
    description="Computed from requests that named packages and were not cache hits.",
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.today, **query.filters),
    response=Warmup,
    parameters=(FOR_VERSION, IMAGES, LIMIT),
)
