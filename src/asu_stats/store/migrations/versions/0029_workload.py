"""What workers have to do: builds queued by the hour, how long any build took, lists by profile.

The upgrade counts them from the details. Lists of days without details are of an unknown profile.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the changes."""
    queued = sa.Column(
        "queued_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False
    )
    op.add_column("stats_hourly_profiles", queued)
    op.create_table(
        "stats_busy_seconds",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("date", "seconds", name=op.f("pk_stats_busy_seconds")),
        sqlite_with_rowid=False,
    )
    op.execute("CREATE TEMPORARY TABLE lists AS SELECT * FROM stats_packages")
    op.drop_table("stats_packages")
    op.create_table(
        "stats_packages",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("package_list", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            *("date", "version", "target", "profile", "package_list"),
            name=op.f("pk_stats_packages"),
        ),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO stats_packages (date, version, target, profile, package_list, requests) "
        "SELECT date, version, target, 'unknown', package_list, requests FROM lists"
    )
    op.execute("DROP TABLE lists")
