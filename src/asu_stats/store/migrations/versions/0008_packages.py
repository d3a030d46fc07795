"""How often packages are asked for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "package_names",
        sa.Column("number", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_package_names")),
        sa.UniqueConstraint("name", name=op.f("uq_package_names_name")),
        comment="Packages that were ever asked for.",
    )
    op.create_table(
        "package_lists",
        sa.Column("number", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("digest", _NAME, nullable=False, comment="of its names"),
        sa.Column(
            "packages", sa.LargeBinary(), nullable=False, comment="their numbers, package_lists.py"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_package_lists")),
        sa.UniqueConstraint("digest", name=op.f("uq_package_lists_digest")),
        comment="Each distinct list of packages that was asked for. Outlives the details.",
    )
    op.create_table(
        "stats_packages",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("package_list", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            "date", "version", "target", "package_list", name=op.f("pk_stats_packages")
        ),
        sqlite_with_rowid=False,
    )
    op.add_column(
        "client_stats",
        sa.Column(
            "package_list", sa.BigInteger(), comment="number of what it named; null where none"
        ),
    )
    op.add_column("client_stats_archive", sa.Column("package_list", sa.BigInteger()))
