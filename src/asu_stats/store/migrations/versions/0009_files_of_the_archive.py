"""Files of the archive, and which of them late events need."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "archive_parts",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("table_name", _NAME, nullable=False, comment="the detail table"),
        sa.Column("file", sa.Text(), nullable=False, comment="absolute path"),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(), nullable=False, comment="time of its first row"),
        sa.Column("last_at", sa.DateTime(), nullable=False, comment="time of its last row"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archive_parts")),
        comment="Files of the archive: a file that is not named here does not count.",
    )
    op.create_table(
        "archive_keys",
        sa.Column(
            "key", sa.BigInteger(), autoincrement=False, nullable=False, comment="see parts.py"
        ),
        sa.Column(
            "part",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="archive_parts.id",
        ),
        sa.PrimaryKeyConstraint("key", "part", name=op.f("pk_archive_keys")),
        comment="Which parts late events need.",
        sqlite_with_rowid=False,
    )
