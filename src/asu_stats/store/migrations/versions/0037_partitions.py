"""Requests and errors, live and archived, have a partition per month on PostgreSQL.

No row is copied. A table with rows becomes the partition of everything before next month; months
are created by the running program. What takes time is one index per table, and one scan.
"""

import logging
import time
from collections.abc import Sequence
from datetime import date, timedelta

import sqlalchemy as sa
from alembic import op

revision: str = "0037"
down_revision: str | None = "0036"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

log = logging.getLogger("asu_stats.store.migrate")

_TABLES = ("client_stats", "error_stats", "client_stats_archive", "error_stats_archive")
# The archive has the index of a partition that comes from `client_stats`.
_ENDED = "ix_client_stats_archive_request_hash_ended_at"
_COMMENT = "SELECT obj_description(to_regclass(quote_ident(:name)), 'pg_class')"
_INDEXES = (
    "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass(quote_ident(:name)) AND NOT i.indisunique ORDER BY c.relname"
)
_GRANTS = (
    "SELECT a.privilege_type, a.is_grantable,"
    " CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
    " FROM pg_catalog.pg_class c, aclexplode(c.relacl) a"
    " WHERE c.oid = to_regclass(quote_ident(:name)) AND a.grantee <> c.relowner"
)
# Views, foreign keys and triggers of others refer to the table itself, not to its name.
_OTHERS = (
    "SELECT DISTINCT 'view ' || v.relname FROM pg_catalog.pg_depend d"
    " JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid"
    " JOIN pg_catalog.pg_class v ON v.oid = r.ev_class"
    " WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass"
    " AND d.refobjid = to_regclass(quote_ident(:name))"
    " UNION ALL SELECT 'foreign key ' || conname FROM pg_catalog.pg_constraint"
    " WHERE contype = 'f' AND to_regclass(quote_ident(:name)) IN (conrelid, confrelid)"
    " UNION ALL SELECT 'trigger ' || tgname FROM pg_catalog.pg_trigger"
    " WHERE NOT tgisinternal AND tgrelid = to_regclass(quote_ident(:name))"
    " UNION ALL SELECT 'policy ' || polname FROM pg_catalog.pg_policy"
    " WHERE polrelid = to_regclass(quote_ident(:name)) ORDER BY 1"
)
_SEQUENCE = "SELECT pg_get_serial_sequence(quote_ident(:name), 'id')"
_DISTRIBUTED = (
    "SELECT count(*) FROM pg_catalog.pg_dist_partition"
    " WHERE logicalrelid = to_regclass(quote_ident(:name))"
)


def upgrade() -> None:
    """Make the changes."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    today = connection.execute(sa.text("SELECT (now() AT TIME ZONE 'UTC')::date")).scalar_one()
    begin = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    if not _is_distributed(connection):
        _index_ended()
    for name in _TABLES:
        if _is_distributed(connection, name):
            continue
        others = connection.execute(sa.text(_OTHERS), {"name": name}).scalars().all()
        if others:
            words = "schema: not partitioned table=%s, because it has: %s"
            log.warning(words, name, ", ".join(others))
        else:
            _partition(connection, name, begin)


def _is_distributed(connection: sa.Connection, name: str = "client_stats_archive") -> bool:
    """Return whether Citus keeps the rows of a table on workers: those stay as they are."""
    found = "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
    if not connection.execute(sa.text(found)).scalar_one():
        return False
    return bool(connection.execute(sa.text(_DISTRIBUTED), {"name": name}).scalar_one())


def _index_ended() -> None:
    op.drop_index(_ENDED, "client_stats_archive")
    op.create_index(
        _ENDED,
        "client_stats_archive",
        ["request_hash", "ended_at"],
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )


def _partition(connection: sa.Connection, name: str, begin: date) -> None:
    """Let a table have partitions, the first of which is what it was."""

    def run(statement: str) -> None:
        connection.execute(sa.text(statement))

    def value(statement: str) -> str | None:
        found: str | None = connection.execute(sa.text(statement), {"name": name}).scalar()
        return found

    since = time.monotonic()
    old = f"{name}_before_{begin:%Y_%m}"
    indexes = connection.execute(sa.text(_INDEXES), {"name": name}).all()
    grants = connection.execute(sa.text(_GRANTS), {"name": name}).all()
    sequence, comment = value(_SEQUENCE), value(_COMMENT)
    has_rows = value(f"SELECT EXISTS (SELECT FROM {name})::text") == "true"  # noqa: S608
    run(f"ALTER TABLE {name} RENAME TO {old}")
    for index, _ in indexes:
        run(f'ALTER INDEX "{index}" RENAME TO "{index[:50]}_before"')
    key = f"DROP CONSTRAINT pk_{name}, ADD CONSTRAINT pk_{old} PRIMARY KEY (id, timestamp)"
    run(f"ALTER TABLE {old} {key}")
    like = "INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMMENTS"
    run(f"CREATE TABLE {name} (LIKE {old} {like}) PARTITION BY RANGE (timestamp)")
    run(f"ALTER TABLE {name} ADD CONSTRAINT pk_{name} PRIMARY KEY (id, timestamp)")
    if comment:
        literal = str(sa.literal(comment).compile(compile_kwargs={"literal_binds": True}))
        run(f"COMMENT ON TABLE {name} IS {literal}")
    for index, definition in indexes:
        method = definition[definition.index(" USING ") :]
        run(f'CREATE INDEX "{index}" ON {name}{method}')
    for privilege, is_grantable, role in grants:
        run(f"GRANT {privilege} ON {name} TO {role}{' WITH GRANT OPTION' * is_grantable}")
    if sequence:
        run(f"ALTER SEQUENCE {sequence} OWNED BY {name}.id")
    run(f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT")
    if has_rows:
        gone = f"DELETE FROM {old} WHERE timestamp >= '{begin}' RETURNING *"  # noqa: S608
        run(f"WITH gone AS ({gone}) INSERT INTO {name} SELECT * FROM gone")  # noqa: S608
        run(f"ALTER TABLE {name} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{begin}')")
        seconds = time.monotonic() - since
        log.info("schema: partitioned table=%s before=%s seconds=%.0f", name, begin, seconds)
    else:
        run(f"DROP TABLE {old}")
