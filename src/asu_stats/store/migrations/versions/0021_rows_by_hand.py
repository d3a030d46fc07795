"""Defaults for the columns that a row inserted by hand lacks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_UNKNOWN = "'unknown'"
_PLACE = {"version": _UNKNOWN, "target": _UNKNOWN, "profile": _UNKNOWN}
_RANDOM_NAME = {
    "sqlite": "(lower(hex(randomblob(16))))",
    "postgresql": "CAST(gen_random_uuid() AS TEXT)",
}
_RANDOM_NUMBER = {
    "sqlite": "(-1 - abs(random() / 2))",
    "postgresql": "(-1 - CAST(CAST('x' || left(replace(CAST(gen_random_uuid() AS TEXT), '-', ''),"
    " 15) AS BIT(60)) AS BIGINT))",
}


def upgrade() -> None:
    """Make the changes. SQLite rewrites the four tables."""
    dialect = op.get_context().dialect.name
    number = _last_number() if dialect == "sqlite" else None
    for table, options, defaults in (
        ("build_metrics", {}, {"build_id": _RANDOM_NAME[dialect], **_PLACE}),
        (
            "request_metadata",
            {"sqlite_with_rowid": False},
            {"request_number": _RANDOM_NUMBER[dialect]},
        ),
        (
            "client_stats",
            {},
            {"status": _UNKNOWN, "client_version": "''", "outcome": "'queued'", **_PLACE},
        ),
        (
            "error_stats",
            {"sqlite_autoincrement": True},
            {"error_type": _UNKNOWN, "request_hash": "''", **_PLACE},
        ),
    ):
        with op.batch_alter_table(table, table_kwargs=options) as batch:
            for column, default in defaults.items():
                kind = sa.BigInteger() if column == "request_number" else sa.Text()
                batch.alter_column(column, existing_type=kind, server_default=sa.text(default))
    if number is not None:  # of rows that are gone too
        op.execute("DELETE FROM sqlite_sequence WHERE name = 'error_stats'")
        go_on = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('error_stats', :seq)")
        op.execute(go_on.bindparams(seq=number))


def _last_number() -> int | None:
    """Return the highest number that a row of `error_stats` ever had."""
    query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'error_stats'")
    return op.get_bind().execute(query).scalar()
