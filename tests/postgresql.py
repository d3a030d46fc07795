"""PostgreSQL databases with the schema, emptied and reused: creating one takes 0.3 s."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import URL

TEMPLATE: Final = "template"
_MOST_BYTES: Final = 1 << 20  # of a table: what is deleted goes on to take room
# All that a test can change beside rows: schema, settings and statistics of the planner.
# Constraints as SQL would take longer than everything else.
_SHAPE: Final = """
SELECT md5(concat_ws('|',
    (SELECT string_agg(concat_ws(' ', oid, relname, relkind, relnatts, reltuples, relchecks,
        relhastriggers, relrowsecurity, reloptions, relacl, relowner), ',' ORDER BY oid)
     FROM pg_class WHERE relkind <> 't' AND oid >= 16384),
    (SELECT string_agg(concat_ws(' ', attrelid, attname, atttypid, attnotnull, attisdropped,
        attstattarget, attcollation), ',' ORDER BY attrelid, attnum)
     FROM pg_attribute WHERE attrelid >= 16384),
    (SELECT string_agg(concat_ws(' ', conrelid, conname, contype, conkey, confrelid, confkey,
        confupdtype, confdeltype, confmatchtype, condeferrable, condeferred, convalidated,
        conbin), ',' ORDER BY oid) FROM pg_constraint WHERE oid >= 16384),
    (SELECT string_agg(concat_ws(' ', adrelid, adnum, adbin), ',' ORDER BY oid) FROM pg_attrdef),
    (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_proc),
    (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_type),
    (SELECT count(*) FROM pg_statistic), (SELECT count(*) FROM pg_statistic_ext),
    (SELECT string_agg(concat_ws(' ', nspname, nspacl, nspowner), ',' ORDER BY oid)
     FROM pg_namespace),
    (SELECT count(*) FROM pg_default_acl),
    (SELECT concat_ws(' ', datdba, datallowconn, datconnlimit, datacl)
     FROM pg_database WHERE datname = current_database()),
    (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase =
        (SELECT oid FROM pg_database WHERE datname = current_database()))))
"""
_LARGEST: Final = """
SELECT coalesce(max(pg_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND oid >= 16384
"""
_TABLES: Final = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND oid >= 16384
"""
_SEQUENCES: Final = "SELECT relname FROM pg_class WHERE relkind = 'S' AND oid >= 16384"
_END_OTHERS: Final = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Databases:
    """Databases of a server, each for one test at a time."""

    def __init__(self, server: URL) -> None:
        """Take `TEMPLATE` of the server for what a database is like before a test."""
        self._server = server.set(drivername="postgresql")
        self._numbers = itertools.count()
        self._free: list[str] = []
        # A new connection reads the catalogs again, which takes most of the time of emptying.
        self._kept: dict[str, psycopg.Connection] = {}
        self._rows: dict[str, bytes] = {}
        with self._connected(TEMPLATE) as template:
            self._shape = _value(template, _SHAPE)
            tables = [str(row[0]) for row in template.execute(_TABLES)]
            sequences = {
                str(name): template.execute(_state_of(str(name))).fetchone()
                for (name,) in template.execute(_SEQUENCES).fetchall()
            }
            self._empty = _emptying(tables, sequences)
            for name in tables:
                copy = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))
                with template.cursor().copy(copy) as rows:
                    if found := b"".join(bytes(part) for part in rows):
                        self._rows[name] = found

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database with the schema and nothing else."""
        name = self._free.pop() if self._free else self._made()
        yield self._server.set(database=name).render_as_string(hide_password=False)
        if self._emptied(name):
            self._free.append(name)
        else:
            self._administrate("DROP DATABASE {} WITH (FORCE)", name)

    def _made(self) -> str:
        name = f"test_{next(self._numbers)}"
        self._administrate(f"CREATE DATABASE {{}} TEMPLATE {TEMPLATE} STRATEGY file_copy", name)
        return name

    def close(self) -> None:
        """Close all connections."""
        while self._kept:
            self._kept.popitem()[1].close()

    def _emptied(self, name: str) -> bool:
        """Make a database as it was. Return false if that takes more than changing rows."""
        if name in self._kept:
            with suppress(psycopg.OperationalError):  # a test has ended the connection
                return self._emptied_by(self._kept.pop(name), name)
        try:
            return self._emptied_by(self._connected(name), name)
        except psycopg.OperationalError:
            return False  # a test has closed or dropped it

    def _emptied_by(self, connection: psycopg.Connection, name: str) -> bool:
        """Do so with a connection, which is kept if it can be."""
        with ExitStack() as stack:
            stack.callback(connection.close)
            connection.execute(_END_OTHERS)
            if _value(connection, _SHAPE) != self._shape:
                return False
            if int(str(_value(connection, _LARGEST))) > _MOST_BYTES:
                return False
            with connection.transaction():
                connection.execute(self._empty)
                for table, rows in self._rows.items():
                    copy = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
                    with connection.cursor().copy(copy) as into:
                        into.write(rows)
            stack.pop_all()
            self._kept[name] = connection
        return True

    def _connected(self, name: str) -> psycopg.Connection:
        url = self._server.set(database=name).render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True)

    def _administrate(self, statement: LiteralString, name: str) -> None:
        with self._connected("postgres") as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _emptying(
    tables: Sequence[str], sequences: Mapping[str, tuple[object, ...] | None]
) -> sql.Composed:
    """Return what deletes all rows and resets sequences: in one message, a fifth of the time."""
    parts: list[sql.SQL | sql.Composed] = [sql.SQL("SET LOCAL session_replication_role = replica")]
    parts += [sql.SQL("DELETE FROM {}").format(sql.Identifier(table)) for table in tables]
    for name, state in sequences.items():
        parts.append(sql.SQL("SELECT setval({}, {}, {})").format(name, *(state or ())))
    return sql.SQL("; ").join(parts)


def _state_of(sequence: str) -> sql.Composed:
    return sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(sequence))


def _value(connection: psycopg.Connection, statement: LiteralString) -> object:
    row = connection.execute(statement).fetchone()
    assert row
    return row[0]
