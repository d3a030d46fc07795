"""What the Go server counted, and its table."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SUMS = (
    *("request", "cache_hit", "build_completed", "failure"),
    *("diff_packages_true", "diff_packages_false"),
)
_DAY = {"sqlite": "substr({}, 1, 10)", "postgresql": "CAST({} AS DATE)"}
# Counted from the details; a build with diff_packages null is in neither of the last two sums.
_FILL = """
    INSERT INTO stats_legacy (date, version, {sums})
    SELECT day, version, {added}
    FROM (
        SELECT {requested} AS day, version,
            CASE outcome WHEN 'queued' THEN 1 ELSE 0 END AS request,
            CASE outcome WHEN 'cache_hit' THEN 1 ELSE 0 END AS cache_hit,
            0 AS build_completed,
            0 AS failure,
            CASE WHEN outcome = 'queued' AND diff_packages THEN 1 ELSE 0 END AS diff_packages_true,
            CASE WHEN outcome = 'queued' AND NOT diff_packages THEN 1 ELSE 0 END
                AS diff_packages_false
        FROM client_stats
        WHERE outcome IN ('queued', 'cache_hit')
        UNION ALL
        SELECT {finished}, version,
            0,
            0,
            CASE status WHEN 'success' THEN 1 ELSE 0 END,
            CASE status WHEN 'success' THEN 0 ELSE 1 END,
            CASE WHEN status = 'success' AND diff_packages THEN 1 ELSE 0 END,
            CASE WHEN status = 'success' AND NOT diff_packages THEN 1 ELSE 0 END
        FROM build_metrics
        WHERE status IN ('success', 'failure', 'timeout')
    ) AS happened
    GROUP BY day, version
"""


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "stats_legacy",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        *(
            sa.Column(add, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for add in _SUMS
        ),
        sa.PrimaryKeyConstraint("date", "version", name=op.f("pk_stats_legacy")),
        sqlite_with_rowid=False,
    )
    day = _DAY[op.get_bind().dialect.name]
    op.execute(
        _FILL.format(
            sums=", ".join(_SUMS),
            added=", ".join(f"sum({add})" for add in _SUMS),
            requested=day.format("timestamp"),
            finished=day.format("finished_at"),
        )
    )
    _make_build_stats()


def _make_build_stats() -> None:
    """Make the Go server's table, or use the one that is there with all it holds."""
    found = sa.inspect(op.get_bind())
    indexes: set[str | None] = set()
    if "build_stats" in found.get_table_names():
        indexes = {index["name"] for index in found.get_indexes("build_stats")}
        # It came late: databases from before lack it.
        if "diff_packages" not in {column["name"] for column in found.get_columns("build_stats")}:
            op.add_column("build_stats", sa.Column("diff_packages", sa.Boolean()))
    else:
        op.create_table(
            "build_stats",
            sa.Column("id", _ROW_ID, nullable=False),
            sa.Column("timestamp", sa.TIMESTAMP(), server_default=sa.text("CURRENT_TIMESTAMP")),
            sa.Column("event_type", sa.Text(), nullable=False),
            sa.Column("version", sa.Text()),
            sa.Column("target", sa.Text()),
            sa.Column("profile", sa.Text()),
            sa.Column("duration_seconds", sa.Integer()),
            sa.Column("diff_packages", sa.Boolean()),
            sa.PrimaryKeyConstraint("id", name=op.f("pk_build_stats")),
            comment="Written beside the details where legacy_build_stats is set.",
        )
    for column in ("timestamp", "event_type"):
        if (name := f"idx_build_stats_{column}") not in indexes:
            op.create_index(name, "build_stats", [column])
