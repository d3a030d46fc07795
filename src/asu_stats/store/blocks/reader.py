"""Reads blocks: a query over many days costs about as much as a query over a few.

A block holds a cube over 2ⁿ days that begin at a multiple of 2ⁿ, so any time range is a handful of
blocks: 30 days are at most 8, a year at most 16. Blocks are derived and can be deleted. `packer`
stores those of closed days. A stored block is valid as long as none of its days has changed since
(`day_changes`). The reader builds missing blocks from rollups, so the result is exact either way.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from sqlalchemy import BigInteger, Connection, Date, FromClause, Select, bindparam, select

from asu_stats.store.blocks import cached, codec
from asu_stats.store.blocks.codec import Block
from asu_stats.store.blocks.cubes import Cube
from asu_stats.store.blocks.keys import Column, Vocabulary
from asu_stats.store.blocks.spans import Span, spans
from asu_stats.store.blocks.totals import Totals
from asu_stats.store.database import statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.schema import day_changes, packed_days, store_state
from asu_stats.times import bounds

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Daily(Generic[T]):
    """What a report needs of a single day, derived from the rows of a statement for this day.

    The statement takes a `day`, or the times `first` and `after`. It reads rollups only: details
    can be deleted without a change of the day.
    """

    of_day: Select[Any]
    derive: Callable[[Iterator[Row]], T]
    size: Callable[[T], int]  # bytes in memory, roughly


# Reading ----------------------------------------------------------------------------------------

CHANGES: Final = select(day_changes.c.date, day_changes.c.changes).where(
    day_changes.c.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
)
_CHANGES_UNLESS: Final = CHANGES.where(
    select(store_state.c.changes).scalar_subquery() != bindparam("unless", type_=BigInteger)
)
_BLOCK: Final = (
    ("cube", packed_days.c.cube.type),
    ("first", packed_days.c.first_day.type),
    ("days", packed_days.c.days.type),
    ("changes", packed_days.c.changes.type),
)
_ROWS_AT_ONCE: Final = 4096  # made of what the database sent


class Wanted(NamedTuple):
    """A block of a cube that is valid if it has counted all changes up to `changes`."""

    cube: Cube
    span: Span
    changes: int


def _stored(given: FromClause) -> Select[Any]:
    """Select stored blocks that are valid."""
    t, same = packed_days, given.c
    here = (t.c.cube == same.cube) & (t.c.first_day == same.first) & (t.c.days == same.days)
    columns = t.c.cube, t.c.first_day, t.c.days, t.c.payload
    return select(*columns).join_from(given, t, here & (t.c.changes == same.changes))


def send_changes(connection: Connection, start: date, end: date, unless: int | None = None) -> None:
    """Ask for the changes of days that reading starts with, and do not wait for them.

    With `unless`, nothing may be read if that is the number of the snapshot's change counter: a
    response that is remembered needs no changes.
    """
    if connection.get_execution_options().get("snapshot"):
        Reader(connection).send_changes(start, end, -1 if unless is None else unless)


def send(connection: Connection, start: date, end: date, *cubes: Cube) -> None:
    """Ask for what `read` needs later in this snapshot, and do not wait for it.

    It only waits for the changes of the days. Other statements can be sent before the cubes are
    read: all together cost one round trip.
    """
    if connection.get_execution_options().get("snapshot"):
        reader = Reader(connection)
        if days := reader.changes_of(start, end):
            each = (reader.blocks(cube, min(days), max(days)) for cube in cubes)
            reader.send([block for blocks in each for block in blocks])


def send_each(connection: Connection, windows: Sequence[tuple[date, date]], *cubes: Cube) -> None:
    """Ask for what `read_each` needs later in this snapshot, like `send`."""
    if connection.get_execution_options().get("snapshot"):
        reader = Reader(connection)
        found = (reader.blocks_of_each(windows, cube) for cube in cubes)
        reader.send([block for of_cube in found for blocks in of_cube for block in blocks])


def read(connection: Connection, start: date, end: date, *cubes: Cube) -> list[Totals]:
    """Return the totals of each cube over the days from `start` to `end`, both included."""
    reader = Reader(connection)
    changes = reader.changes_of(start, end)
    if not changes:
        return [_nothing(cube) for cube in cubes]
    return reader.totals([reader.blocks(cube, min(changes), max(changes)) for cube in cubes])


def read_each(
    connection: Connection, windows: Sequence[tuple[date, date]], cube: Cube
) -> list[Totals]:
    """Return the totals of `cube` over each of `windows`, which are sorted and do not overlap."""
    reader = Reader(connection)
    wanted = reader.blocks_of_each(windows, cube)
    found = reader.totals([blocks for blocks in wanted if blocks])
    return [found.pop(0) if blocks else _nothing(cube) for blocks in wanted]


def _nothing(cube: Cube) -> Totals:
    return Totals(Vocabulary(cube.orders), np.zeros((0, len(cube.adds)), np.int64))


def changes(connection: Connection, start: date, end: date) -> dict[int, int]:
    """Return the last change of each day from `start` to `end` that has any, by ordinal."""
    return Reader(connection).changes_of(start, end)


def send_days(connection: Connection, start: date, end: date, daily: "Daily[Any]") -> None:
    """Ask for what `read_days` needs later in this snapshot, unless that would read it now."""
    if connection.get_execution_options().get("snapshot") and connection.dialect.name != "sqlite":
        reader, days = Reader(connection), cached.of(connection).days
        changes = reader.changes_of(start, end).items()
        missing = [day for day, n in changes if (days.get((daily, day)) or (0,))[0] != n]
        reader.send_rows(missing[: reader.days_at_once([daily] * len(missing))], daily)


def read_days(
    connection: Connection, start: date, end: date, daily: "Daily[T]"
) -> Iterator[tuple[date, T]]:
    """Yield each day from `start` to `end` with data, and what `daily` has of it.

    Days that did not change since they were last read come from memory.
    """
    reader, days = Reader(connection), cached.of(connection).days
    changes, found = reader.changes_of(start, end), dict[int, T]()
    for day, count in changes.items():
        known = days.get((daily, day))
        if known and known[0] == count:
            found[day] = known[1]
    missing = reader.rows_of(sorted(changes.keys() - found.keys()), daily)
    for day in sorted(changes):
        if day not in found:
            with closing(next(missing)) as rows:
                found[day] = daily.derive(rows)
            days.put((daily, day), (changes[day], found[day]))
        yield date.fromordinal(day), found[day]


def _parameters(ordinal: int) -> dict[str, object]:
    day = date.fromordinal(ordinal)
    first, after = bounds(day, day)
    return {"day": day, "first": first, "after": after}


@dataclass(slots=True)
class _Asked:
    """What a snapshot has read and asked for."""

    # The last change of each day by ordinal, and the days for which it is known.
    changes: dict[int, int] = field(default_factory=dict)
    ranges: list[tuple[date, date, statements.Sent]] = field(default_factory=list)
    # Stored blocks as they were read. Most were requested in case a larger one is missing.
    payloads: dict[Wanted, bytes] = field(default_factory=dict)
    requested: set[Wanted] = field(default_factory=set)
    blocks: list[tuple[Collection[Wanted], statements.Sent]] = field(default_factory=list)
    days: dict[Wanted, statements.Sent] = field(default_factory=dict)
    rows: dict[tuple[Daily[Any], int], Callable[[], Generator[Row]]] = field(default_factory=dict)


_snapshots: Final[WeakKeyDictionary[Connection, _Asked]] = WeakKeyDictionary()


class Reader:
    """Reads blocks from memory, else stored ones, else builds them from rollups.

    All stored blocks are read by one statement, and the rollups of many days are sent together.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cached = cached.of(connection)
        self._of_spans: dict[Span, int] = {}  # the last change of each
        self._asked = _Asked()
        if connection.get_execution_options().get("snapshot"):
            self._asked = _snapshots.setdefault(connection, self._asked)

    def send_changes(self, start: date, end: date, unless: int) -> None:
        """Ask for the changes of days. See the function of the same name."""
        days = {"start": start, "end": end, "unless": unless}
        rows = statements.send_once(self._connection, _CHANGES_UNLESS, **days)
        self._asked.ranges.append((start, end, rows))

    def changes_of(self, start: date, end: date) -> dict[int, int]:
        """Return the last change of each day from `start` to `end` that has any, by ordinal."""
        asked = self._asked
        known = (rows for first, last, rows in asked.ranges if first <= start and end <= last)
        if (found := next(known, None)) is None:
            found = statements.send_once(self._connection, CHANGES, start=start, end=end)
            asked.ranges.append((start, end, found))
        asked.changes |= {day.toordinal(): count for day, count in found()}
        here = range(start.toordinal(), end.toordinal() + 1)
        return {day: count for day, count in asked.changes.items() if day in here}

    def blocks(self, cube: Cube, first: int, last: int) -> list[Wanted]:
        """Return the fewest blocks that cover all days with changes, given as ordinals."""
        return self._changed(cube, spans(first, last))

    def blocks_of_each(
        self, windows: Sequence[tuple[date, date]], cube: Cube
    ) -> list[list[Wanted]]:
        """Return the blocks of a cube over each of `windows`."""
        self.changes_of(windows[0][0], windows[-1][1])
        return [self.blocks(cube, a.toordinal(), b.toordinal()) for a, b in windows]

    def days_at_once(self, days: Sequence[Daily[Any] | Cube]) -> int:
        """Return how many days are sent together. SQLite has no round trips."""
        return 1 if self._connection.dialect.name == "sqlite" else self._cached.days_at_once(days)

    def send_rows(self, days: Iterable[int], daily: Daily[Any]) -> None:
        """Ask for the rows of days, and do not wait for them."""
        for day in days:
            if (daily, day) not in self._asked.rows:
                self._asked.rows[daily, day] = statements.send_streamed(
                    self._connection, daily.of_day, _ROWS_AT_ONCE, **_parameters(day)
                )

    def rows_of(self, days: Sequence[int], daily: Daily[Any]) -> Iterator[Generator[Row]]:
        """Yield the rows of each of `days`."""
        left = list(days)
        while left:
            some = left[: self.days_at_once([daily] * len(left))]
            del left[: len(some)]
            self.send_rows(some, daily)
            yield from (self._noted(daily, self._asked.rows.pop((daily, day))()) for day in some)

    def _noted(self, daily: Daily[Any], rows: Generator[Row]) -> Generator[Row]:
        count = 0
        try:
            for row in rows:
                count += 1
                yield row
        finally:
            rows.close()
            self._cached.note_rows(daily, count)

    def totals(self, wanted: Sequence[Sequence[Wanted]]) -> list[Totals]:
        """Return the sum of each list of blocks, which are of one cube and not empty."""
        self.load(block for blocks in wanted for block in blocks)
        return [
            self._sum(blocks[0].cube, [self.block(block) for block in blocks]) for blocks in wanted
        ]

    def send(self, wanted: Iterable[Wanted]) -> None:
        """Ask for stored blocks and for days that `load` will need. Do not wait for them.

        The days of the last change are usually not stored yet.
        """
        missing = [block for block in wanted if not self._is_here(block)]
        parts = {part for block in missing for part in self._unknown(block)}
        if parts:
            self._request(parts)
        if self._connection.dialect.name == "sqlite":
            return
        last = max((block.changes for block in missing), default=0)
        newest = {day for block in missing for day in self._days(block) if day.changes == last}
        for day in newest - self._asked.days.keys():
            self._asked.days[day] = self._send_day(day)

    def load(self, wanted: Iterable[Wanted]) -> None:
        """Bring blocks, or all that they are built from, into memory."""
        self._receive()
        missing = [block for block in wanted if not self._is_here(block)]
        while parts := {part for block in missing for part in self._unknown(block)}:
            self._request(parts)
            self._receive()
        left = list(dict.fromkeys(day for block in missing for day in self._days(block)))
        while left:
            some = left[: self.days_at_once([day.cube for day in left])]
            del left[: len(some)]
            for day in some:
                if day not in self._asked.days:
                    self._asked.days[day] = self._send_day(day)
            for day in some:
                self._cached.put(*day, self._of_day(day.cube, self._asked.days.pop(day)()))

    def block(self, wanted: Wanted) -> Block:
        """Return a block from memory, or build it from its halves."""
        found = self._cached.get(*wanted)
        if found is None:
            found = self._read(wanted) or self._built(wanted)
            self._cached.put(*wanted, found)
        return found

    def _read(self, wanted: Wanted) -> Block | None:
        """Return a block that was read, `None` if it was not read or is damaged."""
        payload = self._asked.payloads.pop(wanted, None)
        if payload is None:
            return None
        try:
            return codec.decode(self._cached.vocabularies[wanted.cube], payload)
        except codec.DamagedBlockError as error:  # it is summed again from the rollups
            where = f"{wanted.cube.name} of {wanted.span.days} days"
            self._cached.damage.failed(f"{where}: {error}")
            return None

    def _is_here(self, wanted: Wanted) -> bool:
        """Return whether a block is in memory, or was read."""
        return wanted in self._asked.payloads or self._cached.get(*wanted) is not None

    def encode(self, cube: Cube, block: Block) -> bytes:
        """Return a block in its stored form."""
        return codec.encode(self._cached.vocabularies[cube], block)

    def _built(self, wanted: Wanted) -> Block:
        if wanted.span.days == 1:
            return self._of_day(wanted.cube, self._send_day(wanted)())
        halves = self._halves(wanted)
        self.load(halves)
        sums = self._sum(wanted.cube, [self.block(half) for half in halves]).sums
        numbers = np.flatnonzero(sums.any(axis=1))
        return Block.of(numbers, sums[numbers])

    def _changed(self, cube: Cube, spans: Iterable[Span]) -> list[Wanted]:
        """Return the blocks over those of `spans` that have changes."""
        return [
            Wanted(cube, span, changes) for span in spans if (changes := self.last_change(span))
        ]

    def last_change(self, span: Span) -> int:
        """Return the last change of any day of a span; 0 if there was none."""
        found = self._of_spans.get(span)
        if found is None:
            found = self._of_spans[span] = span.changes(self._asked.changes)
        return found

    def _halves(self, wanted: Wanted) -> list[Wanted]:
        return self._changed(wanted.cube, wanted.span.halves())

    def _unknown(self, wanted: Wanted) -> Iterator[Wanted]:
        """Yield the parts of a block that were not requested yet and may be stored.

        If a block is not stored, that is usually because of its last change. So the half that has
        this change is likely to be missing too, and its halves are requested at the same time.
        """
        if self._is_here(wanted):
            return
        new = wanted not in self._asked.requested
        if new:
            yield wanted
        if wanted.span.days > 1:
            for half in self._halves(wanted):
                if not new or half.changes == wanted.changes:
                    yield from self._unknown(half)
                elif half not in self._asked.requested and not self._is_here(half):
                    yield half

    def _days(self, wanted: Wanted) -> Iterator[Wanted]:
        """Yield the days of a block that are neither in memory nor stored, alone or in a block."""
        if self._is_here(wanted):
            return
        if wanted.span.days == 1:
            yield wanted
        else:
            for half in self._halves(wanted):
                yield from self._days(half)

    def _request(self, wanted: Collection[Wanted]) -> None:
        """Ask for the valid stored ones of some blocks."""
        rows = sorted((w.cube.name, w.span.first, w.span.days, w.changes) for w in wanted)
        sent = statements.send_for(self._connection, _stored, _BLOCK, rows)
        self._asked.blocks.append((wanted, sent))
        self._asked.requested |= set(wanted)

    def _receive(self) -> None:
        """Wait for the blocks that were requested."""
        while self._asked.blocks:
            wanted, rows = self._asked.blocks.pop()
            known = {(w.cube.name, w.span.first, w.span.days): w for w in wanted}
            for *key, payload in rows():
                self._asked.payloads[known[tuple(key)]] = payload

    def _send_day(self, wanted: Wanted) -> statements.Sent:
        if wanted.cube.send is not None:
            wanted.cube.send(self._connection)
        day = date.fromordinal(wanted.span.first)
        return statements.send(self._connection, wanted.cube.of_day, day=day)

    def _of_day(self, cube: Cube, rows: Sequence[Row]) -> Block:
        self._cached.note_rows(cube, len(rows))
        if cube.derive is not None:
            rows = cube.derive(self._connection, rows)
        if not rows:
            return Block(np.zeros((0, len(cube.adds)), np.int64))
        columns, width = list(zip(*rows, strict=True)), len(cube.key)
        numbers = self._cached.vocabularies[cube].numbers([Column.of(c) for c in columns[:width]])
        return Block.of(numbers, np.array(columns[width:], np.int64).T)

    def _sum(self, cube: Cube, parts: Sequence[Block]) -> Totals:
        vocabulary = self._cached.vocabularies[cube]
        sums = np.zeros((vocabulary.size, len(cube.adds)), np.int64)
        for block in parts:
            block.add_to(sums)
        return Totals(vocabulary, sums)
