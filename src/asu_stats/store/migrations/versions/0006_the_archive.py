"""The archive of details that are over age; which days have hours."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the changes."""
    op.add_column(
        "store_state",
        sa.Column(
            "archived_before", sa.Date(), comment="no detail of this day or later was ever archived"
        ),
    )
    op.add_column(
        "store_state",
        sa.Column(
            "hourly_since", sa.Date(), comment="first day of which there are hours; null: of all"
        ),
    )
    op.create_table(
        "build_metrics_archive",
        sa.Column("id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("request_hash", _NAME, nullable=False),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("duration_seconds", sa.Integer()),
        sa.Column("status", _NAME, nullable=False),
        sa.Column("error_category", _NAME),
        sa.Column("error_message", sa.Text()),
        sa.Column("cache_hit", sa.Boolean(), nullable=False),
        sa.Column("worker_id", _NAME),
        sa.Column("build_id", _NAME, nullable=False),
        sa.Column("error_type", _NAME),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("diff_packages", sa.Boolean()),
        sa.Column("reported_seconds", sa.Integer()),
        sa.Column("reported_names", sa.JSON()),
        sa.Column("phases", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build_metrics_archive")),
        comment="Rows of build_metrics that are over age.",
    )
    op.create_table(
        "client_stats_archive",
        sa.Column("id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("timestamp", sa.DateTime(), nullable=False),
        sa.Column("request_hash", _NAME, nullable=False),
        sa.Column("cache_hit", sa.Boolean(), nullable=False),
        sa.Column("status", _NAME, nullable=False),
        sa.Column("client_version", _NAME, nullable=False),
        sa.Column("outcome", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("diff_packages", sa.Boolean()),
        sa.Column("ended_at", sa.DateTime()),
        sa.Column("build_id", _NAME),
        sa.Column("error_category", _NAME),
        sa.Column("error_type", _NAME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client_stats_archive")),
        comment="Rows of client_stats that are over age.",
    )
    op.create_table(
        "error_stats_archive",
        sa.Column("id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("timestamp", sa.DateTime(), nullable=False),
        sa.Column("error_category", _NAME, nullable=False),
        sa.Column("error_type", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("request_hash", _NAME, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("build_id", _NAME),
        sa.Column("client", _NAME),
        sa.Column("error_message", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_error_stats_archive")),
        comment="Rows of error_stats that are over age.",
    )
    for table, columns, unique in (
        ("build_metrics_archive", ("request_hash", "build_id"), True),
        ("build_metrics_archive", ("finished_at",), False),
        ("client_stats_archive", ("request_hash", "ended_at"), False),
        ("client_stats_archive", ("timestamp",), False),
        ("error_stats_archive", ("timestamp",), False),
    ):
        name = op.f(f"ix_{table}_{'_'.join(columns)}")
        op.create_index(name, table, list(columns), unique=unique)
