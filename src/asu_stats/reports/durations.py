"""Distributions of build durations from packed days."""

from typing import NamedTuple

from asu_stats.reports.figures import Distribution, Distributions
from asu_stats.store.blocks.codec import Totals


class VersionDurations(NamedTuple):
    """Successful builds of one version: how many, their seconds together, and the median."""

    version: str
    builds: int
    total: int
    median: int


def all_durations(seconds: Totals) -> Distribution:
    """Return the durations of all successful builds of known duration."""
    return Distribution.of(*seconds.spread(0))


def of_version(durations: Totals, version: str | None) -> Distribution:
    """Return the durations by version of one version, or the durations of all if it is `None`."""
    if version is None:
        return all_durations(durations)
    return Distribution.of(*durations.spread(1, {0: version}))


def durations_by_version(durations: Totals) -> list[VersionDurations]:
    """Return the durations of each version that has any."""
    groups, counts = durations.grouped()
    found = Distributions(groups.starts, groups.tails, counts)
    columns = (found.builds().tolist(), found.totals().tolist(), found.medians().tolist())
    return [
        VersionDurations(version, builds, total, median)
        for (version,), builds, total, median in zip(groups.heads, *columns, strict=True)
        if builds
    ]
