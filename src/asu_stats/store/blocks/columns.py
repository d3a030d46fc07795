"""Columns of names and of numbers, and groups of their rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asu_stats.store.blocks.keys import Ints

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """A column of names: row n has `values[codes[n]]`."""

    values: list[Any]
    codes: Ints

    def of(self, rows: Ints) -> list[Any]:
        """Return the names in some rows."""
        return [self.values[code] for code in self.codes[rows].tolist()]

    def places(self) -> dict[Any, int]:
        """Return the code of each name."""
        return {value: code for code, value in enumerate(self.values)}

    def equal(self, value: Any) -> Mask:
        """Return which rows have a value."""
        code = self.values.index(value) if value in self.values else -1
        found: Mask = self.codes == code
        return found

    def where(self, rows: Mask | Ints) -> "Names":
        """Return some of the rows."""
        return Names(self.values, self.codes[rows])

    def with_other(self, rows: Mask, name: Any) -> "Names":
        """Return the column with another name in some rows."""
        places = self.values if name in self.values else [*self.values, name]
        return Names(places, np.where(rows, places.index(name), self.codes))

    def ranks(self) -> Ints:
        """Return for each row the place of its name among the names of all rows, in order."""
        used = np.flatnonzero(np.bincount(self.codes, minlength=len(self.values)))
        found = np.zeros(len(self.values), np.int64)
        found[sorted(used.tolist(), key=self.values.__getitem__)] = np.arange(len(used))
        return found[self.codes]

    def mapped(self, change: Callable[[Any], Any]) -> "Names":
        """Return the column of `change(value)`."""
        changed = [change(value) for value in self.values]
        values = list(dict.fromkeys(changed))
        places = {value: place for place, value in enumerate(values)}
        return Names(values, np.array([places[value] for value in changed], np.int64)[self.codes])


_MAX_CELLS: Final = 1 << 20
_MAX_KEY: Final = 1 << 62
_DENSE: Final = 16  # a table of so many items per row costs less than sorting the rows


def numbered(*columns: Ints) -> tuple[Ints, Ints]:
    """Return numbers from 0 for distinct rows of `columns`, and the place of one row of each.

    Values are whole numbers from 0. The numbers are in the order of the columns.
    """
    key = columns[0]
    for column in columns[1:]:
        values = int(column.max(initial=0)) + 1
        if (int(key.max(initial=0)) + 1) * values > _MAX_KEY:
            key, _ = numbered(key)
        key = key * values + column
    size = int(key.max(initial=-1)) + 1
    if size <= _DENSE * len(key):
        place = np.full(size, -1)
        place[key] = np.arange(len(key))
        some = np.flatnonzero(place >= 0)
        firsts = place[some]
        place[some] = np.arange(len(some))
        return place[key], firsts
    order = np.argsort(key)
    begins = np.diff(key[order], prepend=-1) != 0
    found = np.empty(len(key), np.int64)
    found[order] = np.cumsum(begins) - 1
    return found, order[begins]


def descending(counts: Ints, *columns: Names) -> Ints:
    """Return the places of rows by count, the largest first, then by their names."""
    return np.lexsort((*(column.ranks() for column in reversed(columns)), -counts))


def first_rows(group: Ints, groups: int) -> Ints:
    """Return the first row of each group, and at the end the number of rows. `group` ascends."""
    return np.searchsorted(group, np.arange(groups + 1))


def distinct(group: Ints, groups: int, of: Ints) -> Ints:
    """Return how many different values `of`, whole numbers from 0, each group has."""
    values = int(of.max(initial=0)) + 1
    if groups * values <= _MAX_CELLS:
        found = np.zeros((groups, values), bool)
        found[group, of] = True
        sums: Ints = found.sum(axis=1)
        return sums
    _, rows = numbered(group, of)
    return np.bincount(group[rows], minlength=groups)


def total(group: Ints, groups: int, of: Ints) -> Ints:
    """Return the sum of `of` in each group."""
    found = np.bincount(group, of, minlength=groups)  # floats: exact up to 2 ** 53
    return found.astype(np.int64)
