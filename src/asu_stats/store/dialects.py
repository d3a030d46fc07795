"""All SQL that differs between SQLite and PostgreSQL."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Table,
    Text,
    column,
    func,
    literal,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import ARRAY, TypeEngine

_WRITER_LOCK: Final = 0x6173755F73746174  # "asu_stat"


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@lru_cache(maxsize=256)
def _upsert_sum(dialect: str, table: Table, key: tuple[str, ...], adds: tuple[str, ...]) -> Insert:
    statement = _insert(dialect, table)
    return statement.on_conflict_do_update(
        index_elements=list(key),
        set_={field: table.c[field] + statement.excluded[field] for field in adds},
    )


def upsert_sum(
    connection: Connection, table: Table, key: tuple[str, ...], adds: tuple[str, ...]
) -> Insert:
    """Return the statement that inserts a row, or adds its `adds` to the one of the same key."""
    return _upsert_sum(connection.dialect.name, table, key, adds)


def insert_ignore(connection: Connection, table: Table) -> Insert:
    """Return the statement that inserts a row unless one with its key is there."""
    return _insert(connection.dialect.name, table).on_conflict_do_nothing()


def take_turn(connection: Connection) -> None:
    """Wait until this transaction is the only one that applies events; it stays so to its end.

    On SQLite it is anyway. On PostgreSQL it would otherwise meet the others at the rows of today
    and at the change counter, and read state that they are about to change.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_WRITER_LOCK)))


def _plain(value: object) -> object:
    """Return `value` as SQLite keeps it."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    return value.isoformat() if isinstance(value, date) else value


def rows_of(
    connection: Connection, fields: Sequence[tuple[str, TypeEngine[Any], Sequence[object]]]
) -> FromClause:
    """Return a table of given rows, to join with: per column its name, type and values.

    One statement text whatever the number of rows, so that it is prepared once.
    """
    if connection.dialect.name == "sqlite":
        columns = [[_plain(value) for value in values] for _, _, values in fields]
        rows = json.dumps(list(zip(*columns, strict=True)))
        each = func.json_each(rows).table_valued("value", name="given_rows")
        return select(
            *(
                func.json_extract(each.c.value, f"$[{position}]", type_=kind).label(field)
                for position, (field, kind, _) in enumerate(fields)
            )
        ).subquery("given")
    arrays = (literal(list(values), ARRAY(kind)) for _, kind, values in fields)
    return (
        func.unnest(*arrays)
        .table_valued(*(column(field, kind) for field, kind, _ in fields), name="given")
        .render_derived()
    )


def is_any(
    connection: Connection, element: ColumnElement[Any], values: Sequence[object]
) -> ColumnElement[bool]:
    """Return the condition that `element` is one of `values`, as one parameter."""
    if connection.dialect.name == "sqlite":
        each = func.json_each(json.dumps([_plain(value) for value in values]))
        return element.in_(select(each.table_valued("value").c.value))
    return element == func.any(literal(list(values), ARRAY(element.type)))


def hour_of(connection: Connection, element: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Return the beginning of the UTC hour of a time."""
    if connection.dialect.name == "sqlite":
        hour = func.substr(element, 1, 13, type_=Text).concat(":00:00.000000")
        return type_coerce(hour, element.type)
    return func.date_trunc("hour", element, type_=element.type)


def database_size(connection: Connection) -> int:
    """Return the size of the database in bytes."""
    if connection.dialect.name == "sqlite":
        statement = text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    else:
        statement = text("SELECT pg_database_size(current_database())")
    return int(connection.execute(statement).scalar_one())
