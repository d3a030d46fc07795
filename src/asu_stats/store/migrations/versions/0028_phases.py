"""How long the phases of successful builds took. The upgrade counts them from the details."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "stats_phases",
        sa.Column("date", sa.Date(), nullable=False),
        *(sa.Column(name, _NAME, nullable=False) for name in ("phase", "version", "worker")),
        sa.Column("milliseconds", sa.BigInteger(), nullable=False),
        sa.Column("builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            *("date", "phase", "version", "worker", "milliseconds"), name=op.f("pk_stats_phases")
        ),
        sqlite_with_rowid=False,
    )
