"""Damage that a database finds in itself."""

from typing import Final

from sqlalchemy import Connection, text

_MAX_PROBLEMS: Final = 20  # problems that are returned
_INVALID_INDEXES: Final = text(
    "SELECT 'index ' || c.relname || ' is invalid; REINDEX repairs it'"
    " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = current_schema() AND NOT (i.indisvalid AND i.indisready)"
    " ORDER BY 1 LIMIT 20"
)
_FAILED_PAGES: Final = text(
    "SELECT checksum_failures || ' pages had a wrong checksum'"
    " FROM pg_catalog.pg_stat_database"
    " WHERE datname = current_database() AND checksum_failures > 0"
)


def problems(connection: Connection) -> list[str]:
    """Return what is wrong with tables and indexes.

    SQLite reads and compares all of them, which takes time. PostgreSQL reports what it has noticed.
    """
    if connection.dialect.name == "sqlite":
        found = connection.execute(text(f"PRAGMA integrity_check({_MAX_PROBLEMS})")).scalars()
        lines = [line for each in found for line in str(each).splitlines()]
        return [line for line in lines if line != "ok" and not line.startswith("***")]
    statements = (_INVALID_INDEXES, _FAILED_PAGES)
    return [str(each) for one in statements for each in connection.execute(one).scalars()]
