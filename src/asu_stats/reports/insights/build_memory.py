"""Builds per group and day, remembered between responses: only days that changed are summed again.

A response takes what the process remembers of its time range, and puts it back at its end. So no
two threads use it at once; the second computes its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection

from asu_stats.events import UNKNOWN
from asu_stats.reports.insights.build_groups import DIMENSIONS, PARTS, Dimension, Groups, Members
from asu_stats.reports.insights.build_rows import (
    BUILDS,
    BY_PROFILE,
    BY_WORKER,
    CELLS,
    rollup_sums,
)
from asu_stats.reports.insights.change_points import Candidates, Floats, Stretch
from asu_stats.reports.insights.failure_rows import OF_DAY, Failures
from asu_stats.store.blocks import cached, reader
from asu_stats.store.blocks import rows as day_rows
from asu_stats.store.blocks.columns import Mask, Names, numbered, total
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.rows import Rows
from asu_stats.windows import Window

# Sums per group and day. `DISTINCT`: the failures of one request on a day count once.
ENDED, FAILED, TIMED, SECONDS, DISTINCT = range(5)
_ROWS: Final = 4  # number of rows, in the sums of keys
SOURCES: Final = (CELLS, BY_PROFILE, BY_WORKER, BUILDS, OF_DAY)
_SUMMED: Final = 3  # sources whose rows are sums of groups
_SOURCE: Final[Mapping[Dimension, int]] = dict(zip(DIMENSIONS, (0, 0, 0, 0, 1, 2), strict=True))
_FEW_DAYS: Final = 16  # if more have changed, nothing remembered is used

Totals = Callable[[int], Ints]  # a sum over all days of each group
Keep = Callable[[Dimension, Totals], Mask | None]


@dataclass(slots=True)
class Found:
    """What a search found, by place of the group.

    Candidates are the strongest stretches where their strength is at least `least`. Those of
    `stale` groups are not known. Stretches and p-values are known of some groups.
    """

    candidates: Candidates
    least: Floats
    stale: Mask
    stretches: dict[int, Stretch | None] = field(default_factory=dict)
    p_values: dict[int, float] = field(default_factory=dict)

    @classmethod
    def nothing(cls, size: int) -> "Found":
        starts, ends = np.zeros(size, np.int64), np.zeros(size, np.int64)
        return cls(Candidates(np.zeros(size), starts, ends), np.zeros(size), np.ones(size, bool))

    def without(self, places: set[int]) -> "Found":
        """Return a copy in which nothing is known of some groups."""
        strength, start, end = self.candidates
        candidates = Candidates(strength.copy(), start.copy(), end.copy())
        found = Found(candidates, self.least.copy(), self.stale.copy())
        found.stale[list(places)] = True
        found.stretches = {n: of for n, of in self.stretches.items() if n not in places}
        found.p_values = {n: of for n, of in self.p_values.items() if n not in places}
        return found


class _Of(NamedTuple):
    """Groups of a dimension that have builds: parts of their names, which are known, and sums."""

    parts: Sequence[Names]
    known: Mask
    totals: Totals


class Memory:
    """The builds of a time range: `sums` of each group up to each day, and rows.

    `tests` is the number of groups with builds of each dimension, `found` what searches found.
    `regressions` is the list that the last response found, `None` once a day has changed.
    """

    def __init__(self, connection: Connection, window: Window) -> None:
        self.window = window
        self._declared = [day_rows.declared(connection, of) for of in SOURCES]
        self._nothing = [of.nothing() for of in self._declared]
        self._changes: dict[int, int] = {}
        self._days: dict[int, list[Rows]] = {}
        self._by_key = [np.zeros((5, 0), np.int64) for _ in range(_SUMMED)]
        self._joined: list[Rows | None] = [None] * len(SOURCES)
        self.regressions: Sequence[Any] | None = None
        self._set_groups(self._kept(None))

    def _set_groups(self, members: Mapping[Dimension, Members]) -> None:
        self.groups = Groups(members)
        self.sums = np.zeros((5, self.groups.size, self.window.days + 1), np.int64)
        self.tests: Counter[Dimension] = Counter()
        self._found: dict[str, Found] = {}

    @property
    def bytes(self) -> int:
        """Bytes in memory, roughly; rows of days are remembered anyway."""
        joined = sum(each.columns.nbytes for each in self._joined if each)
        return self.sums.nbytes + joined + sum(of.nbytes for of in self._by_key)

    @property
    def builds(self) -> Rows:
        return self._all(SOURCES.index(BUILDS))

    @property
    def failures(self) -> Failures:
        return Failures(self._all(SOURCES.index(OF_DAY)))

    def _all(self, source: int) -> Rows:
        found = self._joined[source]
        if found is None:
            found = self._joined[source] = self._of_days(source, sorted(self._days))
        return found

    def _of_days(self, source: int, days: Sequence[int]) -> Rows:
        """Return the rows of some days, without those that have none."""
        some = [self._days[day][source] for day in days if day in self._days]
        return day_rows.joined([self._nothing[source], *some])

    def found(self, measure: str) -> Found:
        """Return what the search in a measure found; it may be added to."""
        return self._found.setdefault(measure, Found.nothing(self.groups.size))

    def is_usable(self, connection: Connection, changes: Mapping[int, int]) -> bool:
        """Return whether few days changed, and keys still have the same numbers."""
        now = (day_rows.declared(connection, of).vocabulary for of in SOURCES)
        same = all(a is b.vocabulary for a, b in zip(now, self._declared, strict=True))
        return same and len(self.changed(changes)) <= _FEW_DAYS

    def changed(self, changes: Mapping[int, int]) -> list[int]:
        """Return the days that changed since they were read; `changes` has the last changes."""
        days = changes.keys() | self._changes.keys()
        return sorted(day for day in days if changes.get(day) != self._changes.get(day))

    def update(self, connection: Connection, changes: Mapping[int, int], keep: Keep | None) -> None:
        """Read the days that changed, and add up what depends on them."""
        if not (changed := self.changed(changes)):
            return
        before = [self._of_days(n, changed) for n in range(len(SOURCES))]
        self._read(connection, changed)
        self._changes, self._joined = dict(changes), [None] * len(SOURCES)
        self.regressions = None
        now = [self._of_days(n, changed) for n in range(len(SOURCES))]
        for source in range(_SUMMED):
            self._by_key[source] = _added(self._by_key[source], before[source], now[source])
        first = self.window.start.toordinal()
        if self._count_groups(keep):
            days = range(changed[0], changed[-1] + 1)
        else:  # a group is new: all groups are summed again
            self._set_groups(self._kept(keep))
            self._count_groups(keep)
            days = range(first, first + self.window.days)
        columns = self._columns([self._of_days(n, days) for n in range(len(SOURCES))], days)
        places = set(put(self.sums, days[0] - first, columns).tolist())
        if self._found:
            for rows, known in list(zip(now, before, strict=True))[_SUMMED:]:
                places |= self.groups.touched(_differing(rows, known))
            self._found = {name: found.without(places) for name, found in self._found.items()}

    def _read(self, connection: Connection, days: Sequence[int]) -> None:
        for day in days:
            self._days.pop(day, None)
        for source, known in enumerate(self._declared):
            for day, rows in known.days(connection, days[0], days[-1]):
                if known.of is OF_DAY:
                    rows = rows.where(rows.number("failed_builds") != 0)  # noqa: PLW2901
                self._days.setdefault(day, self._nothing[:])[source] = rows

    def _groups(self, dimension: Dimension) -> _Of:
        source = _SOURCE[dimension]
        sums = self._by_key[source]
        keys = np.flatnonzero(sums[_ROWS])
        rows = self._nothing[source].of_keys(keys)
        parts = [rows.name(part) for part in PARTS[dimension]]
        group, firsts = numbered(*(part.codes for part in parts), np.zeros(len(keys), np.int64))
        parts = [part.where(firsts) for part in parts]
        known = np.ones(len(firsts), bool)
        for part in parts:
            known &= ~part.equal(UNKNOWN)
        return _Of(parts, known, lambda place: total(group, len(firsts), sums[place, keys]))

    def _count_groups(self, keep: Keep | None) -> bool:
        """Count the groups with builds; return whether those to keep are here."""
        for dimension, here in self.groups.members.items():
            parts, known, totals = self._groups(dimension)
            self.tests[dimension] = int(known.sum())
            wanted = keep(dimension, totals) if keep else None
            kept = known if wanted is None else known & wanted
            if not kept.any():
                continue
            if not here.size or (here.places_of([part.where(kept) for part in parts]) < 0).any():
                return False
        return True

    def _kept(self, keep: Keep | None) -> dict[Dimension, Members]:
        """Return the groups to keep, and those that soon may be."""
        members, first = dict[Dimension, Members](), 0
        for dimension in DIMENSIONS:
            parts, kept, totals = self._groups(dimension)
            wanted = keep(dimension, partial(_twice, totals)) if keep else None
            kept = kept if wanted is None else kept & wanted
            size = int(kept.sum())
            members[dimension] = Members(first, size, [part.where(kept) for part in parts])
            first += size
        return members

    def _columns(self, rows: Sequence[Rows], days: range) -> Ints:
        """Return the sums of each group on some days, from the rows of these days."""
        found = np.zeros((5, self.groups.size, len(days)), np.int64)
        amounts = [rollup_sums(each) for each in rows[:_SUMMED]]
        for dimension, source in _SOURCE.items():
            place = self.groups.places_of(dimension, rows[source])
            here = place >= 0
            cell = (place * len(days) + rows[source].day - days[0])[here]
            for sums, amount in zip(found, amounts[source], strict=False):
                np.add.at(sums.reshape(-1), cell, amount[here])
        failures = Failures(rows[SOURCES.index(OF_DAY)])
        found[DISTINCT] = distinct(self.groups, failures, found[FAILED], days[0])
        return found


def _twice(totals: Totals, place: int) -> Ints:
    return 2 * totals(place)


def _added(by_key: Ints, before: Rows, now: Rows) -> Ints:
    """Return the sums by key, with the rows of some days replaced."""
    keys = now.vocabulary.size
    found = np.pad(by_key, ((0, 0), (0, keys - by_key.shape[1])))
    for rows, sign in ((before, -1), (now, 1)):
        for place, amount in enumerate((*rollup_sums(rows), np.ones(len(rows), np.int64))):
            found[place] += sign * total(rows.columns[0], keys, amount)
    return found


def _differing(rows: Rows, others: Rows) -> Rows:
    """Return the rows that only one of both has."""
    one, other = (
        Counter(zip(*each.columns.tolist(), each.day.tolist(), strict=True))
        for each in (rows, others)
    )
    found = np.array([*(one - other), *(other - one)], np.int64)
    *columns, day = found.reshape(-1, len(rows.columns) + 1).T
    return Rows(rows.of, rows.vocabulary, day, np.stack(columns))


def put(sums: Ints, first: int, columns: Ints) -> Ints:
    """Set the sums of groups on days from `first` on; return the places of those that changed.

    `sums` are up to each day, `columns` those of single days.
    """
    after = first + columns.shape[2] + 1
    start = sums[:, :, first : first + 1]
    more = np.cumsum(columns, axis=2) - (sums[:, :, first + 1 : after] - start)
    places = np.flatnonzero(more.any(axis=(0, 2)))
    more = more[:, places]
    sums[:, places, first + 1 : after] += more
    sums[:, places, after:] += more[:, :, -1:]
    return places


def distinct(groups: Groups, failures: Failures, failed: Ints, first: int) -> Ints:
    """Return the failed builds per group and day; the builds of one request count once a day.

    `failed` are all failed builds per group and day, from the day with the ordinal `first` on.
    Days from before `stats_failures` existed have no rows there: each of their failures counts.
    """
    day = failures.day - first
    same, _ = numbered(day, failures.request)
    once = np.bincount(same)[same] == 1
    place = np.stack([groups.places_of(dimension, failures) for dimension in DIMENSIONS])
    known = place >= 0
    cells = (place * failed.shape[1] + day)[known]
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
    found = failed.copy()
    every = found.reshape(-1)
    here = every[cells[firsts]]
    fewest = np.minimum(here, requests + np.maximum(0, here - stored))
    every[cells[firsts]] = np.where(stored > 0, fewest, here)
    return found


def send(connection: Connection, window: Window) -> None:
    """Ask for what `remembered` needs, and do not wait for it."""
    for of in SOURCES:
        day_rows.send(connection, window.start, window.end, of)


@contextmanager
def remembered(connection: Connection, window: Window, keep: Keep | None) -> Iterator[Memory]:
    """Lend what is remembered of the builds of a time range, after reading what changed.

    `keep` tells which groups of a dimension to keep, from their sums over all days; `None` keeps
    all. Others may be kept too.
    """
    memories, key = cached.of(connection).memories, (Memory, window, keep)
    changes = reader.changes(connection, window.start, window.end)
    memory: Memory | None = memories.take(key)
    if memory is None or not memory.is_usable(connection, changes):
        memory = Memory(connection, window)
    memory.update(connection, changes, keep)
    yield memory
    memories.put(key, memory)
