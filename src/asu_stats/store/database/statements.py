"""Reads and writes rows at the speed of the driver.

A statement is declared in SQLAlchemy Core and compiled once per database. Rows go to the driver
unchanged. A batch has several rows per event, and compiling, binding and wrapping each would cost
several times as much as the database itself.
"""

import contextlib
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeAlias, cast
from weakref import WeakKeyDictionary

from sqlalchemy import (
    ClauseElement,
    Connection,
    Delete,
    FromClause,
    Insert,
    Select,
    Table,
    Update,
    literal,
    select,
)
from sqlalchemy.sql.dml import ReturningUpdate

from asu_stats.store.database import citus, dialects
from asu_stats.store.database.dialects import Convert, Cursor, Field, Row

Names: TypeAlias = tuple[str, ...]
Statement: TypeAlias = Select[Any] | ReturningUpdate[Any]
# Returns a SELECT that joins a table of rows that are passed as parameters.
Joined: TypeAlias = Callable[[FromClause], Select[Any]]


_ONE: Final = select(literal(1))

# Waits for the rows of a statement that was sent, and returns them.
Sent: TypeAlias = Callable[[], list[Row]]


# One per connection, except for streams and what was sent: each result is read at once.
_cursors: Final[WeakKeyDictionary[Connection, Cursor]] = WeakKeyDictionary()


def _cursor(connection: Connection) -> Cursor:
    found = _cursors.get(connection)
    if found is None:
        found = _cursors[connection] = _new_cursor(connection)
    return found


def _new_cursor(connection: Connection) -> Cursor:
    return cast(Cursor, connection.connection.cursor())


class _Later:
    """Takes statements, to run later."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Sequence[object]]] = []

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> None:
        self.calls.append((statement, parameters))


@contextlib.contextmanager
def together(connection: Connection) -> Iterator[None]:
    """Send what the block writes at its end, so that a lock that it takes is held for less time.

    On SQLite it is written at once. The block must not read.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    cursor, later = _cursor(connection), _Later()
    _cursors[connection] = cast(Cursor, later)
    try:
        yield
    finally:
        _cursors[connection] = cursor
    cast(Any, connection.connection.dbapi_connection).send_together(cursor, later.calls)


_Key: TypeAlias = tuple[object, ...]
# What a snapshot has sent or read, by statement and parameters: nothing changes within it.
_sent: Final[WeakKeyDictionary[Connection, dict[_Key, Sent]]] = WeakKeyDictionary()


class Call(NamedTuple):
    """A statement that was sent once in a snapshot."""

    statement: Statement
    parameters: Mapping[str, object]


# By connection: what it had sent before notes were taken, and the calls since then.
_notes: Final[WeakKeyDictionary[Connection, tuple[frozenset[_Key], dict[_Key, Call]]]] = (
    WeakKeyDictionary()
)


@lru_cache(maxsize=256)
def _decoders(dialect: str, statement: Statement) -> tuple[Convert | None, ...]:
    return tuple(dialects.decoder(dialect, c.type) for c in statement.exported_columns)


class Tables(NamedTuple):
    """Given rows that a statement uses as tables: its beginning and its parameters."""

    begin: str = ""
    values: Sequence[object] = ()

    def before(self, statement: str) -> str:
        """Return the text of a statement that begins with these tables."""
        if self.begin and statement.startswith("WITH "):  # it has tables of its own
            return f"{self.begin.rstrip()}, {statement.removeprefix('WITH ')}"
        return self.begin + statement


_NO_TABLES: Final = Tables()


