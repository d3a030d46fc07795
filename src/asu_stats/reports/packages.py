"""Which packages are asked for (accepted requests that were no cache hits name them)."""

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import PackageRow
from asu_stats.store import package_lists
from asu_stats.store.cubes import BY_PACKAGE
from asu_stats.store.rollups import PACKAGES, VERSION_TARGET
from asu_stats.windows import Window

_BRANCH = 5  # characters, as in 24.10


def read(
    connection: Connection, window: Window, version: str | None = None, target: str | None = None
) -> list[PackageRow]:
    """Return a row per package, by requests descending, then by name.

    Percentages are of all accepted requests in the window, of the version and target if given.
    """
    given = {"version": version, "target": target}
    filters = {name: value for name, value in given.items() if value is not None}
    if target is None:
        counts = _of_versions(connection, window, version)
    else:
        lists = sums.rows(connection, PACKAGES, ("package_list",), window, filters)
        counts = package_lists.count(
            connection, {row.package_list: int(row.requests) for row in lists}
        )
    (totals,) = sums.rows(connection, VERSION_TARGET, (), window, filters)
    accepted = int(totals.request_count or 0)
    return [
        {"package": name, "requests": n, "percentage": figures.rate(n, accepted)}
        for name, n in figures.top(counts, len(counts))
    ]


def most(
    connection: Connection, window: Window, branch: str | None, places: int
) -> list[tuple[str, int]]:
    """Return the packages asked for most, of the versions of one branch if given."""
    counts: dict[str, int] = defaultdict(int)
    (found,) = sums.cubes(connection, window, BY_PACKAGE)
    for (version, package), (requests,) in found.rows():
        if branch is None or branch_of(version) == branch:
            counts[package] += requests
    return figures.top(counts, places)


def branch_of(version: str) -> str:
    """Return the branch of a version, as the upstream server names it."""
    return version[:_BRANCH] if "." in version else version


def _of_versions(connection: Connection, window: Window, version: str | None) -> Mapping[str, int]:
    counts: dict[str, int] = defaultdict(int)
    (found,) = sums.cubes(connection, window, BY_PACKAGE)
    for (of, package), (requests,) in found.rows():
        if version in {None, of}:
            counts[package] += requests
    return counts
