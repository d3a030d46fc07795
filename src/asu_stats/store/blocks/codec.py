"""Blocks: the sums of a cube over some days, in memory, added up, and as they are stored."""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from asu_stats.store.blocks.keys import Column, Groups, Ints, Key, Values, Vocabulary, as_values

_DENSE: Final = 4  # a block with one key in so many has a row for every key


@dataclass(frozen=True, slots=True)
class Block:
    """A cube of some days: a row of sums for each key.

    Row n is of key n, those of most keys being there; where few are, it is of the key `numbers[n]`.
    Each key is there once.
    """

    sums: Ints
    numbers: Ints | None = None

    @classmethod
    def of(cls, numbers: Ints, sums: Ints) -> "Block":
        """Return the block of some keys, in the form that is added up faster."""
        size = int(numbers.max()) + 1 if len(numbers) else 0
        if size > _DENSE * len(numbers):
            return cls(sums, numbers)
        spread = np.zeros((size, sums.shape[1]), np.int64)
        spread[numbers] = sums
        return cls(spread)

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.sums.nbytes + (0 if self.numbers is None else self.numbers.nbytes)

    def add_to(self, sums: Ints) -> None:
        """Add its rows to those of all keys."""
        if self.numbers is None:
            sums[: len(self.sums)] += self.sums
        elif sums.shape[1] == 1:  # several times as fast on one dimension
            sums.reshape(-1)[self.numbers] += self.sums[:, 0]
        else:
            sums[self.numbers] += self.sums

    def rows(self) -> tuple[Ints, Ints]:
        """Return the numbers of the keys that have a sum other than 0, and their sums."""
        some = np.flatnonzero(self.sums.any(axis=1))
        return some if self.numbers is None else self.numbers[some], self.sums[some]


class Ranked:
    """Names with a sum above 0: the largest first, equal ones by name."""

    def __init__(self, names: Values, sums: Ints) -> None:
        """Take names in order, each once, and the sum of each."""
        some = np.flatnonzero(sums)
        order = some[np.argsort(-sums[some], kind="stable")]
        self._names, self._sums = names[order], sums[order]

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Self:
        names = sorted(counts)
        return cls(as_values(names), np.array([counts[name] for name in names], np.int64))

    def __len__(self) -> int:
        return len(self._sums)

    def part(self, first: int, after: int) -> Iterator[tuple[Any, int]]:
        """Yield names and sums of the ranks from `first` to before `after`; the first is 0."""
        names, sums = self._names[first:after].tolist(), self._sums[first:after].tolist()
        return zip(names, sums, strict=True)


@dataclass(frozen=True, slots=True)
class Totals:
    """A cube over a window: a row of sums for every key of the vocabulary, most of them 0."""

    vocabulary: Vocabulary
    sums: Ints

    def column(self, place: int) -> tuple[Values, Ints]:
        """Return the distinct values of one part of the keys, and the place of each key's."""
        column = self.vocabulary.column(place, len(self.sums))
        return column.values, column.codes[: len(self.sums)]

    def total(self, where: Mapping[int, Any] | None = None) -> list[int]:
        """Return the sums of all keys, or of those whose parts are as `where` has them by place."""
        found: list[int] = self.sums[self._places(where)].sum(axis=0).tolist()
        return found

    def spread(self, place: int, where: Mapping[int, Any] | None = None) -> tuple[Values, Ints]:
        """Return the distinct values of one part of the keys, and the first sum of each.

        With `where` only keys count whose parts are as it has them by place; sums may be 0.
        """
        values, codes = self.column(place)
        mine = self._places(where)
        # bincount adds floats up: exact up to 2 ** 53
        sums = np.bincount(codes[mine], self.sums[mine, 0], len(values))
        return values, sums.astype(np.int64)

    def counts(self, place: int, where: Mapping[int, Any] | None = None) -> dict[Any, int]:
        """Return the same of the values that have a sum other than 0."""
        values, sums = self.spread(place, where)
        some = np.flatnonzero(sums)
        return dict(zip(values[some].tolist(), sums[some].tolist(), strict=True))

    def ranked(self, place: int, where: Mapping[int, Any] | None = None) -> Ranked:
        """Return the same, ranked."""
        return Ranked(*self.spread(place, where))

    def _places(self, where: Mapping[int, Any] | None) -> Any:
        """Return what selects the rows of the keys that are meant."""
        if not where:
            return slice(None)
        mine = np.ones(len(self.sums), bool)
        for place, value in where.items():
            values, codes = self.column(place)
            found = np.flatnonzero(values == value)
            mine &= codes == (found[0] if len(found) else -1)
        return np.flatnonzero(mine)

    def grouped(self) -> tuple[Groups, Ints]:
        """Return the keys in order, grouped by all parts but the last, and the first sums."""
        groups = self.vocabulary.groups(len(self.sums))
        return groups, self.sums[groups.order, 0]

    def by_name(self) -> tuple[list[Any], Ints]:
        """Return the names that have sums, in order, and those sums; a key is one name here."""
        groups = self.vocabulary.groups(len(self.sums))
        sums = self.sums[groups.order]
        some = np.flatnonzero(sums.any(axis=1))
        return groups.tails[some].tolist(), sums[some]

    def rows(self) -> Iterator[tuple[Key, list[int]]]:
        """Yield the keys that have a sum other than 0, and their sums."""
        numbers = np.flatnonzero(self.sums.any(axis=1))
        return zip(self.vocabulary.keys(numbers), self.sums[numbers].tolist(), strict=True)


# As they are stored ------------------------------------------------------------------------------

FORM: Final = 2  # of what `encode` writes: one more where that changes


def encode(vocabulary: Vocabulary, block: Block) -> bytes:
    """Return a block as it is stored: compressed, a line of JSON and then columns of numbers.

    The line has the distinct values of each part of the keys, the type of each column and how many
    rows there are; the columns are the places of each key's parts among those values, then sums.
    """
    numbers, sums = block.rows()
    parts = vocabulary.parts(numbers)
    columns = [_narrow(column) for column in (*(part.codes for part in parts), *sums.T)]
    head = [
        [part.values.tolist() for part in parts],
        [column.dtype.str for column in columns],
        len(numbers),
    ]
    line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    return zlib.compress(line + b"".join(column.tobytes() for column in columns), 1)


def decode(vocabulary: Vocabulary, payload: bytes) -> Block:
    """Return a block that was stored."""
    line, _, body = zlib.decompress(payload).partition(b"\n")
    names, types, rows = json.loads(line)
    columns, place = [], 0
    for kind in types:
        columns.append(np.frombuffer(body, kind, rows, place).astype(np.int64))
        place += rows * np.dtype(kind).itemsize
    width = len(names)
    parts = [
        Column(as_values(values), codes)
        for values, codes in zip(names, columns[:width], strict=True)
    ]
    return Block.of(vocabulary.numbers(parts), np.stack(columns[width:], axis=1))


def _narrow(column: Ints) -> Values:
    """Return whole numbers in the smallest type that holds them all."""
    if not len(column):
        return column
    bounds = np.min_scalar_type(int(column.min())), np.min_scalar_type(int(column.max()))
    kind = np.result_type(*bounds)
    return column if kind.kind == "f" else column.astype(kind)
