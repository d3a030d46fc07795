"""How many requests name all their packages (`diff_packages`), and how many only further ones."""

from typing import NamedTuple

from sqlalchemy import Connection

from asu_stats.reports import figures, sums
from asu_stats.reports.answers import DiffPackagesReport
from asu_stats.store.packs import VERSIONS
from asu_stats.windows import MAX_BUCKETS, Window

_DAY = ("total_requests", "diff_packages_true", "diff_packages_false")
_VERSION = ("request_count", "diff_packages_true", "diff_packages_false")
_PLACES = tuple(VERSIONS.place(add) for add in _VERSION)


class Split(NamedTuple):
    """Accepted requests, and those with and without diff_packages; of imported ones not all say."""

    total: int
    enabled: int
    disabled: int

    @property
    def unknown(self) -> int:
        """Those that don't say."""
        return self.total - self.enabled - self.disabled

    @property
    def percentage(self) -> float | None:
        """Percentage with it of those that say."""
        return figures.rate(self.enabled, self.enabled + self.disabled)


def read(connection: Connection, window: Window) -> DiffPackagesReport:
    """Return the split over all, per version and per day; days are all there up to 10,000."""
    days = {
        day: Split(*map(int, amounts)) for day, *amounts in sums.days(connection, window, *_DAY)
    }
    (by_version,) = sums.cubes(connection, window, VERSIONS)
    versions = [
        (version, Split(*(row[place] for place in _PLACES)))
        for (version,), row in by_version.rows()
    ]
    versions.sort(key=lambda item: (-item[1].total, item[0]))
    shown = window if window.days <= MAX_BUCKETS else sorted(days)
    nothing = Split(0, 0, 0)
    everything = Split(*(sum(column) for column in zip(nothing, *days.values(), strict=True)))
    return {
        "overview": {
            "total_builds": everything.total,
            "diff_packages_enabled": everything.enabled,
            "diff_packages_disabled": everything.disabled,
            "diff_packages_unknown": everything.unknown,
            "percentage_enabled": everything.percentage,
        },
        "by_version": [
            {
                "version": version,
                "total": split.total,
                "enabled": split.enabled,
                "disabled": split.disabled,
                "unknown": split.unknown,
                "percentage_enabled": split.percentage,
            }
            for version, split in versions
            if split.total
        ],
        "trend": [
            {
                "date": day.isoformat(),
                "enabled": split.enabled,
                "disabled": split.disabled,
                "unknown": split.unknown,
                "percentage_enabled": split.percentage,
            }
            for day in shown
            for split in (days.get(day, nothing),)
        ],
    }
