"""Builds per group and day, for the search for regressions.

Builds that one regression explains can be excluded from all groups.
"""

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from asu_stats.reports.insights import build_memory
from asu_stats.reports.insights.build_groups import PARTS, Group, Groups
from asu_stats.reports.insights.build_memory import DISTINCT, FAILED, Memory
from asu_stats.reports.insights.build_rows import build_sums
from asu_stats.reports.insights.failure_rows import Failures
from asu_stats.store.blocks.columns import Mask, numbered, total
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.rows import Rows
from asu_stats.store.rollups.definitions import UNTIMED


class Durations(NamedTuple):
    """Builds by seconds, ascending: those before a stretch, and those in it."""

    seconds: Ints
    before: Ints
    during: Ints


class BuildDays:
    """The builds of a time range per group and day. Day 0 is the first day of the time range.

    `sums` has the sums of each group up to before each day. They and the rows in `builds` and
    `failures` are without the builds that are excluded; what is remembered does not change.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.window = memory.window
        self.groups: Groups = memory.groups
        self.tests = memory.tests
        self.sums = memory.sums
        self._builds: Rows | None = None
        self._failures: Failures | None = None

    @property
    def builds(self) -> Rows:
        return self.memory.builds if self._builds is None else self._builds

    @property
    def failures(self) -> Failures:
        return self.memory.failures if self._failures is None else self._failures

    def day(self, day: int) -> date:
        """Return the date of a day number."""
        return self.window.start + timedelta(days=day)

    def of_days(self, place: int, what: int) -> Ints:
        """Return a sum of a group on each day."""
        found: Ints = np.diff(self.sums[what, place])
        return found

    def failed_in(self, group: Group, start: int, end: int) -> Failures:
        """Return the failed builds of a group from day `start` to before day `end`."""
        failures = self.failures
        return failures.where(self._mask(failures, group, start, end))

    def _mask(self, rows: Rows | Failures, group: Group, start: int, end: int) -> Mask:
        """Return which rows are of a group and its days. Rows are in the order of days."""
        first = self.window.start.toordinal()
        here = slice(*np.searchsorted(rows.day, (first + start, first + end)).tolist())
        found = np.zeros(len(rows), bool)
        found[here] = True
        for part, name in zip(PARTS[group.dimension], group.names, strict=True):
            found[here] &= rows.equal(part, name, here)
        return found

    def exclude(self, group: Group, start: int, end: int) -> set[int]:
        """Exclude the builds of a group, from day `start` to before day `end`, from all groups.

        Return the places of the groups that contained any of them.
        """
        builds, failures = self.builds, self.failures
        mask = self._mask(builds, group, start, end)
        gone, self._builds = builds.where(mask), builds.where(~mask)
        mask = self._mask(failures, group, start, end)
        changed = self.groups.touched(gone) | self.groups.touched(failures.where(mask))
        self._failures = failures.where(~mask)
        first = self.window.start.toordinal() + start
        columns = np.diff(self.sums[:, :, start : end + 1])
        for dimension in self.groups.members:
            places = self.groups.places_of(dimension, gone)
            here = places >= 0
            for sums, amount in zip(columns, build_sums(gone), strict=False):
                np.subtract.at(sums, (places[here], gone.day[here] - first), amount[here])
        if (place := self.groups.place(group)) is not None:
            columns[:, place] = 0
        mask = (self._failures.day >= first) & (self._failures.day < first + end - start)
        rest = self._failures.where(mask)
        columns[DISTINCT] = build_memory.distinct(self.groups, rest, columns[FAILED], first)
        if self.sums is self.memory.sums:
            self.sums = self.sums.copy()
        return changed | set(build_memory.put(self.sums, start, columns).tolist())

    def durations(self, group: Group, start: int, end: int) -> Durations:
        """Return the successful builds of a group by seconds, without excluded builds.

        Those before day `start`, and those from then to before day `end`.
        """
        rows = self.builds
        some = np.flatnonzero(self._mask(rows, group, 0, end))
        seconds, builds = rows.number("seconds")[some], rows.number("succeeded")[some]
        timed = seconds != UNTIMED
        some, seconds, builds = some[timed], seconds[timed], builds[timed]
        code, firsts = numbered(seconds)
        is_before = rows.day[some] < self.window.start.toordinal() + start
        before, during = (
            total(code[part], len(firsts), builds[part]) for part in (is_before, ~is_before)
        )
        return Durations(seconds[firsts], before, during)
