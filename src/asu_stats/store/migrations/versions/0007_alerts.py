"""Alerts: what the monitor remembers, silences, and messages on their way out."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SUBJECT = "JSON list of [dimension, value]"


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "alert_evaluations",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("evaluations", sa.BigInteger(), nullable=False, comment="how many there were"),
        sa.Column("evaluated_at", sa.DateTime(), nullable=False, comment="the last one"),
        sa.Column("readings", sa.JSON(), nullable=False, comment="what it saw, by rule"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_evaluations")),
    )
    op.create_table(
        "alerts",
        sa.Column("rule", _NAME, nullable=False),
        sa.Column("subject", _NAME, nullable=False, comment=_SUBJECT),
        sa.Column("state", sa.Text(), nullable=False, comment="pending, firing, resolved"),
        sa.Column("since", sa.DateTime(), nullable=False, comment="of the state"),
        sa.Column("value", sa.Double()),
        sa.Column("worst", sa.Double()),
        sa.Column(
            "sample", sa.BigInteger(), nullable=False, comment="builds or requests looked at"
        ),
        sa.Column("expected", sa.Double(), comment="what it was before, or is elsewhere"),
        sa.Column("well_since", sa.DateTime(), comment="of one that fires"),
        sa.Column("times", sa.Integer(), nullable=False, comment="it has fired lately"),
        sa.Column("incident", _NAME, comment="what it was told as"),
        sa.Column(
            "about", sa.JSON(), nullable=False, comment="as subject: what most of it is about"
        ),
        sa.PrimaryKeyConstraint("rule", "subject", name=op.f("pk_alerts")),
        comment="Rules and subjects that are no longer, or not yet, just ok.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alert_incidents",
        sa.Column("id", _NAME, nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("rule", _NAME, nullable=False, comment="that opened it"),
        sa.Column("subject", _NAME, nullable=False, comment=_SUBJECT),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.Column("closed_at", sa.DateTime()),
        sa.Column("told_at", sa.DateTime(), comment="null while a silence keeps it quiet"),
        sa.Column(
            "report", sa.JSON(), nullable=False, comment="how bad it is, and the likely cause"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_incidents")),
        comment="What was told, or would have been: the history of alerts.",
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_alert_incidents_opened_at"), "alert_incidents", ["opened_at"])
    op.create_table(
        "alert_silences",
        sa.Column("id", _ID, nullable=False),
        sa.Column("rule", _NAME, comment="null: any"),
        sa.Column("subject", _NAME, nullable=False, comment=f"{_SUBJECT} it has to have"),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_silences")),
    )
    op.create_table(
        "alert_messages",
        sa.Column("id", _ID, nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False, comment="the same for every attempt"),
        sa.Column(
            "channel", sa.Text(), nullable=False, comment="digest of an address in the settings"
        ),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.DateTime(), comment="of the next attempt; null: none any more"),
        sa.Column("delivered_at", sa.DateTime()),
        sa.Column("error", sa.Text(), comment="what the last attempt said"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_messages")),
        comment="The outbox: written with what it tells, and sent by whoever comes first.",
    )
    op.create_index(
        "ix_alert_messages_waiting",
        "alert_messages",
        ["next_at"],
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
