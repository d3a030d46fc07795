"""The tables of the monitor: alerts, incidents, silences, and pending notifications."""

from sqlalchemy import JSON, BigInteger, Column, DateTime, Double, Index, Integer, Table, Text, text

from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import name, row_id

alert_evaluations = Table(
    "alert_evaluations",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("evaluations", BigInteger, nullable=False, comment="how many there were"),
    Column("evaluated_at", DateTime, nullable=False, comment="the last one"),
    Column("readings", JSON, nullable=False, comment="what it saw, by rule"),
)

alerts = Table(
    "alerts",
    metadata,
    name("rule", primary_key=True),
    name("subject", primary_key=True, comment="JSON list of [dimension, value]"),
    Column("state", Text, nullable=False, comment="pending, firing, resolved"),
    Column("since", DateTime, nullable=False, comment="of the state"),
    Column("value", Double),
    Column("worst", Double),
    Column("sample", BigInteger, nullable=False, comment="builds or requests looked at"),
    Column("expected", Double, comment="what it was before, or is elsewhere"),
    Column("well_since", DateTime, comment="of one that fires"),
    Column("times", Integer, nullable=False, comment="it has fired lately"),
    name("incident", comment="what it was told as"),
    Column("about", JSON, nullable=False, comment="as subject: what most of it is about"),
    comment="Rules and subjects that are no longer, or not yet, just ok.",
    sqlite_with_rowid=False,
)

alert_incidents = Table(
    "alert_incidents",
    metadata,
    name("id", primary_key=True),
    Column("family", Text, nullable=False),
    name("rule", nullable=False, comment="that opened it"),
    name("subject", nullable=False, comment="JSON list of [dimension, value]"),
    Column("severity", Text, nullable=False),
    Column("opened_at", DateTime, nullable=False),
    Column("closed_at", DateTime),
    Column("told_at", DateTime, comment="null while a silence keeps it quiet"),
    Column("report", JSON, nullable=False, comment="how bad it is, and the likely cause"),
    Index(None, "opened_at"),
    comment="What was told, or would have been: the history of alerts.",
    sqlite_with_rowid=False,
)

alert_silences = Table(
    "alert_silences",
    metadata,
    row_id(),
    name("rule", comment="null: any"),
    name("subject", nullable=False, comment="JSON list of [dimension, value] it has to have"),
    Column("until", DateTime, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
)

alert_messages = Table(
    "alert_messages",
    metadata,
    row_id(),
    Column("message_id", Text, nullable=False, comment="the same for every attempt"),
    Column("channel", Text, nullable=False, comment="digest of an address in the settings"),
    Column("body", JSON, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_at", DateTime, comment="of the next attempt; null: none any more"),
    Column("delivered_at", DateTime),
    Column("error", Text, comment="what the last attempt said"),
    Index(
        "ix_alert_messages_waiting",
        "next_at",
        sqlite_where=text("next_at IS NOT NULL"),
        postgresql_where=text("next_at IS NOT NULL"),
    ),
    comment="The outbox: written with what it tells, and sent by whoever comes first.",
)