def tables(connection: Connection, rows: Mapping[Table, Sequence[Row]]) -> Tables:
    """Let statements of this connection use tables of given rows. Needs no write access."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        return Tables(*dialects.with_rows(dialect, rows))
    cursor = _cursor(connection)
    for table, given in rows.items():
        for statement in dialects.emptied(dialect, table):  # in memory: a read-only file works too
            cursor.execute(statement)
        insert(connection, table, tuple(column.name for column in table.columns), given)
    return _NO_TABLES


def fetch(
    connection: Connection,
    statement: Statement,
    named: Tables = _NO_TABLES,
    /,
    **parameters: object,
) -> list[Row]:
    """Return the rows of a statement that is declared once, at import of its module."""
    dialect = connection.dialect.name
    compiled = dialects.compiled(dialect, statement)
    cursor = _cursor(connection)
    values = [*named.values, *compiled.values(dialect, parameters)]
    cursor.execute(named.before(compiled.text), values)
    return _decoded(dialect, statement, cursor.fetchall())


def send(connection: Connection, statement: Statement, /, **parameters: object) -> Sent:
    """Run a statement like `fetch`, but do not wait for its rows.

    In a pipelined transaction, all that was sent before the first wait costs one round trip.
    """
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return partial(list, fetch(connection, statement, **parameters))
    compiled = dialects.compiled(dialect, statement)
    cursor = _new_cursor(connection)
    cursor.execute(compiled.text, compiled.values(dialect, parameters))
    return lambda: _decoded(dialect, statement, cursor.fetchall())


def send_streamed(
    connection: Connection, statement: Select[Any], size: int, /, **parameters: object
) -> Callable[[], Generator[Row]]:
    """Run a statement like `send`. `size` rows at a time are made from what the database sent.

    SQLite reads them only then. Who stops before the last row closes the iterator.
    """
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return lambda: _each(stream(connection, statement, size, **parameters))
    compiled = dialects.compiled(dialect, statement)
    cursor = _new_cursor(connection)
    cursor.execute(compiled.text, compiled.values(dialect, parameters))
    parts = iter(lambda: _decoded(dialect, statement, cursor.fetchmany(size)), [])
    return lambda: _each(parts)


def _each(parts: Iterable[list[Row]]) -> Generator[Row]:
    for part in parts:
        yield from part


def send_once(connection: Connection, statement: Statement, /, **parameters: object) -> Sent:
    """Run a statement like `send`. The same one in the same snapshot returns the same rows.

    They must not be changed.
    """
    if not connection.get_execution_options().get("snapshot"):
        return send(connection, statement, **parameters)
    known = _sent.setdefault(connection, {})
    key = (statement, *sorted(parameters.items()))
    if key not in known:
        known[key] = _waiting(send(connection, statement, **parameters))
    before, calls = _notes.get(connection, (known, {}))
    if key not in before:
        calls[key] = Call(statement, parameters)
    return known[key]


@contextlib.contextmanager
def noted(connection: Connection, ahead: Sequence[Call]) -> Iterator[Collection[Call]]:
    """Send some calls ahead. Yield the calls of `send_once` in the block, except those before it.

    Calls that were sent ahead count if the block needs them.
    """
    before, calls = frozenset(_sent.setdefault(connection, {})), dict[_Key, Call]()
    for call in ahead:
        send_once(connection, call.statement, **call.parameters)
    _notes[connection] = before, calls
    try:
        yield calls.values()
    finally:
        del _notes[connection]


def fetch_once(connection: Connection, statement: Statement, /, **parameters: object) -> list[Row]:
    """Return the rows of a statement; see `send_once`."""
    return send_once(connection, statement, **parameters)()


def _waiting(sent: Sent) -> Sent:
    """Return a function that waits for rows at its first call, and keeps them."""
    found: list[list[Row]] = []

    def rows() -> list[Row]:
        if not found:
            found.append(sent())
        return found[0]

    return rows


def named(statement: Statement, rows: Sequence[Row]) -> list[Any]:
    """Return rows whose values are attributes with the names of the columns of `statement`."""
    names = [column.name for column in statement.exported_columns]
    return [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in rows]


def stream(
    connection: Connection,
    statement: Select[Any],
    size: int,
    named: Tables = _NO_TABLES,
    /,
    **parameters: object,
) -> Iterator[list[Row]]:
    """Yield the rows that `fetch` returns in lists of `size`, with one list in memory at a time."""
    dialect = connection.dialect.name
    compiled = dialects.compiled(dialect, statement)
    with contextlib.closing(dialects.streaming_cursor(connection)) as cursor:
        values = [*named.values, *compiled.values(dialect, parameters)]
        cursor.execute(named.before(compiled.text), values)
        while rows := cursor.fetchmany(size):
            yield _decoded(dialect, statement, rows)


def _decoded(dialect: str, statement: Statement, rows: list[Row]) -> list[Row]:
    decoders = _decoders(dialect, statement)
    if not rows or not any(decoders):
        return rows
    columns = [
        dialects.decoded(decode, values) if decode else values
        for decode, values in zip(decoders, zip(*rows, strict=True), strict=True)
    ]
    return list(zip(*columns, strict=True))


@lru_cache(maxsize=64)
def _joined(
    dialect: str, make: Joined, fields: tuple[Field, ...], *, on_citus: bool
) -> Select[Any]:
    statement = make(dialects.given(dialect, fields))
    return citus.on_shards(statement, fields) if on_citus else statement


def fetch_for(
    connection: Connection, make: Joined, fields: tuple[Field, ...], rows: Sequence[Row]
) -> list[Row]:
    """Return the rows that `make` selects, joined with given `rows` of `fields`."""
    if not rows:
        return []
    statement, values = _given(connection, make, fields, rows)
    return fetch(connection, statement, **values)


def send_for(
    connection: Connection, make: Joined, fields: tuple[Field, ...], rows: Sequence[Row]
) -> Sent:
    """Like `fetch_for`, but do not wait for the rows."""
    if not rows:
        return list
    statement, values = _given(connection, make, fields, rows)
    return send(connection, statement, **values)


def send_for_once(
    connection: Connection,
    make: Joined,
    fields: tuple[Field, ...],
    rows: Sequence[Row],
    **parameters: object,
) -> Sent:
    """Like `send_for`, as in `send_once`. The statement may have further parameters."""
    if not rows:
        return list
    statement, values = _given(connection, make, fields, rows)
    return send_once(connection, statement, **values, **parameters)


def _given(
    connection: Connection, make: Joined, fields: tuple[Field, ...], rows: Sequence[Row]
) -> tuple[Select[Any], dict[str, object]]:
    dialect, on_citus = connection.dialect.name, dialects.has_citus(connection)
    statement = _joined(dialect, make, fields, on_citus=on_citus)
    return statement, dialects.given_values(dialect, fields, rows)


def settle(connection: Connection) -> None:
    """Wait for all that was sent, and raise the error of the first statement that failed."""
    fetch(connection, _ONE)


def execute(connection: Connection, statement: ClauseElement, **parameters: object) -> None:
    """Run a statement that is declared once, at import of its module."""
    dialect = connection.dialect.name
    compiled = dialects.compiled(dialect, statement)
    _cursor(connection).execute(compiled.text, compiled.values(dialect, parameters))


def write(
    connection: Connection, statement: Insert | Update | Delete, rows: Sequence[Any] = ()
) -> None:
    """Run a write that returns nothing, once per row if there are any, without waiting for it.

    The statement need not be declared at import. An INSERT must not ask for a new id: `inline()`.
    """
    connection.execute(statement, list(rows) or None, execution_options={"unread": True})


def insert(connection: Connection, table: Table, columns: Names, rows: Sequence[Row]) -> None:
    if rows:
        dialects.writer(connection.dialect.name, "insert", table, columns).write(
            _cursor(connection), rows
        )


def insert_new(
    connection: Connection, table: Table, columns: Names, rows: Sequence[Row], returning: str
) -> set[Any]:
    """Insert the rows whose key is new; return their values of `returning`.

    Usually all are new, so they are first inserted together.
    """
    dialect, place = connection.dialect.name, columns.index(returning)
    if not rows:
        return set()
    cursor = _cursor(connection)
    if len(rows) > 1 and dialects.try_together(cursor, dialect, table, columns, rows):
        return {row[place] for row in rows}
    if citus.has_shards(connection, table):
        return citus.insert_new(cursor, table, columns, rows, returning)
    writer = dialects.writer(dialect, "ignore", table, columns, returning=(returning,))
    return {value for (value,) in writer.send_returning(cursor, rows)()}


def add(connection: Connection, table: Table, key: Names, adds: Names, rows: Sequence[Row]) -> None:
    """Insert rows of `key` and `adds`, or add to the row that has the key."""
    if rows:
        dialects.writer(connection.dialect.name, "add", table, (*key, *adds), key).write(
            _cursor(connection), rows
        )


def insert_missing(
    connection: Connection, table: Table, columns: Names, rows: Sequence[Row]
) -> None:
    """Insert the rows whose key is new."""
    if rows:
        dialects.writer(connection.dialect.name, "ignore", table, columns).write(
            _cursor(connection), rows
        )


def add_returning(
    connection: Connection,
    table: Table,
    key: Names,
    adds: Names,
    rows: Sequence[Row],
    returning: str,
) -> list[int]:
    """Like `add`. Return the new values of `returning`, one per row."""
    dialect = connection.dialect.name
    writer = dialects.writer(dialect, "add", table, (*key, *adds), key, (*key, returning))
    return [int(row[-1]) for row in writer.send_returning(_cursor(connection), rows)()]


def upsert(
    connection: Connection, table: Table, key: Names, columns: Names, rows: list[Row]
) -> None:
    """Insert rows of `key` and `columns`, or set the columns of the row that has the key."""
    if rows:
        dialects.writer(connection.dialect.name, "upsert", table, (*key, *columns), key).write(
            _cursor(connection), rows
        )


def update_for(
    connection: Connection,
    make: Callable[[FromClause], Update],
    fields: tuple[Field, ...],
    rows: Sequence[Row],
) -> None:
    """Run the update that `make` returns for given `rows` of `fields`."""
    if rows:
        dialect = connection.dialect.name
        values = dialects.given_values(dialect, fields, rows)
        execute(connection, _updated(dialect, make, fields), **values)


@lru_cache(maxsize=16)
def _updated(
    dialect: str, make: Callable[[FromClause], Update], fields: tuple[Field, ...]
) -> Update:
    return make(dialects.given(dialect, fields))


def update(
    connection: Connection, table: Table, key: Names, columns: Names, rows: Sequence[Row]
) -> None:
    """Set `columns` of the rows with the given keys; a row is the key, then the values."""
    if rows:
        dialects.writer(connection.dialect.name, "update", table, (*key, *columns), key).write(
            _cursor(connection), rows
        )


def delete(connection: Connection, table: Table, key: Names, rows: Sequence[Row]) -> None:
    """Delete the rows with the given keys."""
    if rows:
        dialects.writer(connection.dialect.name, "delete", table, key, key).write(
            _cursor(connection), rows
        )
