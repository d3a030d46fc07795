"""Databases as older releases left them."""

from alembic import command
from sqlalchemy import Connection, MetaData, insert, select

from asu_stats.store import migrate


def back_to(connection: Connection, revision: str) -> None:
    """Make the database one of an older schema, with the rows that it has."""
    now = MetaData()
    now.reflect(connection)
    rows = {
        table.name: [dict(row._mapping) for row in connection.execute(select(table))]
        for table in now.sorted_tables
    }
    now.drop_all(connection)
    command.upgrade(migrate._config(connection), revision)
    then = MetaData()
    then.reflect(connection)
    for table in then.sorted_tables:
        columns = {column.name for column in table.columns if column.computed is None}
        kept = [
            {name: value for name, value in row.items() if name in columns}
            for row in rows.get(table.name, ())
        ]
        if table.name != "alembic_version" and kept:
            connection.execute(table.delete())
            connection.execute(insert(table), kept)
