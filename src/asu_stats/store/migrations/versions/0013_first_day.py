"""The first day of the history is no day of a clock at zero."""

from collections.abc import Sequence

from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the changes."""
    op.execute(
        "UPDATE store_state SET data_since ="
        " (SELECT min(date) FROM stats_daily WHERE date >= '2004-01-01')"
        " WHERE data_since < '2004-01-01'"
    )
