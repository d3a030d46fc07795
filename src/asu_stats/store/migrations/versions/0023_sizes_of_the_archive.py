"""The size of each file of the archive. Of files that exist already it is unknown."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    meaning = "size of the file; null where an older release wrote it"
    op.add_column("archive_parts", sa.Column("bytes", sa.BigInteger(), comment=meaning))
