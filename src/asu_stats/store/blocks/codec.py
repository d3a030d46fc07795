"""Blocks: the sums of a cube over some days, in memory and as they are stored."""

import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from asu_stats.store.blocks.keys import Column, Ints, Vocabulary, as_values

_DENSE: Final = 4  # if at least one in this many keys occurs, a block has a row for every key


@dataclass(frozen=True, slots=True)
class Block:
    """Sums of a cube over some days: one row for each key.

    Row n belongs to key n, or, if only few keys have rows, to the key `numbers[n]`. Each key occurs
    once.
    """

    sums: Ints
    numbers: Ints | None = None

    @classmethod
    def of(cls, numbers: Ints, sums: Ints) -> "Block":
        """Return the block of some keys, in the form that is faster to add."""
        size = int(numbers.max()) + 1 if len(numbers) else 0
        if size > _DENSE * len(numbers):
            return cls(sums, numbers)
        spread = np.zeros((size, sums.shape[1]), np.int64)
        spread[numbers] = sums
        return cls(spread)

    @property
    def bytes(self) -> int:
        return self.sums.nbytes + (0 if self.numbers is None else self.numbers.nbytes)

    def add_to(self, sums: Ints) -> None:
        """Add its rows to `sums`, which has a row for every key."""
        if self.numbers is None:
            sums[: len(self.sums)] += self.sums
        elif sums.shape[1] == 1:  # several times as fast on one dimension
            sums.reshape(-1)[self.numbers] += self.sums[:, 0]
        else:
            sums[self.numbers] += self.sums

    def rows(self) -> tuple[Ints, Ints]:
        """Return the numbers of the keys with a sum other than 0, and their sums."""
        some = np.flatnonzero(self.sums.any(axis=1))
        return some if self.numbers is None else self.numbers[some], self.sums[some]


# Stored form ------------------------------------------------------------------------------------

FORM: Final = 2  # increased whenever the stored form changes


def encode(vocabulary: Vocabulary, block: Block) -> bytes:
    """Return a block in its stored form: compressed, a line of JSON followed by columns of numbers.

    The line contains the distinct values of each part of the keys, the type of each column, and the
    number of rows. The columns are the places of the parts of each key among those values, then the
    sums.
    """
    numbers, sums = block.rows()
    if not len(numbers):
        return _nothing(vocabulary.width, sums.shape[1])
    parts = vocabulary.parts(numbers)
    kinds = map(_kind, sums.min(axis=0).tolist(), sums.max(axis=0).tolist())
    columns = [
        *(part.codes.astype(_kind(0, len(part.values) - 1)) for part in parts),
        *(column.astype(kind) for column, kind in zip(sums.T, kinds, strict=True)),
    ]
    head = [
        [part.values.tolist() for part in parts],
        [column.dtype.str for column in columns],
        len(numbers),
    ]
    return _packed(head, b"".join(column.tobytes() for column in columns))


@lru_cache(maxsize=128)
def _nothing(parts: int, sums: int) -> bytes:
    """Return the stored form of a block without rows."""
    return _packed([[[]] * parts, ["<i8"] * (parts + sums), 0], b"")


def _packed(head: list[Any], body: bytes) -> bytes:
    line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    return zlib.compress(line + body, 1)


@lru_cache(maxsize=4096)
def _kind(low: int, high: int) -> np.dtype[Any]:
    """Return the smallest type that can hold whole numbers from `low` to `high`."""
    return np.result_type(np.min_scalar_type(low), np.min_scalar_type(high))


class DamagedBlockError(ValueError):
    """A payload that is not the stored form of a block."""


_DAMAGE: Final = (
    *(zlib.error, ValueError, TypeError, LookupError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)


def decode(vocabulary: Vocabulary, payload: bytes) -> Block:
    """Return a block from its stored form. Raises `DamagedBlockError`."""
    try:
        return _decoded(vocabulary, payload)
    except _DAMAGE as error:
        raise DamagedBlockError(str(error) or type(error).__name__) from None


def _decoded(vocabulary: Vocabulary, payload: bytes) -> Block:
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
