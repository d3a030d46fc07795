"""Databases of older releases."""

from typing import Any, Final

from sqlalchemy import Connection, MetaData, Table, event, func, insert, inspect, select

from asu_stats.store import migrate
from asu_stats.store.database import dialects

# What migrations execute in an empty database, by dialect and revision: running them takes longer.
_executed: Final[dict[tuple[str, str], list[tuple[str, Any]]]] = {}


# Tables by what the database calls them and their columns: reflecting them takes longer.
_reflected: Final[dict[Any, MetaData]] = {}


_REQUESTS: Final = "request_numbers"


def back_to(connection: Connection, revision: str) -> None:
    """Make the database one of an older schema, with the rows that it has."""
    now = reflected(connection)
    rows = {
        table.name: [dict(row._mapping) for row in connection.execute(select(table))]
        for table in now.sorted_tables
    }
    now.drop_all(connection, checkfirst=False)
    migrate_empty(connection, revision)
    then = reflected(connection)
    for table in then.sorted_tables:
        columns = {column.name for column in table.columns if column.computed is None}
        kept = [
            {name: value for name, value in row.items() if name in columns}
            for row in rows.get(table.name, ())
        ]
        if table.name != "alembic_version" and kept:
            connection.execute(table.delete())
            connection.execute(insert(table), kept)
            if "id" in columns and connection.dialect.name == "postgresql":
                go_on(connection, table)
    if connection.dialect.name == "postgresql" and inspect(connection).has_sequence(_REQUESTS):
        last = select(then.tables["store_state"].c.requests_numbered).scalar_subquery()
        connection.execute(select(func.setval(_REQUESTS, last + 1, False)))


def reflected(connection: Connection) -> MetaData:
    """Return the tables of a database."""
    columns = inspect(connection).get_multi_columns()
    shape = repr(sorted((name, found) for (_, name), found in columns.items()))
    key = connection.dialect.name, shape
    if key not in _reflected:
        _reflected[key] = MetaData()
        _reflected[key].reflect(connection, only=dialects.own_tables(connection))
    return _reflected[key]


def migrate_empty(connection: Connection, revision: str) -> None:
    """Run the migrations of an empty database, from the second time on only their statements."""
    key = connection.dialect.name, revision
    if key in _executed:
        for statement, parameters in _executed[key]:
            connection.exec_driver_sql(statement, parameters or None)
        return
    executed: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        executed.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    migrate.create(connection, revision)
    event.remove(connection, "before_cursor_execute", note)
    _executed[key] = executed


def go_on(connection: Connection, table: Table) -> None:
    """Let the next row of a table have the number after those that are there."""
    numbers = func.pg_get_serial_sequence(table.name, "id")
    last = select(func.max(table.c.id)).scalar_subquery()
    connection.execute(select(func.setval(numbers, last)))
