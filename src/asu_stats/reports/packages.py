"""Packages in accepted requests. Cache hits do not list packages."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection, Select
from typing_extensions import TypedDict

from asu_stats.reports import figures, floor, sums
from asu_stats.reports.listing import Listing
from asu_stats.reports.marks import Named
from asu_stats.reports.parameters import TARGET, VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import BY_PACKAGE
from asu_stats.store.blocks.totals import Ranked
from asu_stats.store.database import statements
from asu_stats.store.details import known_packages, package_lists
from asu_stats.store.rollups.definitions import PACKAGES, VERSION_TARGET
from asu_stats.windows import Window


class PackageRow(TypedDict):
    """One package."""

    package: Annotated[str, Named("package"), Field(description="Name of the package.")]
    requests: Annotated[
        int,
        Field(description="Accepted requests that listed the package, without cache hits."),
    ]
    percentage: Annotated[
        float | None, Field(description="Percent of all accepted requests, 2 decimals.")
    ]


_BRANCH = 5  # characters, as in 24.10


def read(
    connection: Connection, window: Window, version: str | None = None, target: str | None = None
) -> Listing[PackageRow]:
    """Return a row per package, by requests descending, then by name.

    Percentages are of all accepted requests in the window with the given version and target.
    """
    given = {"version": version, "target": target}
    filters = {name: value for name, value in given.items() if value is not None}
    if target is None:
        (found,) = sums.cubes(connection, window, BY_PACKAGE)
        ranked = found.ranked(1, None if version is None else {0: version})
    else:
        lists = _send_lists(connection, window, filters)()
        counts = sorted(package_lists.in_total(connection, lists))
        ranked = Ranked.of([(name, (requests,)) for name, requests in counts], width=1)
    ranked, _ = floor.fold_ranked(ranked)
    (totals,) = sums.rows(connection, VERSION_TARGET, (), window, filters)
    accepted = int(totals.request_count or 0)

    def make(first: int, after: int) -> list[PackageRow]:
        return [
            {"package": name, "requests": n, "percentage": figures.rate(n, accepted)}
            for name, n in ranked.pairs(first, after)
        ]

    return Listing(len(ranked), make)


@lru_cache(maxsize=8)
def _lists(filters: tuple[str, ...]) -> Select[Any]:
    return package_lists.with_packages(sums.select_rows(PACKAGES, ("package_list",), filters))


def _send_lists(
    connection: Connection, window: Window, filters: Mapping[str, str]
) -> statements.Sent:
    """Ask for the packages of each list, and its requests."""
    known_packages.send(connection)
    values = {f"of_{name}": value for name, value in filters.items()}
    days = {"start": window.start, "end": window.end}
    return statements.send_once(connection, _lists(tuple(filters)), **days, **values)


def most(
    connection: Connection, window: Window, branch: str | None, places: int
) -> list[tuple[str, int]]:
    """Return the most requested packages, of the versions of one branch if given."""
    counts: dict[str, int] = defaultdict(int)
    (found,) = sums.cubes(connection, window, BY_PACKAGE)
    for (version, package), (requests,) in found.rows():
        if branch is None or branch_of(version) == branch:
            counts[package] += requests
    return figures.top(floor.fold(counts), places)


def branch_of(version: str) -> str:
    """Return the branch of a version, named as the upstream server does."""
    return version[:_BRANCH] if "." in version else version


def _send(connection: Connection, query: Query) -> None:
    sums.send_rows(connection, VERSION_TARGET, (), query.window, query.filters)
    if "target" in query.filters:
        _send_lists(connection, query.window, query.filters)
    else:
        sums.send_cubes(connection, query.window, BY_PACKAGE)


REPORT: Final = Report(
    name="packages",
    summary="Requested packages",
    send=_send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[PackageRow],
    parameters=(VERSION, TARGET),
    row=PackageRow,
    paged=True,
)
