"""When tokens expire, and when they were last used."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    for name, comment in (
        ("expires_at", "null: it does not expire"),
        ("last_used_at", "to five minutes; null: not since this is recorded"),
    ):
        op.add_column("api_tokens", sa.Column(name, sa.DateTime(), comment=comment))
