"""Which requests come from clients that know only two phases."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    comment = "a client that asks for it knows only two phases"
    op.add_column("build_requests", sa.Column("coarse_phases", sa.Boolean(), comment=comment))
