"""The change counter: the version of all figures.

It increases with every change and never repeats a number, even after the database is restored from
a backup: it is at least the time in microseconds. Responses, ETags and blocks that are cached under
a number therefore stay valid.

Every change of figures begins here. So here a process notices that another release has migrated the
database since the process started: it would write figures that the new release does not expect.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import date
from functools import cache
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Connection,
    Date,
    Engine,
    bindparam,
    case,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql

from asu_stats.exceptions import ChangedSchemaError
from asu_stats.store.database import dialects, sqlite, statements
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import REVISION, day_changes, schema_version, store_state

log = logging.getLogger(__name__)

COUNTER: Final = select(store_state.c.changes)


class State(NamedTuple):
    """State of the store at the beginning of a change."""

    changes: int
    requests_numbered: int
    data_since: date | None
    archived_before: date | None = None
    hourly_since: date | None = None


_s: Final = store_state.c
_NOW: Final = bindparam("now", type_=BigInteger)
_NEXT_NUMBER: Final = case((_s.changes < _NOW, _NOW), else_=_s.changes + 1)
_REVISION: Final = select(schema_version.c.version_num)
_STATE: Final = (*(_s[name] for name in State._fields), _REVISION.scalar_subquery())
_READ: Final = select(*_STATE)
_NEXT: Final = update(store_state).values(changes=_NEXT_NUMBER).returning(*_STATE)
_SINCE: Final = bindparam("since", type_=Date)
_NUMBERED: Final = bindparam("numbered", type_=BigInteger)
_BATCH: Final = update(store_state).values(
    changes=_NEXT_NUMBER,
    requests_numbered=case(
        (_s.requests_numbered < _NUMBERED, _NUMBERED), else_=_s.requests_numbered
    ),
    data_since=case((_s.data_since <= _SINCE, _s.data_since), else_=_SINCE),
)
_PAUSE_SECONDS: Final = 1.0


class Figures(NamedTuple):
    """State of the figures of a snapshot: the change counter, and since when there are figures."""

    changes: int
    data_since: date | None
    hourly_since: date | None


_FIGURES: Final = select(*(store_state.c[name] for name in Figures._fields))


def send_figures(connection: Connection) -> None:
    """Ask for what `figures` returns, and do not wait for it."""
    statements.send_once(connection, _FIGURES)


def figures(connection: Connection) -> Figures:
    """Return the state of the figures."""
    return Figures(*statements.fetch_once(connection, _FIGURES)[0])


def send_state(connection: Connection) -> Callable[[], State]:
    """Ask for the state of the store, as in `statements.send`, before a batch.

    Fetching raises `ChangedSchemaError` if this program is not that of the schema.
    """
    rows = statements.send(connection, _READ)
    return lambda: _checked(*rows()[0])


def begin(connection: Connection) -> State:
    """Count a change of figures that this transaction is about to make.

    No other transaction can count one until this one ends, so commits are in the order of numbers.
    Raises `ChangedSchemaError` if this program is not that of the schema.
    """
    (row,) = statements.fetch(connection, _NEXT, now=time.time_ns() // 1000)
    return _checked(*row)


def check_schema(connection: Connection) -> None:
    """Raise `ChangedSchemaError` if this program is not that of the schema."""
    ((revision,),) = statements.fetch(connection, _REVISION)
    _check(revision)


def _checked(*row: Any) -> State:
    *state, revision = row
    _check(revision)
    return State(*state)


def _check(revision: str | None) -> None:
    if revision != REVISION:
        raise ChangedSchemaError(revision, REVISION)


def begin_batch(connection: Connection, since: date, numbered: int) -> None:
    """Like `begin`, but do not wait for the number: for a batch whose first day is `since`.

    `numbered` is the greatest number of its requests.
    """
    now = time.time_ns() // 1000
    statements.execute(connection, _BATCH, now=now, since=since, numbered=numbered)


def stamp_batch(connection: Connection, days: Iterable[date]) -> None:
    """Store that the change that has begun affects the UTC `days`."""
    if connection.dialect.name == "sqlite":
        ((counted,),) = statements.fetch(connection, COUNTER)
        stamp(connection, days, counted)
    elif rows := [(day,) for day in sorted(days)]:
        values = dialects.given_values("postgresql", _DATE, rows)
        statements.execute(connection, _stamp(), **values)


_DATE: Final = (("date", day_changes.c.date.type),)


@cache
def _stamp() -> ClauseElement:
    given = dialects.given("postgresql", _DATE)
    counted = select(given.c.date, _s.changes).select_from(given.join(store_state, true()))
    stamped = postgresql.insert(day_changes).from_select(["date", "changes"], counted)
    return stamped.on_conflict_do_update(
        index_elements=["date"], set_={"changes": stamped.excluded.changes}
    )


def stamp(connection: Connection, days: Iterable[date], changes: int) -> None:
    """Store that the change with the number `changes` affects the UTC `days`."""
    rows = [(day, changes) for day in sorted(days)]
    statements.upsert(connection, day_changes, ("date",), ("changes",), rows)


def since(engine: Engine, counted: int) -> tuple[int, list[date]]:
    """Return the counter, and the UTC days that changed after it was `counted`."""
    t = day_changes
    with read_snapshot(engine) as connection:
        now = connection.execute(COUNTER).scalar_one()
        changed = select(t.c.date).where(t.c.changes > counted).order_by(t.c.date)
        return now, list(connection.execute(changed).scalars())


class ChangeCounter:
    """Reads the counter from SQLite on a separate connection, without waiting.

    For a single thread. On PostgreSQL reading would cost a round trip, so it is reported as
    unknown.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cursor: dialects.Cursor | None = None
        self._text = dialects.compiled("sqlite", COUNTER).text
        self._not_before = 0.0

    def read(self) -> int | None:
        """Return the counter, `None` if it is not known immediately."""
        if self._engine.dialect.name != "sqlite" or time.monotonic() < self._not_before:
            return None
        try:
            cursor = self._cursor or self._open()
            cursor.execute(self._text)
            return int(cursor.fetchall()[0][0])
        except Exception as error:  # the regular query will report the error
            log.debug("change counter: %s", error)
            self.close()
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            return None

    def _open(self) -> dialects.Cursor:
        self._connection = sqlite.connect_outside_pool(self._engine)
        self._cursor = cast(dialects.Cursor, self._connection.cursor())
        return self._cursor

    def close(self) -> None:
        if self._cursor is not None:
            self._cursor = None
            self._connection.close()
