"""The tables of the monitor: alerts, silences, and pending notifications."""

from sqlalchemy import JSON, BigInteger, Column, DateTime, Double, Index, Integer, Table, Text, text

from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import name, row_id

alert_evaluations = Table(
    "alert_evaluations",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("evaluations", BigInteger, nullable=False, comment="number of evaluations so far"),
    Column("evaluated_at", DateTime, nullable=False, comment="time of the last evaluation"),
    Column("readings", JSON, nullable=False, comment="values of the last evaluation, by rule"),
)

alerts = Table(
    "alerts",
    metadata,
    name("rule", primary_key=True),
    name("subject", primary_key=True, comment="JSON list of [dimension, value]"),
    Column("state", Text, nullable=False, comment="pending, firing, resolved"),
    Column("since", DateTime, nullable=False, comment="start of the state"),
    Column("value", Double),
    Column("worst", Double),
    Column("sample", BigInteger, nullable=False, comment="builds or requests that value covers"),
    Column("expected", Double, comment="value before or elsewhere, for comparison"),
    Column("recovering_since", DateTime, comment="since when a firing alert has recovered"),
    Column("times", Integer, nullable=False, comment="how often it fired within six hours"),
    name("incident", comment="alert_incidents.id"),
    Column(
        "about", JSON, nullable=False, comment="pairs like subject that most of the failures share"
    ),
    comment="Alerts that are pending, firing or recently resolved.",
    sqlite_with_rowid=False,
)

alert_silences = Table(
    "alert_silences",
    metadata,
    row_id(),
    name("rule", comment="null for any rule"),
    name(
        "subject",
        nullable=False,
        comment="JSON list of [dimension, value] that incidents must contain",
    ),
    Column("until", DateTime, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    name("created_by", comment="name of the token; null from the command line"),
)

alert_messages = Table(
    "alert_messages",
    metadata,
    row_id(),
    Column("message_id", Text, nullable=False, comment="the same for every attempt and channel"),
    Column(
        "channel",
        Text,
        nullable=False,
        comment="digest of the address of a channel in the settings",
    ),
    Column("body", JSON, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_at", DateTime, comment="next attempt; null once delivered or given up"),
    Column("delivered_at", DateTime),
    Column("error", Text, comment="error of the last attempt"),
    Index(
        "ix_alert_messages_waiting",
        "next_at",
        sqlite_where=text("next_at IS NOT NULL"),
        postgresql_where=text("next_at IS NOT NULL"),
    ),
    comment="Outbox: notifications, written in the transaction of their incident.",
)
