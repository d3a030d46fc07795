"""Annotations of charts, and what they are made from: notes, changed settings, release days."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "annotations",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=True, comment="null: it has no duration"),
        sa.Column("kind", _NAME, nullable=False, comment="note, setting"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
        comment="Notes by hand and changed settings, for charts.",
    )
    op.create_table(
        "known_settings",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_known_settings")),
        comment="Settings of the last start that influence figures.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "release_days",
        sa.Column("version", _NAME, nullable=False),
        sa.Column("released_on", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_release_days")),
        comment="Days that the file of the setting release_days gave at the last start.",
        sqlite_with_rowid=False,
    )
