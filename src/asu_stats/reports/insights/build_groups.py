"""Groups of builds: all builds, or those of a version, a target, both, a profile or a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from asu_stats.reports.insights.failure_rows import Failures
from asu_stats.store.blocks.columns import Names
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.rows import Rows

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
PARTS: Final[dict[Dimension, tuple[str, ...]]] = {
    "all": (),
    "version": ("version",),
    "target": ("target",),
    "version_target": ("version", "target"),
    "profile": ("profile",),
    "worker": ("worker",),
}


_MAX_TABLE: Final = 1 << 18  # items, of two megabytes


@dataclass(frozen=True, slots=True)
class Members:
    """The groups of a dimension, by the parts of their names. The first has the place `first`."""

    first: int
    size: int
    parts: Sequence[Names]
    _known: dict[tuple[int, int], tuple[list[Any], tuple[int, int], Ints]] = field(
        default_factory=dict
    )

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

    def _codes_in(self, column: Names, part: Names) -> tuple[Ints, int]:
        """Return the code of each name of a part in a column, and that of names without rows."""
        values, sizes = column.values, (len(column.values), len(part.values))
        known = self._known.get((id(values), id(part.values)))
        if known is None or known[0] is not values or known[1] != sizes:
            codes = column.places()
            found = np.array([codes.get(name, sizes[0]) for name in part.values], np.int64)
            found = np.minimum(found, sizes[0])  # another thread may have added names
            known = self._known[id(values), id(part.values)] = values, sizes, found
        return known[2], sizes[0]

    def places_of(self, columns: Sequence[Names]) -> Ints:
        """Return the place of the group that each row of `columns` is in, -1 if there is none."""
        found, keys = np.zeros(0, np.int64), np.zeros(self.size, np.int64)
        size = 1
        for part, column in zip(self.parts, columns, strict=True):
            codes, last = self._codes_in(column, part)
            width = last + 1
            keys = keys * width + codes[part.codes]
            found = found * width + column.codes if size > 1 else column.codes
            size *= width
        places = self.first + np.arange(self.size)
        if size <= _MAX_TABLE:
            table = np.full(size, -1)
            table[keys] = places
            of_rows: Ints = table[found]
            return of_rows
        if not self.size:
            return np.full(len(found), -1)
        order = np.argsort(keys)
        near = np.minimum(np.searchsorted(keys, found, sorter=order), self.size - 1)
        return np.where(keys[order[near]] == found, places[order[near]], -1)


@dataclass(slots=True)
class Groups:
    """Groups of all dimensions. They have places from 0."""

    members: Mapping[Dimension, Members]
    _places: dict[Group, int | None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of groups."""
        return sum(of.size for of in self.members.values())

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
        part = of.parts[PARTS["version_target"].index(group.dimension)]
        return of.first + np.flatnonzero(part.equal(group.names[0]))

    def places_of(self, dimension: Dimension, rows: Rows | Failures) -> Ints:
        """Return the place of the group of a dimension that each row is in, -1 if there is none."""
        of = self.members[dimension]
        if dimension == "all":
            return np.full(len(rows), of.first if of.size else -1)
        return of.places_of([rows.name(part) for part in PARTS[dimension]])

    def touched(self, rows: Rows | Failures) -> set[int]:
        """Return the places of all groups that rows are in."""
        places = (self.places_of(dimension, rows) for dimension in DIMENSIONS)
        return set(np.concatenate(list(places)).tolist()) - {-1}
