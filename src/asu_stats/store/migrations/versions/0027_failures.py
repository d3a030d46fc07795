"""Fingerprints of errors, and who asked for builds; `store.verification` fills them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_COLUMNS = {
    "build_metrics": (
        ("client", _NAME, "of the earliest request that waited for it"),
        ("client_version", _NAME, None),
        ("package_list", sa.BigInteger(), "number of what that request named"),
        ("fingerprint", _NAME, "of its error"),
        ("package", _NAME, "that its error names; null where none"),
    ),
    "error_stats": (
        ("client_version", _NAME, None),
        ("fingerprint", _NAME, None),
        ("package", _NAME, "that it names; null where none"),
    ),
}


def upgrade() -> None:
    """Make the changes."""
    for table, columns in _COLUMNS.items():
        for name, kind, comment in columns:
            op.add_column(table, sa.Column(name, kind, comment=comment))
            op.add_column(f"{table}_archive", sa.Column(name, kind))
    for table in ("error_stats", "error_stats_archive"):
        index = op.f(f"ix_{table}_fingerprint_timestamp")
        op.create_index(index, table, ["fingerprint", "timestamp"])
    op.create_table(
        "error_fingerprints",
        sa.Column("fingerprint", _NAME, nullable=False),
        sa.Column("error_category", _NAME, nullable=False),
        sa.Column("error_type", _NAME, nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False, comment="telling lines, names replaced"),
        sa.Column(
            "algorithm", sa.Integer(), nullable=False, comment="of fingerprints.py, that made it"
        ),
        sa.Column("example", sa.Text(), comment="text of its earliest error"),
        sa.Column("example_hash", _NAME, comment="request hash of that"),
        sa.Column("example_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_error_fingerprints")),
        comment="What fingerprints of errors stand for. Outlives the details.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "name_numbers",
        sa.Column(
            "number",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="digest of names",
        ),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_name_numbers")),
        comment="Names that parts of keys stand for. Outlives the details.",
        sqlite_with_rowid=False,
    )
    made = ("device", "asker", "worker", "package_list")
    failure = ("fingerprint", "error_category", "error_type", "package", *made, "request_hash")
    for table, key, sums in (
        ("stats_attempts", made, ("successful_builds", "failed_builds")),
        ("stats_failures", failure, ("failed_builds", "rejected_requests")),
    ):
        op.create_table(
            table,
            sa.Column("date", sa.Date(), nullable=False),
            *(
                sa.Column(name, sa.BigInteger() if name in made else _NAME, nullable=False)
                for name in key
            ),
            *(
                sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
                for name in sums
            ),
            sa.PrimaryKeyConstraint("date", *key, name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
    index = op.f("ix_stats_failures_fingerprint_date")
    op.create_index(index, "stats_failures", ["fingerprint", "date"])
    op.execute("UPDATE store_state SET changes = changes + 1")
