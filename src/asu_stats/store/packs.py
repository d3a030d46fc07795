"""Packed days: what makes a question about many days cost no more than one about few.

A cube is a part of a rollup that some report asks for, summed over days. A block holds a cube of
2ⁿ days that begin at a multiple of 2ⁿ, so any window is a handful of blocks: 30 days are at most 8,
a year at most 16. Blocks are derived and disposable. `packing` stores those of closed days; one is
valid as long as none of its days has changed since (`day_changes`), and a reader makes what is
missing from the rollups, so an answer is exact whether or not anything was packed.
"""

import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from sqlalchemy import Connection, Date, Engine, FromClause, Select, bindparam, func, select

from asu_stats.store import package_lists, prepared
from asu_stats.store.dialects import Row
from asu_stats.store.rollups import (
    CLIENT_UNIQUE_REQUESTS,
    CLIENT_VERSIONS,
    CLIENTS,
    DURATIONS,
    ERRORS,
    PACKAGES,
    PROFILES,
    UNIQUE_REQUESTS,
    VERSION_TARGET,
    Rollup,
)
from asu_stats.store.tables import day_changes, packed_days
from asu_stats.store.vocabulary import Groups, Ints, Key, Values, Vocabulary

LARGEST: Final = 512  # days of a block
_CACHE_BYTES: Final = 64 << 20
_DENSE: Final = 4  # a block with one key in so many has a row for every key
_CACHE_KEYS: Final = 1_000_000  # names come from strangers: what was met once is not kept for ever
_DAY: Final = bindparam("day", type_=Date)


def _name_of(name: str, rollup: Rollup, key: tuple[str, ...], adds: tuple[str, ...]) -> str:
    """Return a name in which the shape shows.

    Blocks that another release packed in another shape must not be taken for ours.
    """
    shape = blake2b(repr((rollup.name, key, adds)).encode(), digest_size=3).hexdigest()
    return f"{name}-{shape}"


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """Sums of a daily rollup per `key`, which is its key or a part of it, without the day.

    Dates in a key are kept as ordinals.
    """

    name: str
    rollup: Rollup
    key: tuple[str, ...]
    adds: tuple[str, ...]
    of_day: Select[Any]
    # Makes rows of key and sums from what `of_day` selects, where those are others.
    derive: Callable[[Connection, Sequence[Row]], Sequence[Row]] | None = None

    @classmethod
    def of(
        cls, name: str, rollup: Rollup, key: tuple[str, ...], adds: tuple[str, ...] = ()
    ) -> "Cube":
        """Declare the cube of some of the sums that `rollup` adds, or of all of them."""
        t = rollup.table
        adds = adds or rollup.adds
        keys = [t.c[column] for column in key]
        sums = [func.sum(t.c[add]) for add in adds]
        of_day = select(*keys, *sums).where(t.c.date == _DAY).group_by(*keys)
        return cls(_name_of(name, rollup, key, adds), rollup, key, adds, of_day)

    @classmethod
    def of_packages(cls, name: str) -> "Cube":
        """Declare the cube of packages by version: the lists of `stats_packages`, taken apart."""
        t, key = PACKAGES.table, ("version", "package")
        of_day = (
            select(t.c.version, t.c.package_list, func.sum(t.c.requests))
            .where(t.c.date == _DAY)
            .group_by(t.c.version, t.c.package_list)
        )
        derive = package_lists.by_version
        full_name = _name_of(name, PACKAGES, key, PACKAGES.adds)
        return cls(full_name, PACKAGES, key, PACKAGES.adds, of_day, derive)

    def place(self, add: str) -> int:
        """Return the place of a sum."""
        return self.adds.index(add)


_BUILDS: Final = PROFILES.adds
_REQUESTS: Final = ("request_count",)
_DIFF: Final = ("diff_packages_true", "diff_packages_false")

