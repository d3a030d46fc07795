"""Jobs and their leases; the queue minute by minute."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "scheduled_jobs",
        sa.Column("name", _NAME, nullable=False),
        sa.Column(
            "schedule",
            sa.Text(),
            nullable=False,
            comment="crontab in UTC that next_run_at follows",
        ),
        sa.Column("next_run_at", sa.DateTime(), nullable=False),
        sa.Column("holder", sa.Text(), comment="who runs it now; null while nobody does"),
        sa.Column(
            "lease_until", sa.DateTime(), comment="when the holder counts as dead; null as holder"
        ),
        sa.Column("fence", sa.BigInteger(), nullable=False, comment="+1 each time it is taken"),
        sa.Column("started_at", sa.DateTime(), comment="of the last run, or of the one going on"),
        sa.Column("finished_at", sa.DateTime(), comment="of the last run that came to its end"),
        sa.Column("duration_seconds", sa.Double(), comment="of that run"),
        sa.Column("status", sa.Text(), comment="of that run: ok, failed or stopped"),
        sa.Column("result", sa.JSON(), comment="what it says it did"),
        sa.Column("error", sa.Text(), comment="one line, of a failed one"),
        sa.Column("succeeded_at", sa.DateTime(), comment="end of the last run that was ok"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_scheduled_jobs")),
        comment="Jobs, each run by one process at a time: see leases.py.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "queue_samples",
        sa.Column("sampled_at", sa.DateTime(), nullable=False, comment="the minute"),
        sa.Column("queue_length", sa.Integer(), nullable=False, comment="builds that wait"),
        sa.Column("builds_running", sa.Integer(), nullable=False),
        sa.Column(
            "oldest_queued_at",
            sa.DateTime(),
            comment="of those that wait; null while none does",
        ),
        sa.Column("last_finished_at", sa.DateTime(), comment="end of the build that ended last"),
        sa.PrimaryKeyConstraint("sampled_at", name=op.f("pk_queue_samples")),
        comment="The queue, minute by minute.",
        sqlite_with_rowid=False,
    )
