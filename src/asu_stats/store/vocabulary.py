"""Keys of packed days as numbers: columns of sums are added up, and names come in at the end."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[Any]  # whole numbers or names
Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One part of all keys: its distinct `values`, sorted, and the place in them of each key's."""

    values: Values
    codes: Ints

    @classmethod
    def of(cls, parts: Sequence[Any]) -> "Column":
        """Sort out `parts`."""
        values = sorted(set(parts))
        places = {value: place for place, value in enumerate(values)}
        codes = np.fromiter(map(places.__getitem__, parts), np.int64, len(parts))
        whole = not values or isinstance(values[0], int)
        return cls(np.array(values, np.int64 if whole else np.object_), codes)


@dataclass(frozen=True, slots=True)
class Groups:
    """All keys in order, by one part after the other, in groups that differ in the last part only.

    `order` has the number of each key, `group` its group, `tails` its last part; `heads` and
    `starts` say of each group what its keys have in common, and where it begins.
    """

    order: Ints
    group: Ints
    tails: Values
    heads: list[Key]
    starts: Ints


class Vocabulary:
    """The keys of a cube that this process has met, numbered. Safe to use from several threads."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._numbers: dict[Key, int] = {}
        self._columns: dict[int, Column] = {}
        self._groups: Groups | None = None
        self._lock = threading.Lock()

    def numbers(self, keys: Sequence[Key]) -> Ints:
        """Return the numbers of `keys`; new ones get the next."""
        known = self._numbers
        with self._lock:
            for key in keys:
                if key not in known:
                    known[key] = len(self.keys)
                    self.keys.append(key)
        return np.fromiter(map(known.__getitem__, keys), np.int64, len(keys))

    def column(self, place: int, size: int) -> Column:
        """Return one part of at least the first `size` keys."""
        found = self._columns.get(place)
        if found is None or len(found.codes) < size:
            found = self._columns[place] = Column.of([key[place] for key in list(self.keys)])
        return found

    def groups(self, size: int) -> Groups:
        """Return the first `size` keys in order."""
        found = self._groups
        if found is None or len(found.order) != size:
            found = self._groups = self._grouped(size)
        return found

    def _grouped(self, size: int) -> Groups:
        parts = [self.column(place, size) for place in range(len(self.keys[0]) if size else 1)]
        codes = [part.codes[:size] for part in parts]
        order = np.lexsort(codes[::-1])
        begins = np.zeros(size, bool)
        begins[:1] = True
        for column in codes[:-1]:
            begins[1:] |= np.diff(column[order]) != 0
        starts = np.flatnonzero(begins)
        return Groups(
            order,
            np.cumsum(begins) - 1,
            parts[-1].values[codes[-1][order]],
            [self.keys[number][:-1] for number in order[starts].tolist()],
            starts,
        )