SECONDS: Final = Cube.of("seconds", DURATIONS, ("seconds",))
VERSION_SECONDS: Final = Cube.of("version_seconds", DURATIONS, ("version", "seconds"))
VERSIONS: Final = Cube.of("versions", VERSION_TARGET, ("version",), (*_BUILDS, *_DIFF))
VERSION_TARGETS: Final = Cube.of(
    "version_targets", VERSION_TARGET, ("version", "target"), _REQUESTS
)
TARGETS: Final = Cube.of("targets", VERSION_TARGET, ("target",), _BUILDS)
TARGET_PROFILES: Final = Cube.of("target_profiles", PROFILES, ("target", "profile"), _REQUESTS)
BY_PROFILE: Final = Cube.of("profiles", PROFILES, ("profile",))
BY_CLIENT: Final = Cube.of("clients", CLIENTS, ("client",))
BY_CLIENT_VERSION: Final = Cube.of("client_versions", CLIENT_VERSIONS, ("client", "version"))
FAILURES: Final = Cube.of("errors", ERRORS, ("error_category", "error_type", "version"))
UNIQUE: Final = Cube.of("unique_requests", UNIQUE_REQUESTS, ("previous_date",))
CLIENT_UNIQUE: Final = Cube.of(
    "client_unique_requests", CLIENT_UNIQUE_REQUESTS, ("client", "previous_date")
)
BY_PACKAGE: Final = Cube.of_packages("packages")
CUBES: Final = (
    SECONDS,
    VERSION_SECONDS,
    VERSIONS,
    VERSION_TARGETS,
    TARGETS,
    TARGET_PROFILES,
    BY_PROFILE,
    BY_CLIENT,
    BY_CLIENT_VERSION,
    FAILURES,
    UNIQUE,
    CLIENT_UNIQUE,
    BY_PACKAGE,
)
NAMES: Final = [cube.name for cube in CUBES]


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a block: `days` of them from the ordinal `first`, a multiple of `days`."""

    first: int
    days: int

    def halves(self) -> tuple["Span", "Span"]:
        """Return the two blocks that this one is made of."""
        half = self.days // 2
        return Span(self.first, half), Span(self.first + half, half)

    def changes(self, changes: Mapping[int, int]) -> int:
        """Return when one of the days last changed; 0 if none ever did."""
        if self.days == 1:
            return changes.get(self.first, 0)
        return max(changes.get(self.first + n, 0) for n in range(self.days))


@lru_cache(maxsize=256)
def spans(first: int, last: int) -> tuple[Span, ...]:
    """Return the fewest blocks that together are the days from `first` to `last`."""
    found = []
    while first <= last:
        days = LARGEST
        while first % days or first + days - 1 > last:
            days //= 2
        found.append(Span(first, days))
        first += days
    return tuple(found)


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

    def rows(self) -> tuple[list[int], Ints]:
        """Return the numbers of the keys that have a sum other than 0, and their sums."""
        some = np.flatnonzero(self.sums.any(axis=1))
        numbers = some if self.numbers is None else self.numbers[some]
        return numbers.tolist(), self.sums[some]


@dataclass(frozen=True, slots=True)
class Totals:
    """A cube over a window: a row of sums for every key of the vocabulary, most of them 0."""

    vocabulary: Vocabulary
    sums: Ints

    def column(self, place: int) -> tuple[Values, Ints]:
        """Return the distinct values of one part of the keys, and the place of each key's."""
        column = self.vocabulary.column(place, len(self.sums))
        return column.values, column.codes[: len(self.sums)]

    def grouped(self) -> tuple[Groups, Ints]:
        """Return the keys in order, in groups that differ in the last part; and the first sums."""
        groups = self.vocabulary.groups(len(self.sums))
        return groups, self.sums[groups.order, 0]

    def by_name(self) -> tuple[list[Any], Ints]:
        """Return the last parts of the keys that have sums, in order, and those sums."""
        groups = self.vocabulary.groups(len(self.sums))
        sums = self.sums[groups.order]
        some = np.flatnonzero(sums.any(axis=1))
        return groups.tails[some].tolist(), sums[some]

    def rows(self) -> Iterator[tuple[Key, list[int]]]:
        """Yield the keys that have a sum other than 0, and their sums."""
        places = np.flatnonzero(self.sums.any(axis=1))
        keys = self.vocabulary.keys
        return zip(map(keys.__getitem__, places.tolist()), self.sums[places].tolist(), strict=True)


class _Cache:
    """Vocabularies and blocks of one database in this process; each block as of some change."""

    def __init__(self) -> None:
        self.vocabularies = {cube: Vocabulary() for cube in CUBES}
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[Cube, Span], tuple[int, Block]] = OrderedDict()
        self._bytes = 0

    @property
    def keys(self) -> int:
        """How many keys the vocabularies hold."""
        return sum(len(vocabulary.keys) for vocabulary in self.vocabularies.values())

    def get(self, cube: Cube, span: Span, changes: int) -> Block | None:
        """Return a block as of a change, if it is there."""
        with self._lock:
            found = self._blocks.get((cube, span))
            if found is None or found[0] != changes:
                return None
            self._blocks.move_to_end((cube, span))
            return found[1]

    def put(self, cube: Cube, span: Span, changes: int, block: Block) -> None:
        """Remember a block; those used longest ago make room."""
        with self._lock:
            before = self._blocks.pop((cube, span), None)
            self._bytes += block.bytes - (before[1].bytes if before else 0)
            self._blocks[cube, span] = changes, block
            while self._bytes > _CACHE_BYTES:
                _, (_, dropped) = self._blocks.popitem(last=False)
                self._bytes -= dropped.bytes


_caches: WeakKeyDictionary[Engine, _Cache] = WeakKeyDictionary()
_caches_guard = threading.Lock()


def _cache_of(connection: Connection) -> _Cache:
    with _caches_guard:
        cache = _caches.get(connection.engine)
        if cache is None or cache.keys > _CACHE_KEYS:
            cache = _caches[connection.engine] = _Cache()
        return cache


