"""Distinct request hashes among rejected requests, of which the details are still known."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_DAYS = """
INSERT INTO rejected_days (request_number, date, client)
SELECT m.request_number, date(c.timestamp), c.client
FROM client_stats c JOIN request_metadata m ON m.request_hash = c.request_hash
WHERE c.outcome = 'rejected'
UNION
SELECT m.request_number, date(c.timestamp), c.client
FROM client_stats_archive c JOIN request_metadata m ON m.request_hash = c.request_hash
WHERE c.outcome = 'rejected'
"""
# Of each day the one before it on which the same was rejected, or the first of all days.
_OF_HASH = """
INSERT INTO stats_unique_rejected (date, previous_date, requests)
SELECT date, previous_date, count(*) FROM (
    SELECT date, lag(date, 1, date('0001-01-01'))
        OVER (PARTITION BY request_number ORDER BY date) AS previous_date
    FROM (SELECT DISTINCT request_number, date FROM rejected_days) AS days
) AS pairs
GROUP BY date, previous_date
"""
_OF_CLIENT = """
INSERT INTO stats_client_unique_rejected (date, client, previous_date, requests)
SELECT date, client, previous_date, count(*) FROM (
    SELECT date, client, lag(date, 1, date('0001-01-01'))
        OVER (PARTITION BY request_number, client ORDER BY date) AS previous_date
    FROM rejected_days
) AS pairs
GROUP BY date, client, previous_date
"""


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "rejected_days",
        sa.Column("request_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.PrimaryKeyConstraint("request_number", "date", "client", name=op.f("pk_rejected_days")),
        comment="Days on which a client was rejected with a hash. Outlives the details.",
        sqlite_with_rowid=False,
    )
    for table, further in (
        ("stats_unique_rejected", ()),
        ("stats_client_unique_rejected", ("client",)),
    ):
        op.create_table(
            table,
            sa.Column("date", sa.Date(), nullable=False),
            *(sa.Column(name, _NAME, nullable=False) for name in further),
            sa.Column("previous_date", sa.Date(), nullable=False),
            sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
            sa.PrimaryKeyConstraint("date", *further, "previous_date", name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
    for statement in (_DAYS, _OF_HASH, _OF_CLIENT):
        op.execute(sa.text(statement))
