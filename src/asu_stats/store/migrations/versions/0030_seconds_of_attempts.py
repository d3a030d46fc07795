"""How long successful builds took, beside who asked for them and which worker built them.

The upgrade counts it from the details. It is unknown for days without details.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0030"
down_revision: str | None = "0029"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_KEY = ("device", "asker", "worker", "package_list")
_SUMS = ("successful_builds", "failed_builds")


def upgrade() -> None:
    """Make the changes."""
    op.execute("CREATE TEMPORARY TABLE attempts AS SELECT * FROM stats_attempts")
    op.drop_table("stats_attempts")
    op.create_table(
        "stats_attempts",
        sa.Column("date", sa.Date(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _KEY),
        sa.Column("seconds", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for name in _SUMS
        ),
        sa.PrimaryKeyConstraint("date", *_KEY, "seconds", name=op.f("pk_stats_attempts")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO stats_attempts (date, device, asker, worker, package_list, seconds, "
        "successful_builds, failed_builds) SELECT date, device, asker, worker, package_list, -1, "
        "successful_builds, failed_builds FROM attempts"
    )
    op.execute("DROP TABLE attempts")
