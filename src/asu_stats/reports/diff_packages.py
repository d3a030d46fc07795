"""How many requests name all their packages (`diff_packages`), and how many only further ones."""

from datetime import date

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import DiffPackagesReport
from asu_stats.store.packs import VERSIONS
from asu_stats.windows import MAX_BUCKETS, Window

_ADDS = ("diff_packages_true", "diff_packages_false")
_PLACES = tuple(VERSIONS.place(add) for add in _ADDS)


def read(connection: Connection, window: Window) -> DiffPackagesReport:
    """Return the split over all, per version and per day; days are all there up to 10,000."""
    days: dict[date, tuple[int, int]] = {
        day: (int(on), int(off)) for day, on, off in sums.days(connection, window, *_ADDS)
    }
    (by_version,) = sums.cubes(connection, window, VERSIONS)
    versions = [
        (version, (row[_PLACES[0]], row[_PLACES[1]])) for (version,), row in by_version.rows()
    ]
    versions.sort(key=lambda item: (-sum(item[1]), item[0]))
    shown = window if window.days <= MAX_BUCKETS else sorted(days)
    enabled = sum(split[0] for split in days.values())
    disabled = sum(split[1] for split in days.values())
    return {
        "overview": {
            "total_builds": enabled + disabled,
            "diff_packages_enabled": enabled,
            "diff_packages_disabled": disabled,
            "percentage_enabled": figures.rate(enabled, enabled + disabled),
        },
        "by_version": [
            {
                "version": version,
                "total": on + off,
                "enabled": on,
                "disabled": off,
                "percentage_enabled": figures.rate(on, on + off),
            }
            for version, (on, off) in versions
            if on or off
        ],
        "trend": [
            {
                "date": day.isoformat(),
                "enabled": on,
                "disabled": off,
                "percentage_enabled": figures.rate(on, on + off),
            }
            for day in shown
            for on, off in (days.get(day, (0, 0)),)
        ],
    }
