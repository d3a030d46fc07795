"""Release days of versions: from a file or the built-in table, else the day of the first request.

The built-in table has the days of OpenWrt's releases, candidates and branches.
"""

from collections.abc import Collection, Mapping
from datetime import date
from functools import cache
from importlib import resources

from sqlalchemy import Connection

from asu_stats.releases import branch_of, days_of, is_release, release_order
from asu_stats.reports import floor, sums
from asu_stats.store.blocks.cubes import VERSIONS
from asu_stats.store.details import annotations
from asu_stats.windows import Window

SUPPORTED_BRANCHES = 2


@cache
def shipped() -> Mapping[str, date]:
    """Return the days of the built-in table."""
    source = resources.files("asu_stats") / "data" / "versions.csv"
    return days_of(source.read_text(encoding="utf-8"))


def published(connection: Connection) -> dict[str, date]:
    """Return the known release days by version. The operator's file overrides the table."""
    return {**shipped(), **annotations.given_release_days(connection)}


def send(connection: Connection, window: Window) -> None:
    """Ask for known release days and requested versions, and do not wait for them."""
    annotations.send_release_days(connection)
    sums.send_cubes(connection, window, VERSIONS)


def requested(connection: Connection, window: Window) -> dict[str, int]:
    """Return the accepted requests in a time range by version, without versions that have none."""
    (totals,) = sums.cubes(connection, window, VERSIONS)
    return {version: row[0] for (version,), row in totals.rows() if row[0]}


def first_requested(
    connection: Connection, versions: Collection[str], until: date
) -> dict[str, date]:
    """Return the day of the first accepted request of each of `versions`, up to a day.

    Packed days are read by the month, then the days of the months in which a version appears.
    """
    if not versions:
        return {}
    since = sums.first_day(connection)
    last = sums.last_day(connection)
    if since is None or last is None or since > until:
        return {}
    months: dict[str, Window] = {}
    whole = Window(since, min(until, max(last, since)))
    for _, month, totals in sums.cube_over_time(connection, whole, "month", VERSIONS):
        for (version,), row in totals.rows():
            if row[0] and version in versions:
                months.setdefault(version, month)
    found: dict[str, date] = {}
    for month in sorted(set(months.values()), key=lambda window: window.start):
        for _, day, totals in sums.cube_over_time(connection, month, "day", VERSIONS):
            for (version,), row in totals.rows():
                if row[0] and months.get(version) == month:
                    found.setdefault(version, day.start)
    return found


def of_versions(connection: Connection, versions: Collection[str], until: date) -> dict[str, date]:
    """Return the release day of each of `versions` that has a known one.

    A release that is in no list counts as released on the day of its first accepted request.
    Candidates and snapshots in no list have no day.
    """
    known = published(connection)
    found = {version: known[version] for version in versions if version in known}
    rest = {version for version in versions if version not in known and is_release(version)}
    return found | first_requested(connection, rest, until)


def supported_branches(days: Mapping[str, date], on: date) -> set[str]:
    """Return the two newest branches with a release on or before a day."""
    branches = {
        branch
        for version, day in days.items()
        if day <= on and is_release(version) and (branch := branch_of(version))
    }
    return set(sorted(branches, key=release_order)[-SUPPORTED_BRANCHES:])


def is_end_of_life(version: str, supported: Collection[str]) -> bool:
    """Return whether a version belongs to a branch that is older than the supported ones."""
    branch = branch_of(version)
    if branch is None or not supported:
        return False
    return release_order(branch) < min(map(release_order, supported))


def released_in(connection: Connection, window: Window) -> list[tuple[date, str]]:
    """Return the releases of a time range: day and version.

    Versions that are in no list are included, except those of the first day with any data, because
    they may be older.
    """
    known = published(connection)
    days = {version: day for version, day in known.items() if is_release(version)}
    rest = {
        version
        for version in floor.fold(requested(connection, window))
        if version not in known and is_release(version)
    }
    since = sums.first_day(connection)
    days |= {
        version: day
        for version, day in first_requested(connection, rest, window.end).items()
        if day != since
    }
    found = [(day, version) for version, day in days.items() if window.start <= day <= window.end]
    return sorted(found, key=lambda item: (item[0], release_order(item[1])))
