"""Add indexes and defaults for manual queries; requests whose build runs become `building`."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_STATUS = "queued, building, success, failure, timeout, cancelled, rejected; unknown without hash"
# A request that no build has ended yet has the latest time there is as its end.
_BUILDING = """
    UPDATE client_stats SET status = 'building'
    WHERE status = 'queued' AND ended_at = '9999-12-31 23:59:59.999999' AND EXISTS (
        SELECT 1 FROM build_metrics
        WHERE build_metrics.request_hash = client_stats.request_hash
        AND started_at IS NOT NULL AND finished_at IS NULL
    )
"""
_UNENDED = sa.text("status IN ('queued', 'building')")


def upgrade() -> None:
    """Make the changes. SQLite rewrites three tables."""
    sqlite = op.get_context().dialect.name == "sqlite"
    now = sa.text("CURRENT_TIMESTAMP" if sqlite else "(CURRENT_TIMESTAMP AT TIME ZONE 'UTC')")
    with op.batch_alter_table(
        "request_metadata", table_kwargs={"sqlite_with_rowid": False}
    ) as batch:
        batch.alter_column(
            "total_requests", existing_type=sa.Integer(), server_default=sa.text("1")
        )
    op.drop_index("ix_client_stats_queued", "client_stats")
    with op.batch_alter_table("client_stats") as batch:
        batch.alter_column("timestamp", existing_type=sa.DateTime(), server_default=now)
        batch.alter_column("cache_hit", existing_type=sa.Boolean(), server_default=sa.text("false"))
        batch.alter_column("status", existing_type=sa.Text(), comment=_STATUS)
    number = _last_number() if sqlite else None
    with op.batch_alter_table("error_stats", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.alter_column("timestamp", existing_type=sa.DateTime(), server_default=now)
    if number is not None:  # of rows that are gone too
        op.execute("DELETE FROM sqlite_sequence WHERE name = 'error_stats'")
        go_on = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('error_stats', :seq)")
        op.execute(go_on.bindparams(seq=number))
    for table in ("client_stats", "error_stats"):
        if sqlite:
            op.drop_index(f"ix_{table}_timestamp", table)
            op.create_index(f"idx_{table}_timestamp", table, ["timestamp"])
        else:
            op.execute(f"ALTER INDEX ix_{table}_timestamp RENAME TO idx_{table}_timestamp")
    op.create_index(
        "ix_client_stats_unended",
        "client_stats",
        ["timestamp", "request_hash"],
        sqlite_where=_UNENDED,
        postgresql_where=_UNENDED,
    )
    op.execute(_BUILDING)


def _last_number() -> int | None:
    """Return the highest number that a row of `error_stats` ever had."""
    query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'error_stats'")
    return op.get_bind().execute(query).scalar()
