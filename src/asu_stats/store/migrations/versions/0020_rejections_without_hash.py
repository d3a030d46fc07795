"""Rejected requests without request hash: some servers compute it only after validation.

Nothing that older releases accepted was one, so the sums begin at 0.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    for table in ("stats_daily", "stats_clients"):
        added = sa.BigInteger()
        op.add_column(
            table,
            sa.Column("rejected_without_hash", added, server_default=sa.text("0"), nullable=False),
        )
    op.execute("UPDATE store_state SET changes = changes + 1")
