"""Statements that Citus, which keeps rows of large tables on workers, runs in another form.

`SHARD_BY` in the `info` of a table names the column that decides on the worker of a row. The rules
for keys and statements are in docs/scaling.md, Citus.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import CTE, Connection, Select, Table, any_, bindparam
from sqlalchemy.sql.util import find_tables
from sqlalchemy.types import ARRAY

from asu_stats.store.database.dialects import Cursor, Field, Row, has_citus

SHARD_BY: Final = "shard_by"
_ROWS: Final = 1_000  # of an INSERT with VALUES; a statement can have 65,535 parameters


def has_shards(connection: Connection, table: Table) -> bool:
    """Return whether the rows of a table may be on workers."""
    return SHARD_BY in table.info and has_citus(connection)


def read_first(rows: CTE) -> CTE:
    """Let PostgreSQL read the rows of a CTE before all else, although it is used only once.

    Citus cannot join tables with shards and other tables; it can join rows that were read.
    """
    return rows.prefix_with("MATERIALIZED", dialect="postgresql")


def on_shards(statement: Select[Any], fields: Sequence[Field]) -> Select[Any]:
    """Read only the shards of given rows: from a join alone, Citus does not know which these are.

    A batch of one event then asks one shard instead of all.
    """
    kinds = dict(fields)
    for table in cast(Iterable[Table], find_tables(statement)):
        name = table.info.get(SHARD_BY)
        if name in kinds:
            given = bindparam(name, type_=ARRAY(kinds[name]))
            return statement.where(table.c[name] == any_(given))
    return statement


def insert_new(
    cursor: Cursor, table: Table, columns: Sequence[str], rows: Sequence[Row], returning: str
) -> set[Any]:
    """Insert the rows whose key is new, each sent to its shard; return their values of `returning`.

    For an INSERT of a SELECT, Citus connects to each shard again: 24 ms each, with every batch.
    """
    found: set[Any] = set()
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        values = [value for row in some for value in row]
        cursor.execute(_insertion(table, tuple(columns), returning, len(some)), values)
        found.update(value for (value,) in cursor.fetchall())
    return found


@lru_cache(maxsize=64)
def _insertion(table: Table, columns: tuple[str, ...], returning: str, rows: int) -> str:
    row = f"({', '.join(['%s'] * len(columns))})"
    values = f"VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING RETURNING {returning}"
    return f"INSERT INTO {table.name} ({', '.join(columns)}) {values}"
