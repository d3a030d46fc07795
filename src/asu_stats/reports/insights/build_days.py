"""Builds per group and day, for the search for regressions.

A group is all builds, or the builds of a version, a target, both, a profile or a worker. Builds
that one regression explains can be excluded from all groups.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from sqlalchemy import Connection, Date, Select, bindparam, case, func, select

from asu_stats.events import UNKNOWN
from asu_stats.reports.insights import failure_rows
from asu_stats.reports.insights.failure_rows import Failures
from asu_stats.store.blocks import rows as day_rows
from asu_stats.store.blocks.columns import Mask, Names, numbered, total
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.rows import DayRows, Rows
from asu_stats.store.database.dialects import Row
from asu_stats.store.rollups.definitions import ATTEMPTS, PROFILES, UNTIMED, VERSION_TARGET, Rollup
from asu_stats.store.rollups.names import name_numbers
from asu_stats.windows import Window

Dimension = Literal["all", "version", "target", "version_target", "profile", "worker"]
DIMENSIONS: Final[tuple[Dimension, ...]] = (
    *("all", "version", "target", "version_target", "profile", "worker"),
)


class Group(NamedTuple):
    """A dimension and its names, such as `version_target` with a version and a target."""

    dimension: Dimension
    names: tuple[str, ...]

    def broader(self) -> "list[Group]":
        """Return the groups that contain this group, the broadest first."""
        if self.dimension == "all":
            return []
        if self.dimension != "version_target":
            return [ALL]
        version, target = self.names
        return [ALL, Group("version", (version,)), Group("target", (target,))]


ALL: Final = Group("all", ())
ENDED, FAILED, TIMED, SECONDS = range(4)  # sums per group and day
_SUMS: Final = ("success_count", "failure_count", "timed_builds", "build_time_seconds")
_PARTS: Final[dict[Dimension, tuple[str, ...]]] = {
    "all": (),
    "version": ("version",),
    "target": ("target",),
    "version_target": ("version", "target"),
    "profile": ("profile",),
    "worker": ("worker",),
}


def _of_rollup(rollup: Rollup, *by: str) -> DayRows:
    """Declare the builds of a day in a rollup, by some names."""
    t = rollup.table.c
    ended = (t.success_count != 0) | (t.failure_count != 0)
    of_day = (
        select(*(t[name] for name in by), *(func.sum(t[name]) for name in _SUMS))
        .where(t.date == bindparam("day", type_=Date), ended)
        .group_by(*(t[name] for name in by))
    )
    return DayRows(of_day, by, _SUMS, lambda row: row)


def _attempts() -> Select[Any]:
    """Select the builds of a day by device, worker and seconds."""
    t, device, worker = ATTEMPTS.table, name_numbers.alias("device"), name_numbers.alias("worker")
    sums = func.sum(t.c.successful_builds), func.sum(t.c.failed_builds)
    by = t.c.device, t.c.worker, t.c.seconds
    grouped = (
        select(*by, *(each.label(name) for each, name in zip(sums, ("good", "bad"), strict=True)))
        .where(t.c.date == bindparam("day", type_=Date))
        .group_by(*by)
        .subquery()
    )
    found = grouped.c
    source = grouped.outerjoin(device, device.c.number == found.device)
    source = source.outerjoin(worker, worker.c.number == found.worker)
    columns = device.c.names, worker.c.names, found.seconds, found.good, found.bad
    return select(*columns).select_from(source)


def _split(row: Row) -> Sequence[Any]:
    device, worker, *numbers = row
    return (*(device or (UNKNOWN,) * 3), *(worker or (UNKNOWN,)), *numbers)


def _by_worker() -> Select[Any]:
    """Select the builds of a day by worker."""
    t, worker = ATTEMPTS.table.c, name_numbers.alias("worker")
    timed = case((t.seconds != UNTIMED, t.successful_builds), else_=0)
    sums = t.successful_builds, t.failed_builds, timed, timed * t.seconds
    found = (
        select(t.worker, *(func.sum(of).label(name) for of, name in zip(sums, _SUMS, strict=True)))
        .where(t.date == bindparam("day", type_=Date))
        .group_by(t.worker)
        .subquery()
    )
    source = found.outerjoin(worker, worker.c.number == found.c.worker)
    return select(worker.c.names, *(found.c[name] for name in _SUMS)).select_from(source)


_CELLS: Final = _of_rollup(VERSION_TARGET, "version", "target")
_PROFILES: Final = _of_rollup(PROFILES, "profile")
_WORKERS: Final = DayRows(
    _by_worker(), ("worker",), _SUMS, lambda row: (*(row[0] or (UNKNOWN,)), *row[1:])
)
_BUILDS: Final = DayRows(
    _attempts(),
    ("version", "target", "profile", "worker"),
    ("seconds", "succeeded", "failed"),
    _split,
)


class Durations(NamedTuple):
    """Builds by seconds, ascending: those before a stretch, and those in it."""

    seconds: Ints
    before: Ints
    during: Ints


Totals = Callable[[int], Ints]  # a sum over all days of each group
# Their groups have one row a day.
_ONE_ROW: Final[frozenset[Dimension]] = frozenset({"version_target", "profile"})


@dataclass(frozen=True, slots=True)
class Members:
    """The groups of a dimension, by the parts of their names. The first has the place `first`."""

    first: int
    size: int
    parts: Sequence[Names]

    def group(self, dimension: Dimension, number: int) -> Group:
        """Return the group with a number, counted from the first."""
        return Group(dimension, tuple(part.values[part.codes[number]] for part in self.parts))

    def number(self, names: Sequence[str]) -> int | None:
        """Return the number of a group, `None` if there is none."""
        here = np.ones(self.size, bool)
        for part, name in zip(self.parts, names, strict=True):
            here &= part.equal(name)
        found = np.flatnonzero(here)
        return int(found[0]) if len(found) else None

    def places_of(self, columns: Sequence[Names]) -> Ints:
        """Return the place of the group that each row of `columns` is in, -1 if there is none."""
        found, keys = np.zeros(0, np.int64), np.zeros(self.size, np.int64)
        size = 1
        for part, column in zip(self.parts, columns, strict=True):
            codes = column.places()
            width = len(column.values) + 1  # the last code is that of names without rows
            known = np.array([codes.get(name, width - 1) for name in part.values], np.int64)
            keys = keys * width + known[part.codes]
            found = found * width + column.codes if size > 1 else column.codes
            size *= width
        table = np.full(size, -1)
        table[keys] = self.first + np.arange(self.size)
        places: Ints = table[found]
        return places


@dataclass(slots=True)
class BuildDays:
    """The builds of a time range per group and day. Day 0 is the first day of the time range.

    Groups have places from 0. `counts` has the sums of each group and day, `tests` the number of
    groups with builds of each dimension. `builds` and `failures` are the rows that are not
    excluded.
    """

    window: Window
    members: Mapping[Dimension, Members]
    tests: Counter[Dimension]
    counts: Ints
    builds: Rows
    failures: Failures
    _places: dict[Group, int | None] = field(default_factory=dict)

    @staticmethod
    def send(connection: Connection, window: Window) -> None:
        """Ask for what `read` needs, and do not wait for it."""
        for of in (_CELLS, _PROFILES, _WORKERS, _BUILDS):
            day_rows.send(connection, window.start, window.end, of)
        failure_rows.send(connection, window)

    @classmethod
    def read(
        cls,
        connection: Connection,
        window: Window,
        keep: Callable[[Dimension, Totals], Mask | None] | None = None,
    ) -> Self:
        """Read the builds of a time range.

        `keep` tells which groups of a dimension to keep, from their sums over all days; `None`
        keeps all.
        """
        cells, profiles, workers, builds = (
            day_rows.read(connection, window.start, window.end, of)
            for of in (_CELLS, _PROFILES, _WORKERS, _BUILDS)
        )
        failures = failure_rows.read(connection, window, {})
        failures = failures.where(failures.number("failed_builds") != 0)
        tests: Counter[Dimension] = Counter()
        kept_groups: list[tuple[Rows, Ints, Ints, Mask]] = []
        sources: dict[Dimension, tuple[Rows, Ints]] = dict.fromkeys(
            DIMENSIONS[:4], (cells, _rollup_sums(cells))
        )
        sources["profile"] = profiles, _rollup_sums(profiles)
        sources["worker"] = workers, _rollup_sums(workers)
        members: dict[Dimension, Members] = {}
        first = 0
        for dimension, (rows, amounts) in sources.items():
            parts = [rows.name(part) for part in _PARTS[dimension]]
            group, firsts = numbered(*(part.codes for part in parts), np.zeros(len(rows), np.int64))
            known = np.ones(len(firsts), bool)
            for part in parts:
                known &= ~part.where(firsts).equal(UNKNOWN)
            tests[dimension] += int(known.sum())
            of_group = partial(_total_of, amounts, group, len(firsts))
            if keep is not None and (wanted := keep(dimension, of_group)) is not None:
                known &= wanted
            kept = firsts[known]
            members[dimension] = Members(first, len(kept), [part.where(kept) for part in parts])
            kept_groups.append((rows, amounts, group, known))
            first += len(kept)
        counts = np.zeros((len(_SUMS), first, window.days), np.int64)
        for (dimension, of), each in zip(members.items(), kept_groups, strict=True):
            count = _set if dimension in _ONE_ROW else _count
            count(counts[:, of.first : of.first + of.size], window, *each)
        return cls(window, members, tests, counts, builds, failures)

    def copy(self) -> "BuildDays":
        """Return a copy with exclusions of its own."""
        return replace(self)

    @property
    def size(self) -> int:
        """The number of groups."""
        return int(self.counts.shape[1])

    def group(self, place: int) -> Group:
        """Return the group at a place."""
        for dimension, of in self.members.items():
            if place < of.first + of.size:
                return of.group(dimension, place - of.first)
        raise IndexError(place)

    def place(self, group: Group) -> int | None:
        """Return the place of a group, `None` if it has no builds."""
        if group not in self._places:
            of = self.members[group.dimension]
            number = of.number(group.names)
            self._places[group] = None if number is None else of.first + number
        return self._places[group]

    def cells(self, group: Group) -> Ints:
        """Return the places of the `version_target` groups that a broader group consists of."""
        of = self.members["version_target"]
        if group == ALL:
            return np.arange(of.first, of.first + of.size)
        part = of.parts[_PARTS["version_target"].index(group.dimension)]
        return of.first + np.flatnonzero(part.equal(group.names[0]))

    def day(self, day: int) -> date:
        """Return the date of a day number."""
        return self.window.start + timedelta(days=day)

    def distinct_failures(self) -> Ints:
        """Return the failed builds per group and day; the builds of one request count once a day.

        Days from before `stats_failures` existed have no rows there: each of their failures counts.
        """
        failures, days = self.failures, self.window.days
        day = failures.day - self.window.start.toordinal()
        same, _ = numbered(day, failures.request)
        once = np.bincount(same)[same] == 1
        place = np.stack([self._places_of(dimension, failures) for dimension in DIMENSIONS])
        known = place >= 0
        cells = (place * days + day)[known]
        once, same, builds = (
            np.broadcast_to(of, place.shape)[known]
            for of in (once, same, failures.number("failed_builds"))
        )
        # Few groups have failures on a day: only these cells are computed.
        cell, firsts = numbered(cells)
        size = len(firsts)
        stored = total(cell, size, builds)
        requests = np.bincount(cell[once], minlength=size)
        again = cell[~once]
        _, firsts_again = numbered(again, same[~once])
        requests += np.bincount(again[firsts_again], minlength=size)
        found: Ints = self.counts[FAILED].copy()
        every = found.reshape(-1)
        failed = every[cells[firsts]]
        distinct = np.minimum(failed, requests + np.maximum(0, failed - stored))
        every[cells[firsts]] = np.where(stored > 0, distinct, failed)
        return found

    def _places_of(self, dimension: Dimension, rows: Rows | Failures) -> Ints:
        """Return the place of the group of a dimension that each row is in, -1 if there is none."""
        of = self.members[dimension]
        if dimension == "all":
            return np.full(len(rows), of.first if of.size else -1)
        return of.places_of([rows.name(part) for part in _PARTS[dimension]])

    def failed_in(self, group: Group, start: int, end: int) -> Failures:
        """Return the failed builds of a group from day `start` to before day `end`."""
        return self.failures.where(self._mask(self.failures, group, start, end))

    def _mask(self, rows: Rows | Failures, group: Group, start: int, end: int) -> Mask:
        """Return which rows are of a group and its days. Rows are in the order of days."""
        first = self.window.start.toordinal()
        here = slice(*np.searchsorted(rows.day, (first + start, first + end)).tolist())
        found = np.zeros(len(rows), bool)
        found[here] = True
        for part, name in zip(_PARTS[group.dimension], group.names, strict=True):
            found[here] &= rows.equal(part, name, here)
        return found

    def exclude(self, group: Group, start: int, end: int) -> set[int]:
        """Exclude the builds of a group, from day `start` to before day `end`, from all groups.

        Return the places of the groups that contained any of them.
        """
        mask = self._mask(self.builds, group, start, end)
        gone = self.builds.where(mask)
        day, amounts = gone.day - self.window.start.toordinal(), _build_sums(gone)
        place = self.place(group)
        changed = set() if place is None else {place}
        self.counts = self.counts.copy()  # others may use them without these exclusions
        for dimension in DIMENSIONS:
            places = self._places_of(dimension, gone)
            known = places >= 0
            for counts, amount in zip(self.counts, amounts, strict=True):
                np.subtract.at(counts, (places[known], day[known]), amount[known])
            changed |= set(places[known].tolist())
        if place is not None:
            self.counts[:, place, start:end] = 0
        self.builds = self.builds.where(~mask)
        self.failures = self.failures.where(~self._mask(self.failures, group, start, end))
        return changed

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


def _rollup_sums(rows: Rows) -> Ints:
    """Return ended, failed and timed builds and seconds of rows of a rollup."""
    succeeded, failed, timed, seconds = map(rows.number, _SUMS)
    return np.stack([succeeded + failed, failed, timed, seconds])


def _build_sums(rows: Rows) -> Ints:
    """Return the same of rows of `ATTEMPTS`."""
    succeeded, failed, seconds = map(rows.number, ("succeeded", "failed", "seconds"))
    timed = np.where(seconds == UNTIMED, 0, succeeded)
    return np.stack([succeeded + failed, failed, timed, timed * seconds])


def _total_of(amounts: Ints, group: Ints, groups: int, place: int) -> Ints:
    return total(group, groups, amounts[place])


def _cells(window: Window, rows: Rows, group: Ints, kept: Mask) -> tuple[Mask, Ints]:
    """Return which rows are of kept groups, and the place of group and day of each of them."""
    here = kept[group]
    place = (np.cumsum(kept) - 1)[group[here]]
    return here, place * window.days + rows.day[here] - window.start.toordinal()


def _count(
    counts: Ints, window: Window, rows: Rows, amounts: Ints, group: Ints, kept: Mask
) -> None:
    """Set the sums of each kept group and day, given the `group` of each row."""
    here, cell = _cells(window, rows, group, kept)
    for sums, amount in zip(counts, amounts, strict=True):
        sums[:] = total(cell, sums.size, amount[here]).reshape(sums.shape)


def _set(counts: Ints, window: Window, rows: Rows, amounts: Ints, group: Ints, kept: Mask) -> None:
    """Do the same for groups with at most one row a day. The sums are 0 before."""
    here, cell = _cells(window, rows, group, kept)
    for sums, amount in zip(counts, amounts, strict=True):
        sums.reshape(-1)[cell] = amount[here]
