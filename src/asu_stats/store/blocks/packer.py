"""Stores the blocks of closed days, and again after a late event has changed one."""

import contextlib
import logging
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final, Self

from sqlalchemy import Connection, Engine, delete, func, select

from asu_stats.loops import Loop
from asu_stats.store.blocks import reader
from asu_stats.store.blocks.cubes import CUBES, NAMES
from asu_stats.store.blocks.spans import LARGEST, Span
from asu_stats.store.database import dialects, statements
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import packed_days

log = logging.getLogger(__name__)

_SECONDS: Final = 60.0
_USUAL_DAYS: Final = 30


def stale(engine: Engine, today: date) -> list[Span]:
    """Return the blocks of closed days that are missing or outdated, smaller ones first."""
    with read_snapshot(engine) as connection:
        changes = _all_changes(connection, today)
        t = packed_days
        stored = (
            select(t.c.first_day, t.c.days, func.min(t.c.changes), func.count())
            .where(t.c.cube.in_(NAMES))
            .group_by(t.c.first_day, t.c.days)
        )
        known = {
            Span(first, days): stamp
            for first, days, stamp, count in connection.execute(stored)
            if count == len(CUBES)
        }
    found, days = [], 1
    closed = today.toordinal()
    while days <= LARGEST:
        for first in sorted({day - day % days for day in changes}):
            span = Span(first, days)
            if first + days <= closed and known.get(span) != span.changes(changes):
                found.append(span)
        days *= 2
    return found


def pack(engine: Engine, today: date, progress: Callable[[], object] = lambda: None) -> int:
    """Store missing and outdated blocks of closed days; return how many.

    Each is read from one snapshot and stored in a small transaction. Raises
    `StoreUnavailableError`.
    """
    with write_transaction(engine) as connection:
        connection.execute(delete(packed_days).where(packed_days.c.cube.not_in(NAMES)))
    todo = stale(engine, today)
    for span in todo:
        with read_snapshot(engine, unlimited=True) as connection:
            packed = _packed(connection, span)
        with write_transaction(engine) as connection:
            key, columns = ("cube", "first_day", "days"), ("changes", "payload")
            statements.upsert(connection, packed_days, key, columns, packed)
        progress()
    return len(todo)


def _packed(connection: Connection, span: Span) -> list[dialects.Row]:
    """Return the rows of a block of every cube, from one snapshot."""
    first = date.fromordinal(span.first)
    end = date.fromordinal(span.first + span.days - 1)
    blocks = reader.Reader(connection)
    blocks.changes_of(first, end)
    last = blocks.last_change(span)
    wanted = [reader.Wanted(cube, span, last) for cube in CUBES]
    blocks.load(wanted)
    return [
        (
            block.cube.name,
            span.first,
            span.days,
            block.changes,
            blocks.encode(block.cube, blocks.block(block)),
        )
        for block in wanted
    ]


def _all_changes(connection: Connection, today: date) -> dict[int, int]:
    """Return the last change of each closed day."""
    rows = statements.fetch(connection, reader.CHANGES, start=date.min, end=today)
    return {day.toordinal(): count for day, count in rows if day < today}


class Packer:
    """Stores blocks in the background, every minute. Several packers on a database are harmless."""

    def __init__(self, engine: Engine, today: Callable[[], date]) -> None:
        self._engine = engine
        self._today = today
        self._loop = Loop("packer", self._run, seconds=_SECONDS, at_once=True)

    def __enter__(self) -> Self:
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.join()

    def _run(self) -> None:
        today = self._today()
        with contextlib.suppress(_StoppedError):
            pack(self._engine, today, self._check)
            self._read(today)

    def _read(self, today: date) -> None:
        """Read the most common time range, so that its blocks are cached for the first request."""
        with read_snapshot(self._engine) as connection:
            reader.read(connection, today - timedelta(days=_USUAL_DAYS - 1), today, *CUBES)

    def _check(self) -> None:
        if self._loop.is_stopping:
            raise _StoppedError


class _StoppedError(Exception):
    """The packer is stopping."""
