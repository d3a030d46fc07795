"""The searches for regressions in success rates and in durations: see `regressions`."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np

from asu_stats.chance import fisher
from asu_stats.reports import figures
from asu_stats.reports.insights import change_points
from asu_stats.reports.insights.build_days import BuildDays
from asu_stats.reports.insights.build_groups import ALL as ALL_BUILDS
from asu_stats.reports.insights.build_groups import DIMENSIONS, Group
from asu_stats.reports.insights.build_memory import DISTINCT, ENDED, FAILED, SECONDS, TIMED
from asu_stats.reports.insights.change_points import Candidates, Floats, Stretch
from asu_stats.store.blocks.columns import numbered
from asu_stats.store.blocks.keys import Ints

Measure = Literal["success_rate", "duration"]
P: Final = 0.01
_MIN_WITHIN: Final = 0.5  # smallest part of a change that a changed mix of builds does not explain
_MIN_STRENGTH: Final = 6.0  # below it nothing is significant
_REST_STRENGTH: Final = 3.3  # corresponds to a p-value of about 0.01
_MIN_VARIATION: Final = 0.1
_MEASURES: Final = 2
CHANCE: Final = 0.62  # √(2π · 4 / 64) = 0.626
_MARGIN: Final = 0.01  # for rounding
_SEARCHED: Final = 0.9  # of the least strength, so that what is found lasts if that decreases
_LEAST: Final = 1 - 1e-6  # for rounding of a bound


class Search(ABC):
    """The search for regressions of one measure.

    What the last search found is remembered: only groups that changed since are searched again.
    """

    measure: Measure

    def __init__(self, days: BuildDays) -> None:
        self.days = days
        self.groups = days.groups
        self._found = days.memory.found(self.measure)
        self.tests = len(DIMENSIONS) * _MEASURES * change_points.stretches(days.window.days)
        self._search()

    def update(self, changed: set[int]) -> None:
        """Search again in groups some of whose builds were excluded."""
        self._found = self._found.without(changed)
        self._search()

    def _search(self) -> None:
        """Search in groups of which nothing is known, or too little."""
        self._least, found = self.least_strength(), self._found
        places = np.flatnonzero(found.stale | (self._least < found.least))
        least = _SEARCHED * self._least[places]
        new = self.search(places, least)
        for known, here in zip((*found.candidates, found.least), (*new, least), strict=True):
            known[places] = here
        found.stale[places] = False

    def ranked(self) -> Iterator[tuple[Group, Stretch]]:
        """Yield the groups that may have a regression, the strongest first, and the stretches."""
        strengths = self._found.candidates.strength
        strong = np.flatnonzero(strengths >= self._least).tolist()
        groups = {place: self.groups.group(place) for place in strong}
        order = sorted(
            (-float(f"{strengths[place]:.6g}"), _order(group), place)
            for place, group in groups.items()
        )
        for _, _, place in order:
            group = groups[place]
            stretch = self.stretch(group)
            if stretch is not None:
                yield group, stretch

    def stretch(self, group: Group) -> Stretch | None:
        """Return the stretch that differs most from the days before it, or `None`."""
        place = self.groups.place(group)
        if place is None:
            return None
        if place not in self._found.stretches:
            self._found.stretches[place] = self._stretch(place)
        return self._found.stretches[place]

    def _stretch(self, place: int) -> Stretch | None:
        strength, start, end = (each[place] for each in self._found.candidates)
        if strength < self._least[place]:  # a weaker stretch may not be the strongest of all
            found = self.search(np.array([place]), np.zeros(1))
            strength, start, end = (each[0] for each in found)
        if strength < 0:
            return None
        found_here = Stretch(int(start), int(end), float(strength))
        of, bad = (np.diff(each).tolist() for each in self.up_to(place))
        return self.lasting(found_here, of, bad)

    def least_strength(self) -> Floats:
        """Return for each group a strength below which nothing is significant."""
        return np.full(self.groups.size, _MIN_STRENGTH)

    def _place(self, group: Group) -> int:
        place = self.groups.place(group)
        assert place is not None  # noqa: S101 - it has a stretch
        return place

    def _between(self, group: Group, start: int, end: int) -> Ints:
        sums = self.days.sums[:, self._place(group)]
        found: Ints = sums[:, end] - sums[:, start]
        return found

    def average(self, group: Group, start: int, end: int) -> tuple[float, int]:
        """Return failures or seconds per build from day `start` to before `end`, and the builds."""
        bad, builds = self.sums(group, start, end)
        return (bad / builds if builds else 0.0), builds

    def sums(self, group: Group, start: int, end: int) -> tuple[int, int]:
        """Return failures or seconds from day `start` to before `end`, and the builds."""
        builds, bad = self.up_to((self._place(group), [start, end]))
        return int(bad[1] - bad[0]), int(builds[1] - builds[0])

    def rest(self, broader: Group, group: Group, start: int, end: int) -> tuple[int, int]:
        """Return the same of the builds of `broader` that are not in `group`."""
        outer, inner = self.sums(broader, start, end), self.sums(group, start, end)
        return outer[0] - inner[0], outer[1] - inner[1]

    def mix_factor(self, group: Group, stretch: Stretch) -> float:
        """Return the factor by which the changed mix of versions and targets raises the average.

        Profiles and workers have the mix of all builds: sums by profile or worker and version do
        not exist.
        """
        if group.dimension == "version_target":
            return 1.0
        start, end = stretch.days
        mixed = ALL_BUILDS if group.dimension in {"profile", "worker"} else group
        average, _ = self.average(mixed, 0, start)
        _, all_builds = self.average(mixed, start, end)
        cells = self.groups.cells(mixed)
        before, bad = self.up_to((cells, start))
        some = before >= change_points.MIN_COUNT
        cells, before, bad = cells[some], before[some], bad[some]
        builds = self.up_to((cells, end))[0] - before
        unmixed = all_builds * average
        # Exact, so that the order of the groups does not matter.
        expected = unmixed + math.fsum((builds * (bad / before - average)).tolist())
        return expected / unmixed if unmixed and expected else 1.0

    def p_value(self, group: Group) -> float:
        """Return the p-value of the stretch of a group, without Bonferroni's correction."""
        place, stretch = self._place(group), self.stretch(group)
        assert stretch is not None  # noqa: S101 - it is tested
        if place not in self._found.p_values:
            self._found.p_values[place] = self.tested(group, stretch)
        return self._found.p_values[place]

    @abstractmethod
    def up_to(self, index: Any) -> tuple[Ints, Ints]:
        """Return sums up to days: builds, and those that failed, or seconds."""

    @abstractmethod
    def search(self, places: Ints, least: Floats) -> Candidates:
        """Return the stretches of groups that differ most from the days before them.

        Where none has the `least` strength, it may be any stretch, or none.
        """

    @abstractmethod
    def lasting(self, found: Stretch, of: Sequence[int], bad: Sequence[int]) -> Stretch:
        """Extend a stretch to the last day, unless the former level returns after it."""

    @abstractmethod
    def is_within(self, group: Group, stretch: Stretch) -> bool:
        """Return whether builds of the same version and target got worse.

        The alternative is that builds that always were worse became more common.
        """

    @abstractmethod
    def tested(self, group: Group, stretch: Stretch) -> float:
        """Return the p-value of a stretch, from the rows of its builds."""

    @abstractmethod
    def least_p_value(self, group: Group, stretch: Stretch) -> float:
        """Return a lower bound of the p-value, which needs no rows of builds."""

    @abstractmethod
    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        """Return whether the builds of `broader` that are not in `group` got worse too."""

    @abstractmethod
    def figure(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        """Return the success rate or average duration as shown, and the number of builds."""

    @abstractmethod
    def fingerprint(self, group: Group, stretch: Stretch, /) -> str | None:
        """Return the fingerprint of most of the added failures, or `None`."""


class RateSearch(Search):
    """The search in success rates. The failures of one request on a day count once."""

    measure: Measure = "success_rate"

    def up_to(self, index: Any) -> tuple[Ints, Ints]:
        ended, failed, bad = (self.days.sums[each][index] for each in (ENDED, FAILED, DISTINCT))
        return ended - failed + bad, bad

    def search(self, places: Ints, least: Floats) -> Candidates:
        return change_points.failure_rises(*self.up_to(places), least)

    def least_strength(self) -> Floats:
        """Return for each group a strength below which Fisher's test finds nothing significant.

        Its p-value is at least the chance of exactly these failures. By Stirling's formula, that is
        at least 0.62 / √failures times the likelihood ratio.
        """
        tests = np.repeat(
            [float(self.tests * self.days.tests[each]) for each in self.groups.members],
            [of.size for of in self.groups.members.values()],
        )
        chance = CHANCE / np.sqrt(np.maximum(self.days.sums[DISTINCT, :, -1], 1))
        found: Floats = np.log(np.maximum(tests, 1) * chance / P) - _MARGIN
        return np.maximum(found, _MIN_STRENGTH)

    def lasting(self, found: Stretch, of: Sequence[int], bad: Sequence[int]) -> Stretch:
        return change_points.lasting_rise(found, of, bad)

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        before, _ = self.average(group, 0, stretch.start)
        during, _ = self.average(group, *stretch.days)
        mix = self.mix_factor(group, stretch)
        return during - before * mix >= _MIN_WITHIN * (during - before)

    def tested(self, group: Group, stretch: Stretch) -> float:
        rows = self.days.failed_in(group, *stretch.days)
        requests = len(numbered(rows.request)[1])
        repeated = len(numbered(rows.day, rows.request)[1]) - requests
        failures, builds = self.sums(group, *stretch.days)
        if failures - repeated < change_points.MIN_COUNT:
            return 1.0
        others = self.sums(group, 0, stretch.start)
        return fisher(failures - repeated, builds - repeated, *others)

    def least_p_value(self, group: Group, stretch: Stretch) -> float:
        """Count each failure: fewer of them have a larger p-value."""
        during, before = self.sums(group, *stretch.days), self.sums(group, 0, stretch.start)
        return _LEAST * fisher(*during, *before)

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        failures, builds = self.rest(broader, group, *stretch.days)
        failures_before, builds_before = self.rest(broader, group, 0, stretch.start)
        if builds < change_points.MIN_COUNT or builds_before < change_points.MIN_COUNT:
            return False
        change = failures / builds - failures_before / builds_before
        return (
            change >= change_points.MIN_POINTS / 2
            and fisher(failures, builds, failures_before, builds_before) < P
        )

    def figure(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        ended, failed = self._between(group, start, end)[[ENDED, FAILED]].tolist()
        return figures.rate(ended - failed, ended), ended

    def fingerprint(self, group: Group, stretch: Stretch) -> str | None:
        during, before = (
            self._by_fingerprint(group, start, end)
            for start, end in (stretch.days, (0, stretch.start))
        )
        failed, ended = self.sums(group, *stretch.days)
        failed_before, ended_before = self.sums(group, 0, stretch.start)
        share = ended / max(1, ended_before)
        added = {name: count - before[name] * share for name, count in during.items() if name}
        total = failed - failed_before * share
        largest = max(added, key=lambda name: (added[name], name), default=None)
        if largest and added[largest] > 0 and added[largest] >= total / 2:
            return largest
        return None

    def _by_fingerprint(self, group: Group, start: int, end: int) -> Counter[str]:
        """Return the failing requests per fingerprint; a request counts once a day."""
        rows = self.days.failed_in(group, start, end)
        fingerprints = rows.name("fingerprint")
        day = rows.day - self.days.window.start.toordinal()
        _, firsts = numbered(day, fingerprints.codes, rows.request)
        return Counter(fingerprints.of(firsts))


class DurationSearch(Search):
    """The search in average durations of successful builds.

    `variation` is the coefficient of variation of all durations. It changes with every build, so
    strengths are searched as if it was 1.
    """

    measure: Measure = "duration"

    def __init__(self, days: BuildDays, variation: float) -> None:
        self._variation = max(variation, _MIN_VARIATION)
        super().__init__(days)

    def up_to(self, index: Any) -> tuple[Ints, Ints]:
        return self.days.sums[TIMED][index], self.days.sums[SECONDS][index]

    def search(self, places: Ints, least: Floats) -> Candidates:
        return change_points.slowdowns(*self.up_to(places), 1.0, least)

    def least_strength(self) -> Floats:
        return super().least_strength() * self._variation**2

    def lasting(self, found: Stretch, of: Sequence[int], bad: Sequence[int]) -> Stretch:
        return change_points.lasting_slowdown(found, of, bad)

    def is_within(self, group: Group, stretch: Stretch) -> bool:
        before, _ = self.average(group, 0, stretch.start)
        during, _ = self.average(group, *stretch.days)
        change = math.log(during / before)
        return change - math.log(self.mix_factor(group, stretch)) >= _MIN_WITHIN * change

    def tested(self, group: Group, stretch: Stretch) -> float:
        durations = self.days.durations(group, *stretch.days)
        return change_points.slowdown_p_value(durations.before, durations.during)

    def least_p_value(self, group: Group, stretch: Stretch) -> float:
        _, builds = self.sums(group, *stretch.days)
        _, before = self.sums(group, 0, stretch.start)
        return _LEAST * change_points.least_slowdown_p_value(before, builds)

    def rest_changed(self, broader: Group, group: Group, stretch: Stretch) -> bool:
        seconds, builds = self.rest(broader, group, *stretch.days)
        seconds_before, builds_before = self.rest(broader, group, 0, stretch.start)
        if builds < change_points.MIN_COUNT or builds_before < change_points.MIN_COUNT:
            return False
        if not seconds_before:
            return False
        ratio = seconds / builds / (seconds_before / builds_before)
        if ratio < math.sqrt(change_points.MIN_RATIO):
            return False
        strength = change_points.strength(ratio, builds, builds_before, self._variation)
        return bool(strength >= _REST_STRENGTH)

    def figure(self, group: Group, start: int, end: int) -> tuple[float | None, int]:
        builds, seconds = self._between(group, start, end)[[TIMED, SECONDS]].tolist()
        return figures.average(seconds, builds), builds

    def fingerprint(self, _group: Group, _stretch: Stretch, /) -> str | None:
        return None


def _order(group: Group) -> tuple[int, tuple[str, ...]]:
    return DIMENSIONS.index(group.dimension), group.names
