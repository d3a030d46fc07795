"""How many requests name all their packages (`diff_packages`), and how many only further ones."""

from collections import defaultdict
from datetime import date

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import DiffPackagesReport
from asu_stats.store.rollups import DAILY, VERSION_TARGET
from asu_stats.windows import MAX_BUCKETS, Window


def read(connection: Connection, window: Window) -> DiffPackagesReport:
    """Return the split over all, per version and per day; days are all there up to 10,000."""
    days: dict[date, tuple[int, int]] = {
        row.date: (int(row.diff_packages_true), int(row.diff_packages_false))
        for row in sums.rows(connection, DAILY, ("date",), window)
    }
    versions: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in sums.rows(connection, VERSION_TARGET, ("version",), window):
        versions[row.version] = int(row.diff_packages_true), int(row.diff_packages_false)
    order = sorted(versions.items(), key=lambda item: (-sum(item[1]), item[0]))
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
                "total": sum(split),
                "enabled": split[0],
                "disabled": split[1],
                "percentage_enabled": figures.rate(split[0], sum(split)),
            }
            for version, split in order
            if any(split)
        ],
        "trend": [
            {
                "date": day.isoformat(),
                "enabled": split[0],
                "disabled": split[1],
                "percentage_enabled": figures.rate(split[0], sum(split)),
            }
            for day in shown
            for split in (days.get(day, (0, 0)),)
        ],
    }
