"""Files of the archive are named by their path below the archive directory."""

from collections.abc import Sequence
from pathlib import PurePath

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_parts = sa.table("archive_parts", sa.column("id"), sa.column("file"))


def upgrade() -> None:
    """Make the changes."""
    connection = op.get_bind()
    for number, file in connection.execute(sa.select(_parts.c.id, _parts.c.file)).all():
        below = "/".join(PurePath(file).parts[-3:])  # table/month/name
        change = sa.update(_parts).where(_parts.c.id == number).values(file=below)
        connection.execute(change)
    if connection.dialect.name == "postgresql":
        op.alter_column("archive_parts", "file", comment="path below archive_directory")
