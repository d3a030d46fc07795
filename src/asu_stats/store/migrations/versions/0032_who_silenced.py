"""Which token created a silence, and the scope operator."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes. SQLite keeps no comments."""
    comment = "name of the token; null from the command line"
    op.add_column("alert_silences", sa.Column("created_by", sa.Text(), comment=comment))
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("api_tokens", "scope", comment="ingest, read or operator")
