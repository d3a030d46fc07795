"""Keys of blocks as numbers: sums are added by number, and names are looked up at the end."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[Any]  # whole numbers or names
Key: TypeAlias = tuple[Any, ...]
Order: TypeAlias = Callable[[Any], Any]


def as_values(values: Sequence[Any]) -> Values:
    whole = not values or isinstance(values[0], int)
    return np.array(values, np.int64 if whole else np.object_)


@dataclass(frozen=True, slots=True)
class Column:
    """One part of keys: its distinct `values`, and the place of each key's value among them."""

    values: Values
    codes: Ints

    @classmethod
    def of(cls, parts: Sequence[Any]) -> "Column":
        """Return the column of `parts`: whole numbers, names, or days, which become ordinals."""
        values = list(dict.fromkeys(parts))
        places = {value: place for place, value in enumerate(values)}
        if values and isinstance(values[0], date):
            values = [day.toordinal() for day in values]
        codes = np.fromiter(map(places.__getitem__, parts), np.int64, len(parts))
        return cls(as_values(values), codes)


@dataclass(frozen=True, slots=True)
class Groups:
    """All keys in order, grouped by all parts except the last.

    `order` has the number of each key, `group` its group, `tails` its last part. For each group,
    `heads` has the common parts and `starts` the place of its first key. `places` has the place of
    each head.
    """

    order: Ints
    group: Ints
    tails: Values
    heads: list[Key]
    starts: Ints
    places: dict[Key, int]


class _Names:
    """Values, each with a number and a sort key."""

    def __init__(self, order: Order) -> None:
        self.values: list[Any] = []
        self.ranks: list[Any] = []
        self.order = order
        self.bytes = 0  # of the values
        self._numbers: dict[Any, int] = {}

    def numbers(self, values: Values) -> Ints:
        """Return the numbers of `values`; new values get the next numbers."""
        names, known = values.tolist(), self._numbers
        for name in names:
            if name not in known:
                known[name] = len(self.values)
                self.bytes += sys.getsizeof(name)
                self.values.append(name)
                self.ranks.append(self.order(name))
        return np.fromiter(map(known.__getitem__, names), np.int64, len(names))

    def find(self, values: Sequence[Any]) -> Ints:
        """Return the numbers of `values`; -1 for unknown ones."""
        return np.fromiter((self._numbers.get(each, -1) for each in values), np.int64, len(values))


class _Pairs:
    """Pairs of numbers below 2 ** 31, with a number each."""

    def __init__(self) -> None:
        self._pairs = np.zeros(0, np.int64)  # ascending
        self._numbers = np.zeros(0, np.int64)

    def numbers(self, first: Ints, second: Ints) -> Ints:
        """Return the numbers of pairs; new pairs get the next numbers."""
        pairs = first << 32 | second
        places = np.searchsorted(self._pairs, pairs)
        here = places < len(self._pairs)
        here[here] = self._pairs[places[here]] == pairs[here]
        if not here.all():
            new = np.sort(pairs[~here])
            new = new[np.diff(new, prepend=-1) != 0]  # np.unique would import numpy.ma
            before = np.searchsorted(self._pairs, new)
            numbers = np.arange(len(self._pairs), len(self._pairs) + len(new))
            self._pairs = np.insert(self._pairs, before, new)
            self._numbers = np.insert(self._numbers, before, numbers)
            places = np.searchsorted(self._pairs, pairs)
        return self._numbers[places]

    def find(self, first: Ints, second: Ints) -> Ints:
        """Return the numbers of pairs; -1 for unknown ones, also if a part of a pair is -1."""
        pairs = first << 32 | second
        places = np.searchsorted(self._pairs, pairs)
        here = np.flatnonzero(places < len(self._pairs))
        here = here[self._pairs[places[here]] == pairs[here]]
        found = np.full(len(pairs), -1)
        found[here] = self._numbers[places[here]]
        return found


