"""Responses of the Go server's endpoints, from `stats_legacy`.

That server looked back N times 24 hours from now. Here N is UTC days including today, so the oldest
day is complete. Members of objects are sorted by name, as that server wrote them.
"""

import operator
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Connection, Row
from typing_extensions import TypedDict

from asu_stats.events import UNKNOWN
from asu_stats.legacy.names import fold
from asu_stats.reports import floor, sums
from asu_stats.store.rollups.definitions import LEGACY
from asu_stats.windows import Window

# Number of events by kind. Kinds without events are left out.
Kinds = dict[str, int]
Sums = Counter[str]
_KINDS = ("build_completed", "cache_hit", "failure", "request")


class DiffPackages(TypedDict):
    """Requests and successful builds together, by diff_packages, which may be unknown."""

    total_builds: Annotated[int, Field(description="Requests and successful builds together.")]
    diff_packages_true: Annotated[
        int, Field(description="Requests and successful builds with `diff_packages`.")
    ]
    diff_packages_false: Annotated[
        int, Field(description="Requests and successful builds without `diff_packages`.")
    ]
    percentage_true: Annotated[
        float, Field(description="Percent with `diff_packages`; 0 over nothing.")
    ]
    percentage_false: Annotated[
        float, Field(description="Percent without `diff_packages`; 0 over nothing.")
    ]


class VersionDiffPackages(TypedDict):
    """`DiffPackages` of one version."""

    version: Annotated[str, Field(description="OpenWrt version, or `SNAPSHOT`.")]
    total_builds: Annotated[int, Field(description="Requests and successful builds together.")]
    diff_packages_true: Annotated[
        int, Field(description="Requests and successful builds with `diff_packages`.")
    ]
    diff_packages_false: Annotated[
        int, Field(description="Requests and successful builds without `diff_packages`.")
    ]
    percentage_true: Annotated[
        float, Field(description="Percent with `diff_packages`; 0 over nothing.")
    ]


class DayDiffPackages(TypedDict):
    """`DiffPackages` of one UTC day."""

    date: Annotated[str, Field(description="UTC day, YYYY-MM-DD.")]
    diff_packages_true: Annotated[
        int, Field(description="Requests and successful builds with `diff_packages`.")
    ]
    diff_packages_false: Annotated[
        int, Field(description="Requests and successful builds without `diff_packages`.")
    ]
    total: Annotated[int, Field(description="Requests and successful builds together.")]


def builds_per_day(connection: Connection, window: Window) -> dict[str, Kinds]:
    """Return the events of each day with any."""
    rows = sums.rows(connection, LEGACY, ("date",), window)
    return _kinds({row.date.isoformat(): _sums(row) for row in rows})


def builds_by_version(connection: Connection, window: Window) -> dict[str, Kinds]:
    """Return the events of each version. Events without a version are left out."""
    return _kinds(_versions(connection, window))


def diff_packages(connection: Connection, window: Window) -> DiffPackages:
    """Return the totals by diff_packages, including events without a version."""
    (row,) = sums.rows(connection, LEGACY, (), window)
    total, enabled, disabled = _split(_sums(row))
    return {
        "total_builds": total,
        "diff_packages_true": enabled,
        "diff_packages_false": disabled,
        "percentage_true": _percentage(enabled, total),
        "percentage_false": _percentage(disabled, total),
    }


def diff_packages_by_version(
    connection: Connection, window: Window
) -> list[VersionDiffPackages] | None:
    """Return the counts per version, versions descending as text; `None` without data."""
    found = {name: _split(added) for name, added in _versions(connection, window).items()}
    rows: list[VersionDiffPackages] = [
        {
            "version": version,
            "total_builds": total,
            "diff_packages_true": enabled,
            "diff_packages_false": disabled,
            "percentage_true": _percentage(enabled, total),
        }
        for version, (total, enabled, disabled) in sorted(found.items(), reverse=True)
        if total
    ]
    return rows or None


def diff_packages_trend(connection: Connection, window: Window) -> list[DayDiffPackages] | None:
    """Return the counts per day, newest first; `None` without data."""
    found = {
        row.date: _split(_sums(row)) for row in sums.rows(connection, LEGACY, ("date",), window)
    }
    rows: list[DayDiffPackages] = [
        {
            "date": day.isoformat(),
            "diff_packages_true": enabled,
            "diff_packages_false": disabled,
            "total": total,
        }
        for day, (total, enabled, disabled) in sorted(found.items(), reverse=True)
        if total
    ]
    return rows or None


def _versions(connection: Connection, window: Window) -> dict[str, Sums]:
    """Return the sums of each version that is known.

    Versions below the public floor, and all beyond the first 1,000, are `other`.
    """
    names = floor.Visible(connection, window)
    found: dict[str, Sums] = defaultdict(Counter)
    for row in sums.rows(connection, LEGACY, ("version",), window):
        if row.version != UNKNOWN:
            found[names.shown("version", row.version)] += _sums(row)
    return fold(found, Counter.total, operator.add)


def _sums(row: Row[Any]) -> Sums:
    return Counter({add: int(getattr(row, add) or 0) for add in LEGACY.adds})


def _kinds(rows: Mapping[str, Sums]) -> dict[str, Kinds]:
    found = {
        name: {kind: added[kind] for kind in _KINDS if added[kind]} for name, added in rows.items()
    }
    return {name: kinds for name, kinds in sorted(found.items()) if kinds}


def _split(added: Sums) -> tuple[int, int, int]:
    """Return the total, and the counts with and without diff_packages."""
    total = added["request"] + added["build_completed"]
    return total, added["diff_packages_true"], added["diff_packages_false"]


def _percentage(part: int, whole: int) -> float:
    """Return a percentage in the format of that server: not rounded, 0 over 0, `70` not `70.0`."""
    value = part / whole * 100 if whole else 0.0
    return int(value) if value.is_integer() else value
