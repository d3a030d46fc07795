"""Gaps between successive requests of one hash. The upgrade counts them from the details."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    for name, comment in (
        ("first_at", "microseconds from midnight to its first request"),
        ("last_at", "the same of its last request"),
    ):
        op.add_column("request_days", sa.Column(name, sa.BigInteger(), comment=comment))
    op.create_table(
        "stats_request_gaps",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("gap_seconds", sa.Integer(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("date", "gap_seconds", name=op.f("pk_stats_request_gaps")),
        sqlite_with_rowid=False,
    )
