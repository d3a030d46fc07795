"""How long requests waited, and requests that failed again and again. The upgrade counts them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_OFTEN = "rejected + cached_failures + failed_builds >= 10"
# Whole seconds, half up.
_WAITED = {
    "sqlite": """max(0, ((CAST(strftime('%s', b.started_at) AS INTEGER)
            - CAST(strftime('%s', {table}.timestamp) AS INTEGER)) * 1000000
        + CAST(substr(b.started_at, 21, 6) AS INTEGER)
        - CAST(substr({table}.timestamp, 21, 6) AS INTEGER) + 500000) / 1000000)""",
    "postgresql": """greatest(0, floor(
        extract(epoch FROM b.started_at - {table}.timestamp) + 0.5))""",
}
_WAITS = """
    UPDATE {table} SET waited_seconds = {waited} FROM {builds} AS b
    WHERE b.request_hash = {table}.request_hash AND b.build_id = {table}.build_id
        AND b.started_at <= b.finished_at
"""


def upgrade() -> None:
    """Make the changes."""
    waited = _WAITED[op.get_context().dialect.name]
    for table, comment in (
        ("client_stats", "until the build started; null if unknown"),
        ("client_stats_archive", None),
    ):
        op.add_column(table, sa.Column("waited_seconds", sa.Integer(), comment=comment))
        for builds in ("build_metrics", "build_metrics_archive"):
            statement = _WAITS.format(table=table, builds=builds, waited=waited.format(table=table))
            op.execute(sa.text(statement))
    op.create_table(
        "stats_waits",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("hour_of_week", sa.Integer(), nullable=False),
        sa.Column("waited_seconds", sa.Integer(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            *("date", "hour_of_week", "waited_seconds"), name=op.f("pk_stats_waits")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_repeats",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("request_hash", _NAME, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for name in ("rejected", "cached_failures", "failed_builds")
        ),
        sa.PrimaryKeyConstraint("date", "client", "request_hash", name=op.f("pk_stats_repeats")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_stats_repeats_often",
        "stats_repeats",
        ["date"],
        sqlite_where=sa.text(_OFTEN),
        postgresql_where=sa.text(_OFTEN),
    )