class Vocabulary:
    """The keys of a cube that this process knows, with a number each. Thread-safe."""

    def __init__(self, orders: Sequence[Order]) -> None:
        """Take a function per part of the keys that returns the sort key of a value."""
        width = len(orders)
        self._names = [_Names(order) for order in orders]
        self._pairs = [_Pairs() for _ in range(width - 1)]
        # For each part, the number of the value of every key. Replaced as a whole, never changed.
        self._codes = [np.zeros(0, np.int64)] * width
        self._columns: dict[int, Column] = {}
        self._groups: Groups | None = None
        self._lock = threading.Lock()

    def new(self) -> "Vocabulary":
        """Return an empty vocabulary for keys of the same parts."""
        return Vocabulary([names.order for names in self._names])

    @property
    def size(self) -> int:
        return len(self._codes[0])

    @property
    def names(self) -> int:
        """Number of the names in all parts of keys."""
        return sum(len(names.values) for names in self._names)

    @property
    def name_bytes(self) -> int:
        """Bytes of all names."""
        return sum(names.bytes for names in self._names)

    @property
    def width(self) -> int:
        """Number of the parts of a key."""
        return len(self._names)

    def numbers(self, parts: Sequence[Column]) -> Ints:
        """Return the numbers of keys; new keys get the next numbers."""
        with self._lock:
            codes = [
                names.numbers(part.values)[part.codes]
                for names, part in zip(self._names, parts, strict=True)
            ]
            numbers = codes[0]
            for pairs, further in zip(self._pairs, codes[1:], strict=True):
                numbers = pairs.numbers(numbers, further)
            self._codes = [
                _grown(known, numbers, of) for known, of in zip(self._codes, codes, strict=True)
            ]
        return numbers

    def find(self, *parts: Sequence[Any]) -> Ints:
        """Return the numbers of keys, given by all of their parts; -1 for unknown ones."""
        with self._lock:
            found, *further = (
                names.find(part) for names, part in zip(self._names, parts, strict=True)
            )
            for pairs, codes in zip(self._pairs, further, strict=True):
                found = pairs.find(found, codes)
        return found

    def find_names(self, place: int, values: Sequence[Any]) -> Ints:
        """Return the codes that `unsorted` has for values of one part; -1 for unknown ones."""
        with self._lock:
            return self._names[place].find(values)

    def column(self, place: int, size: int) -> Column:
        """Return one part of at least the first `size` keys, with sorted values."""
        found = self._columns.get(place)
        if found is None or len(found.codes) < size:
            codes = self._codes[place]
            values = self._names[place].values[:]
            order = sorted(range(len(values)), key=self._names[place].ranks.__getitem__)
            ranks = np.empty(len(values), np.int64)
            ranks[order] = np.arange(len(values))
            ranked = as_values([values[number] for number in order])
            found = self._columns[place] = Column(ranked, ranks[codes])
        return found

    def unsorted(self, place: int) -> tuple[list[Any], Ints]:
        """Return one part of all keys: its values in any order, and each key's place among them."""
        codes = self._codes[place]
        return self._names[place].values, codes

    def parts(self, numbers: Ints) -> list[Column]:
        """Return the parts of some keys."""
        found = []
        for place in range(len(self._names)):
            column = self.column(place, self.size)
            codes, used = column.codes[numbers], np.zeros(len(column.values), bool)
            used[codes] = True
            found.append(Column(column.values[used], (np.cumsum(used) - 1)[codes]))
        return found

    def keys(self, numbers: Ints) -> Iterator[Key]:
        """Yield the keys with the given numbers."""
        columns = [self.column(place, self.size) for place in range(len(self._names))]
        return zip(*(c.values[c.codes[numbers]].tolist() for c in columns), strict=True)

    def groups(self, size: int) -> Groups:
        """Return the first `size` keys in order."""
        found = self._groups
        if found is None or len(found.order) != size:
            found = self._groups = self._grouped(size)
        return found

    def _grouped(self, size: int) -> Groups:
        columns = [self.column(place, size) for place in range(len(self._names))]
        codes = [column.codes[:size] for column in columns]
        order = np.lexsort(codes[::-1])
        begins = np.zeros(size, bool)
        begins[:1] = True
        for of in codes[:-1]:
            begins[1:] |= np.diff(of[order]) != 0
        starts = np.flatnonzero(begins)
        heads = [key[:-1] for key in self.keys(order[starts])]
        tails = columns[-1].values[codes[-1][order]]
        places = {head: place for place, head in enumerate(heads)}
        return Groups(order, np.cumsum(begins) - 1, tails, heads, starts, places)


def _grown(known: Ints, places: Ints, values: Ints) -> Ints:
    """Return `known` with `values` at `places`, which are known places or the next ones."""
    more = int(places.max(initial=-1)) + 1 - len(known)
    if more <= 0:
        return known
    found = np.concatenate((known, np.empty(more, np.int64)))
    found[places] = values
    return found
