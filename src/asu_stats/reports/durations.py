"""Distributions of build durations from packed days."""

from typing import NamedTuple

import numpy as np

from asu_stats.reports.figures import Distribution, Distributions
from asu_stats.store.packs import Totals


class VersionDurations(NamedTuple):
    """Successful builds of one version: how many, their seconds together, and the median."""

    version: str
    builds: int
    total: int
    median: int


def all_durations(seconds: Totals) -> Distribution:
    """Return the durations of all successful builds of known duration."""
    values, codes = seconds.column(0)
    return Distribution.of(np.array(values, np.int64)[codes], seconds.sums[:, 0])


def by_version(durations: Totals) -> list[VersionDurations]:
    """Return the durations of each version that has any."""
    versions, codes = durations.column(0)
    seconds, second_codes = durations.column(1)
    order = durations.order(0, 1)
    lasted = np.array(seconds, np.int64)[second_codes[order]]
    found = Distributions(codes[order], lasted, durations.sums[order, 0])
    figures = zip(found.groups, found.builds(), found.totals(), found.medians(), strict=True)
    return [VersionDurations(versions[group], *of_group) for group, *of_group in figures]