def forget(engine: Engine) -> None:
    """Forget what this process remembers of a database, as a new process would."""
    with _caches_guard:
        _caches.pop(engine, None)


# Reading ----------------------------------------------------------------------------------------

CHANGES: Final = select(day_changes.c.date, day_changes.c.changes).where(
    day_changes.c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
)
_SPAN: Final = (("first", packed_days.c.first_day.type), ("days", packed_days.c.days.type))
_PACKED: Final = (("cube", packed_days.c.cube.type), *_SPAN)


def _stored(given: FromClause) -> Select[Any]:
    """Select given blocks."""
    t, same = packed_days, given.c
    here = (t.c.cube == same.cube) & (t.c.first_day == same.first) & (t.c.days == same.days)
    return select(t.c.first_day, t.c.days, t.c.changes, t.c.payload).join_from(given, t, here)


def read(connection: Connection, start: date, end: date, *cubes: Cube) -> list[Totals]:
    """Return each of `cubes` over the days from `start` to `end`, both included."""
    rows = prepared.fetch(connection, CHANGES, start=start, end=end)
    changes = {day.toordinal(): count for day, count in rows}
    if not changes:
        return [Totals(Vocabulary(), np.zeros((0, len(cube.adds)), np.int64)) for cube in cubes]
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
    """Return `cube` over each of `windows`, which are in order and do not overlap.

    Blocks of all of them are read with one statement.
    """
    start, end = windows[0][0], windows[-1][1]
    rows = prepared.fetch(connection, CHANGES, start=start, end=end)
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


class Reader:
    """Reads blocks: from memory, else as they were packed, else made from the rollups."""

    def __init__(self, connection: Connection, changes: Mapping[int, int]) -> None:
        self._connection = connection
        self._cache = _cache_of(connection)
        self._changes = changes

    def totals(self, cube: Cube, wanted: Sequence[tuple[Span, int]]) -> Totals:
        """Return the sum of the blocks of `wanted` spans, each as of a change."""
        found = [self._cache.get(cube, span, stamp) for span, stamp in wanted]
        missing = [item for item, block in zip(wanted, found, strict=True) if block is None]
        if missing:
            self._load(cube, missing)
            found = [self.block(cube, span, stamp) for span, stamp in wanted]
        return self._sum(cube, [block for block in found if block is not None])

    def each(self, cube: Cube, windows: Sequence[Sequence[tuple[Span, int]]]) -> list[Totals]:
        """Return the sums of each of several lists of blocks."""
        missing = [item for one in windows for item in one if not self._cache.get(cube, *item)]
        if missing:
            self._load(cube, missing)
        found = [[self.block(cube, *item) for item in one] for one in windows]
        return [self._sum(cube, blocks) for blocks in found]

    def _sum(self, cube: Cube, blocks: Sequence[Block]) -> Totals:
        vocabulary = self._cache.vocabularies[cube]
        sums = np.zeros((len(vocabulary.keys), len(cube.adds)), np.int64)
        for block in blocks:
            block.add_to(sums)
        return Totals(vocabulary, sums)

    def _load(self, cube: Cube, missing: Sequence[tuple[Span, int]]) -> None:
        """Take what is stored of `missing` blocks, and is valid, into memory."""
        stamps = dict(missing)
        rows = [(cube.name, span.first, span.days) for span in stamps]
        for first, days, changes, payload in prepared.fetch_for(
            self._connection, _stored, _PACKED, rows
        ):
            span = Span(first, days)
            if stamps[span] == changes:
                self._cache.put(cube, span, changes, self._decode(cube, payload))

    def block(self, cube: Cube, span: Span, stamp: int) -> Block:
        """Return a block, from memory or from its parts."""
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
        rows: Sequence[Row] = prepared.fetch(self._connection, cube.of_day, day=day)
        if cube.derive is not None:
            rows = cube.derive(self._connection, rows)
        width = len(cube.key)
        keys = [
            tuple(part.toordinal() if isinstance(part, date) else part for part in row[:width])
            for row in rows
        ]
        sums = np.array([[int(amount) for amount in row[width:]] for row in rows], np.int64)
        return self._make(cube, keys, sums)

    def _make(self, cube: Cube, keys: Sequence[Key], sums: Ints) -> Block:
        numbers = self._cache.vocabularies[cube].numbers(keys)
        return Block.of(numbers, sums.reshape(len(keys), len(cube.adds)))

    def _decode(self, cube: Cube, payload: bytes) -> Block:
        keys, sums = json.loads(zlib.decompress(payload))
        return self._make(cube, list(zip(*keys, strict=True)), np.array(sums, np.int64).T)

    def encode(self, cube: Cube, block: Block) -> bytes:
        """Return a block as it is stored: columns of keys and of sums, as JSON, compressed."""
        known = self._cache.vocabularies[cube].keys
        numbers, sums = block.rows()
        keys = list(zip(*map(known.__getitem__, numbers), strict=True))
        text = json.dumps([keys, sums.T.tolist()], separators=(",", ":"))
        return zlib.compress(text.encode(), 1)
