"""Counters of `/metrics` that no import and no correction moves."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "live_counts",
        sa.Column("measure", _NAME, nullable=False),
        sa.Column("label", _NAME, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("measure", "label", name=op.f("pk_live_counts")),
        comment="Live events, for the counters of /metrics; never decreases.",
        sqlite_with_rowid=False,
    )
