"""Reads blocks: a query over many days costs about as much as a query over a few.

A block holds a cube over 2ⁿ days that begin at a multiple of 2ⁿ, so any time range is a handful of
blocks: 30 days are at most 8, a year at most 16. Blocks are derived and can be deleted. `packer`
stores those of closed days. A stored block is valid as long as none of its days has changed since
(`day_changes`). The reader builds missing blocks from rollups, so the result is exact either way.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from sqlalchemy import Connection, Date, Engine, FromClause, Select, bindparam, select

from asu_stats.caches import LruCache
from asu_stats.store.blocks import codec
from asu_stats.store.blocks.codec import Block
from asu_stats.store.blocks.cubes import CUBES, Cube
from asu_stats.store.blocks.keys import Column, Vocabulary
from asu_stats.store.blocks.totals import Totals
from asu_stats.store.database import statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.schema import day_changes, packed_days

LARGEST: Final = 512  # days of a block
_CACHE_BYTES: Final = 64 << 20
_CACHE_KEYS: Final = 1_000_000  # names are untrusted, so memory for them must be limited


@dataclass(frozen=True, slots=True)
class Span:
    """Days of a block: `days` of them from the ordinal `first`, a multiple of `days`."""

    first: int
    days: int

    def halves(self) -> tuple["Span", "Span"]:
        """Return the two blocks that add up to this one."""
        half = self.days // 2
        return Span(self.first, half), Span(self.first + half, half)

    def changes(self, changes: Mapping[int, int]) -> int:
        """Return the last change of any of its days; 0 if there was none."""
        if self.days == 1:
            return changes.get(self.first, 0)
        return max(changes.get(self.first + n, 0) for n in range(self.days))


@lru_cache(maxsize=256)
def spans(first: int, last: int) -> tuple[Span, ...]:
    """Return the fewest blocks that cover exactly the days from `first` to `last`."""
    found = []
    while first <= last:
        days = LARGEST
        while first % days or first + days - 1 > last:
            days //= 2
        found.append(Span(first, days))
        first += days
    return tuple(found)


class _Cache:
    """Vocabularies and blocks of a database in this process. A block is valid for one change."""

    def __init__(self) -> None:
        self.vocabularies = {cube: Vocabulary(cube.orders) for cube in CUBES}
        self._blocks: LruCache[tuple[Cube, Span], tuple[int, Block]] = LruCache(
            size_bytes=_CACHE_BYTES, size=lambda _, known: known[1].bytes
        )

    @property
    def keys(self) -> int:
        """Number of keys in the vocabularies."""
        return sum(vocabulary.size for vocabulary in self.vocabularies.values())

    def get(self, cube: Cube, span: Span, changes: int) -> Block | None:
        """Return the block of a change, `None` if it is not in memory."""
        found = self._blocks.get((cube, span))
        return found[1] if found and found[0] == changes else None

    def put(self, cube: Cube, span: Span, changes: int, block: Block) -> None:
        """Keep a block in memory; the least recently used ones are dropped."""
        self._blocks.put((cube, span), (changes, block))


_caches: WeakKeyDictionary[Engine, _Cache] = WeakKeyDictionary()
_caches_guard = threading.Lock()


def _cache_of(connection: Connection) -> _Cache:
    with _caches_guard:
        cache = _caches.get(connection.engine)
        if cache is None or cache.keys > _CACHE_KEYS:
            cache = _caches[connection.engine] = _Cache()
        return cache


def forget(engine: Engine) -> None:
    """Drop everything that this process keeps in memory about a database."""
    with _caches_guard:
        _caches.pop(engine, None)


# Reading ----------------------------------------------------------------------------------------

CHANGES: Final = select(day_changes.c.date, day_changes.c.changes).where(
    day_changes.c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
)
_SPAN: Final = (("first", packed_days.c.first_day.type), ("days", packed_days.c.days.type))
_PACKED: Final = (("cube", packed_days.c.cube.type), *_SPAN)


def _stored(given: FromClause) -> Select[Any]:
    """Select stored blocks."""
    t, same = packed_days, given.c
    here = (t.c.cube == same.cube) & (t.c.first_day == same.first) & (t.c.days == same.days)
    return select(t.c.first_day, t.c.days, t.c.changes, t.c.payload).join_from(given, t, here)


def read(connection: Connection, start: date, end: date, *cubes: Cube) -> list[Totals]:
    """Return the totals of each cube over the days from `start` to `end`, both included."""
    rows = statements.fetch(connection, CHANGES, start=start, end=end)
    changes = {day.toordinal(): count for day, count in rows}
    if not changes:
        return [_nothing(cube) for cube in cubes]
    wanted = [
        (span, stamp)
        for span in spans(min(changes), max(changes))
        if (stamp := span.changes(changes))
    ]
    reader = Reader(connection, changes)
    return [reader.totals(cube, wanted) for cube in cubes]


def read_each(
    connection: Connection, windows: Sequence[tuple[date, date]], cube: Cube
) -> list[Totals]:
    """Return the totals of `cube` over each of `windows`, which are sorted and do not overlap.

    One statement reads the blocks of all of them.
    """
    start, end = windows[0][0], windows[-1][1]
    rows = statements.fetch(connection, CHANGES, start=start, end=end)
    changes = {day.toordinal(): count for day, count in rows}
    wanted = [
        [
            (span, stamp)
            for span in spans(first.toordinal(), last.toordinal())
            if (stamp := span.changes(changes))
        ]
        for first, last in windows
    ]
    return Reader(connection, changes).each(cube, wanted)


def _nothing(cube: Cube) -> Totals:
    return Totals(Vocabulary(cube.orders), np.zeros((0, len(cube.adds)), np.int64))


class Reader:
    """Reads blocks from memory, else stored ones, else builds them from rollups."""

    def __init__(self, connection: Connection, changes: Mapping[int, int]) -> None:
        self._connection = connection
        self._cache = _cache_of(connection)
        self._changes = changes

    def totals(self, cube: Cube, wanted: Sequence[tuple[Span, int]]) -> Totals:
        """Return the sum of the `wanted` blocks, each with its last change."""
        found = [self._cache.get(cube, span, stamp) for span, stamp in wanted]
        missing = [item for item, block in zip(wanted, found, strict=True) if block is None]
        if missing:
            self._load(cube, missing)
            found = [self.block(cube, span, stamp) for span, stamp in wanted]
        return self._sum(cube, [block for block in found if block is not None])

    def each(self, cube: Cube, windows: Sequence[Sequence[tuple[Span, int]]]) -> list[Totals]:
        """Return the sum of each of several lists of blocks."""
        missing = [item for one in windows for item in one if not self._cache.get(cube, *item)]
        if missing:
            self._load(cube, missing)
        return [self._sum(cube, [self.block(cube, *item) for item in one]) for one in windows]

    def _sum(self, cube: Cube, parts: Sequence[Block]) -> Totals:
        vocabulary = self._cache.vocabularies[cube]
        sums = np.zeros((vocabulary.size, len(cube.adds)), np.int64)
        for block in parts:
            block.add_to(sums)
        return Totals(vocabulary, sums)

    def _load(self, cube: Cube, missing: Sequence[tuple[Span, int]]) -> None:
        """Load the valid stored ones of the `missing` blocks into memory."""
        stamps = dict(missing)
        rows = [(cube.name, span.first, span.days) for span in stamps]
        for first, days, changes, payload in statements.fetch_for(
            self._connection, _stored, _PACKED, rows
        ):
            span = Span(first, days)
            if stamps[span] == changes:
                block = codec.decode(self._cache.vocabularies[cube], payload)
                self._cache.put(cube, span, changes, block)

    def block(self, cube: Cube, span: Span, stamp: int) -> Block:
        """Return a block from memory, or build it from its halves."""
        found = self._cache.get(cube, span, stamp)
        if found is not None:
            return found
        if span.days == 1:
            made = self._of_day(cube, date.fromordinal(span.first))
        else:
            halves = [(half, half.changes(self._changes)) for half in span.halves()]
            halves = [(half, changed) for half, changed in halves if changed]
            self._load(cube, [item for item in halves if not self._cache.get(cube, *item)])
            parts = [self.block(cube, half, changed) for half, changed in halves]
            sums = self._sum(cube, parts).sums
            numbers = np.flatnonzero(sums.any(axis=1))
            made = Block.of(numbers, sums[numbers])
        self._cache.put(cube, span, stamp, made)
        return made

    def _of_day(self, cube: Cube, day: date) -> Block:
        rows: Sequence[Row] = statements.fetch(self._connection, cube.of_day, day=day)
        if cube.derive is not None:
            rows = cube.derive(self._connection, rows)
        if not rows:
            return Block(np.zeros((0, len(cube.adds)), np.int64))
        columns, width = list(zip(*rows, strict=True)), len(cube.key)
        numbers = self._cache.vocabularies[cube].numbers([Column.of(c) for c in columns[:width]])
        return Block.of(numbers, np.array(columns[width:], np.int64).T)

    def encode(self, cube: Cube, block: Block) -> bytes:
        """Return a block in its stored form."""
        return codec.encode(self._cache.vocabularies[cube], block)
