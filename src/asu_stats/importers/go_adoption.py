"""Converts an SQLite file of the Go server in place, by adding the tables of asu-stats.

Three tables have the same name and meaning in both programs; their rows are copied into the new
ones, which have more columns, with times in the new format. `build_stats` is used unchanged.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, DateTime, Engine, Table, inspect, text

from asu_stats.builds.schema import build_jobs, build_requests, build_results
from asu_stats.exceptions import SchemaError
from asu_stats.store import migrate
from asu_stats.store.database.engine import write_transaction
from asu_stats.times import naive

_SHARED: Final = (build_requests, build_jobs, build_results)
_OLD: Final = "go_server_{}"

Read = Callable[[object], datetime]


def adopt(engine: Engine, read_time: Read, *, plan_indexes: bool = True) -> None:
    """Create the schema in a file of the Go server, in one transaction.

    `read_time` returns the UTC instant of a time in that server's format, or raises `ValueError`.
    Raises `SchemaError` for a database of another kind.
    """
    with write_transaction(engine, waiting=migrate.log_waiting) as connection:
        tables = inspect(connection).get_table_names()
        if not migrate.is_go_servers(tables):
            raise SchemaError("not a database of the Go server")
        shared = [table for table in _SHARED if table.name in tables]
        for table in shared:
            old = _OLD.format(table.name)
            connection.execute(text(f"ALTER TABLE {table.name} RENAME TO {old}"))
        migrate.run(connection, plan_indexes=plan_indexes)
        driver = connection.connection.driver_connection
        assert driver is not None  # noqa: S101 - it is connected
        driver.create_function("stored_time", 1, _stored(read_time), deterministic=True)
        for table in shared:
            _copy_rows(connection, table)


def _copy_rows(connection: Connection, table: Table) -> None:
    """Copy the rows of an old table into the one of the same name, and drop the old one."""
    name, old = table.name, _OLD.format(table.name)
    found = {column["name"] for column in inspect(connection).get_columns(old)}
    columns = [c for c in table.columns if c.name in found]
    values = [
        "replace(profile, ',', '_')"
        if c.name == "profile"
        else f"stored_time({c.name})"
        if isinstance(c.type, DateTime)
        else c.name
        for c in columns
    ]
    names = ", ".join(c.name for c in columns)
    copy = f"INSERT INTO {name} ({names}) SELECT {', '.join(values)} FROM {old}"  # noqa: S608
    connection.execute(text(copy))
    connection.execute(text(f"DROP TABLE {old}"))


def _stored(read_time: Read) -> Callable[[object], str | None]:
    def stored(value: object) -> str | None:
        """Return a time in the stored format, `None` if it is not a time."""
        try:
            return naive(read_time(value)).isoformat(" ", "microseconds")
        except ValueError:
            return None

    return stored
