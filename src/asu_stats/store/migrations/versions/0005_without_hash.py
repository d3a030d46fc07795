"""History of older servers, whose requests have no hash and may not say diff_packages."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SUMS = {
    "stats_daily": ("requests_without_hash", "untraced_requests"),
    "stats_clients": ("requests_without_hash", "untraced_requests"),
    "stats_hourly_clients": ("untraced_requests",),
}


def upgrade() -> None:
    """Make the changes."""
    for table, sums in _SUMS.items():
        for name in sums:
            column = sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            op.add_column(table, column)
    with op.batch_alter_table("client_stats") as batch:  # SQLite writes the table anew
        batch.alter_column(
            "diff_packages",
            existing_type=sa.Boolean(),
            existing_nullable=False,
            nullable=True,
            comment="null where an older server did not keep it",
        )
        batch.alter_column(
            "status",
            existing_type=sa.Text(),
            existing_nullable=False,
            comment="queued, success, failure, timeout, cancelled, rejected; unknown without hash",
        )
