"""What waits and what runs is found by index, whatever the size of the history."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_QUEUED = sa.text("status = 'queued'")
_RUNNING = sa.text("finished_at IS NULL")


def upgrade() -> None:
    """Make the changes."""
    op.create_index(
        "ix_client_stats_queued",
        "client_stats",
        ["timestamp", "request_hash"],
        sqlite_where=_QUEUED,
        postgresql_where=_QUEUED,
    )
    op.create_index(
        "ix_build_metrics_running",
        "build_metrics",
        ["started_at"],
        sqlite_where=_RUNNING,
        postgresql_where=_RUNNING,
    )
