"""When each day last changed; packed days; smaller indices."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "day_changes",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column(
            "changes",
            sa.BigInteger(),
            nullable=False,
            comment="store_state.changes at the last one",
        ),
        sa.PrimaryKeyConstraint("date", name=op.f("pk_day_changes")),
        comment="When a figure of a UTC day last changed.",
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO day_changes SELECT date, 1 FROM stats_daily")
    op.create_table(
        "packed_days",
        sa.Column("cube", _NAME, nullable=False),
        sa.Column(
            "first_day", sa.Integer(), autoincrement=False, nullable=False, comment="ordinal"
        ),
        sa.Column(
            "days", sa.Integer(), autoincrement=False, nullable=False, comment="a power of 2"
        ),
        sa.Column(
            "changes", sa.BigInteger(), nullable=False, comment="of its days, when it was packed"
        ),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("cube", "first_day", "days", name=op.f("pk_packed_days")),
        comment="Blocks of rollups, ready for the reports: derived, disposable, see packs.py.",
    )
    op.drop_index("ix_build_metrics_duration_seconds_finished_at", "build_metrics")
    op.create_index(
        "ix_build_metrics_successful",
        "build_metrics",
        ["duration_seconds", "finished_at"],
        sqlite_where=sa.text("status = 'success'"),
        postgresql_where=sa.text("status = 'success'"),
    )
    op.drop_index("ix_error_stats_build", "error_stats")
