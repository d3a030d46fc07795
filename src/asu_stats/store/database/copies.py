"""Copies of a whole database: a file of SQLite, or the rows of each table of PostgreSQL.

A copy is one consistent state, and writers continue while it is made.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, func, inspect, select, table, text
from sqlalchemy import column as a_column

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store.database import dialects, outages, partitions
from asu_stats.store.database.schema import schema_version

_INSTRUCTIONS: Final = 200_000  # of SQLite between two reports of progress
# Formats of values must not depend on the settings of a server.
_PORTABLE: Final = (
    "SET LOCAL datestyle = 'ISO'",
    "SET LOCAL intervalstyle = 'iso_8601'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
)

Columns = Sequence[str]


def into_file(engine: Engine, file: Path, progress: Callable[[int], object]) -> None:
    """Copy an SQLite database into an empty file, without free pages and deleted content.

    `progress` is called with the size of the copy. Raises `StoreUnavailableError`.
    """

    def report() -> None:
        progress(file.stat().st_size)

    pooled = engine.raw_connection()
    driver = cast(sqlite3.Connection, pooled.driver_connection)
    try:
        driver.set_progress_handler(report, _INSTRUCTIONS)
        driver.execute("VACUUM INTO ?", (str(file),))
    except sqlite3.Error as error:
        raise StoreUnavailableError(outages.message(error, engine)) from error
    finally:
        driver.set_progress_handler(None, 0)
        pooled.close()


def make_portable(connection: Connection) -> None:
    """Let a transaction of PostgreSQL read and write values in one format."""
    for statement in _PORTABLE:
        connection.execute(text(statement))


def keep_tables(connection: Connection) -> None:
    """Let nothing alter or drop a table of PostgreSQL until the end of this transaction.

    Waits for an upgrade of the schema. A snapshot from before it sees no rows in tables that it
    rewrote.
    """
    names = dialects.own_tables(connection)
    if names:
        quoted = ", ".join(map(connection.dialect.identifier_preparer.quote_identifier, names))
        connection.execute(text(f"LOCK TABLE {quoted} IN ACCESS SHARE MODE"))


def columns(connection: Connection) -> dict[str, list[str]]:
    """Return the tables of the own schema, except Alembic's, and their columns with values."""
    found = inspect(connection)
    schema = connection.execute(select(func.current_schema())).scalar_one()
    return {
        name: [
            each["name"]
            for each in found.get_columns(name, schema=schema)
            if "computed" not in each
        ]
        for name in sorted(dialects.own_tables(connection))
        if name != schema_version.name
    }


def table_bytes(connection: Connection, name: str) -> int:
    """Return the size of a table without its indexes, as an estimate of the work."""
    return int(connection.execute(_BYTES, {"name": name}).scalar() or 0)


_BYTES: Final = text(
    "SELECT sum(pg_table_size(relid)) FROM pg_partition_tree(to_regclass(quote_ident(:name)))"
)


def rows_out(connection: Connection, name: str, names: Columns) -> Iterator[bytes]:
    """Yield the rows of a table in the text format of COPY."""
    statement = _copy(connection, name, names, "TO STDOUT")
    if partitions.is_partitioned(connection, name):
        statement = _copy(connection, name, names, "TO STDOUT", query=True)
    with _cursor(connection).copy(statement) as copy:
        yield from map(bytes, copy)


def rows_in(connection: Connection, name: str, names: Columns, chunks: Iterable[bytes]) -> int:
    """Replace the rows of a table by those that `rows_out` yielded; return their number."""
    connection.execute(table(name).delete())
    cursor = _cursor(connection)
    with cursor.copy(_copy(connection, name, names, "FROM STDIN")) as copy:
        for chunk in chunks:
            copy.write(chunk)
    return int(cursor.rowcount)


def _cursor(connection: Connection) -> Any:
    return cast(Any, connection.connection.driver_connection).cursor()


def _copy(
    connection: Connection, name: str, names: Columns, direction: str, *, query: bool = False
) -> str:
    quote = connection.dialect.identifier_preparer.quote_identifier
    given = ", ".join(map(quote, names))
    source = f"(SELECT {given} FROM {quote(name)})" if query else f"{quote(name)} ({given})"  # noqa: S608
    return f"COPY {source} {direction} (FORMAT text, ENCODING 'UTF8')"


def number_on(connection: Connection, tables: dict[str, list[str]]) -> None:
    """Let each table with numbered rows assign the number after its greatest."""
    for name in tables:
        for column in tables[name]:
            quoted = func.quote_ident(name)
            found = select(func.pg_get_serial_sequence(quoted, column))
            sequence = connection.execute(found).scalar()
            if sequence is not None:
                last: Any = func.max(a_column(column))
                numbers = select(last).select_from(table(name)).scalar_subquery()
                following = func.coalesce(numbers, 0) + 1
                connection.execute(select(func.setval(sequence, following, False)))


def gather_statistics(connection: Connection, tables: Iterable[str]) -> None:
    """Let PostgreSQL collect the statistics of its planner on some tables."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    for name in tables:
        connection.execute(text(f"ANALYZE {quote(name)}"))
