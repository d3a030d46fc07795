"""The tables that are not sums: details, identities, tokens, and the state of the store.

Times are UTC without zone. Text keys sort by code point on both databases. A `request_hash` that is
not known is '' (`NO_HASH`), not null, because it is part of keys.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from asu_stats.store.database.dialects import random_name, random_number, utc_now
from asu_stats.store.database.metadata import metadata


def row_id() -> Column[int]:
    """Return an `id` column: the number of the row, a primary key that the database assigns."""
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def name(column: str, **options: Any) -> Column[str]:
    """Return a column of text compared by code point, not by the rules of some language."""
    return Column(column, Text().with_variant(Text(collation="C"), "postgresql"), **options)


def _number() -> Column[int]:
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Column("number", kind, primary_key=True, autoincrement=False)


# Defaults are for rows that people insert by hand; recording gives every column.
_UNKNOWN = text("'unknown'")

build_metrics = Table(
    "build_metrics",
    metadata,
    row_id(),
    name("request_hash", nullable=False),
    Column("started_at", DateTime, comment="null where no start was seen"),
    Column("finished_at", DateTime),
    Column("duration_seconds", Integer, comment="finished - started, half up, or as reported"),
    name("status", nullable=False, comment="building, success, failure, timeout, cancelled"),
    name("error_category"),
    Column("error_message", Text),
    Column("cache_hit", Boolean, nullable=False, server_default=text("false")),
    name("worker_id"),
    name("build_id", nullable=False, server_default=random_name()),
    name("error_type"),
    name("version", nullable=False, server_default=_UNKNOWN),
    name("target", nullable=False, server_default=_UNKNOWN),
    name("profile", nullable=False, server_default=_UNKNOWN),
    Column("diff_packages", Boolean),
    Column("reported_seconds", Integer, comment="duration_seconds of the finished event"),
    Column("reported_names", JSON, comment="what the build's own events said of its request"),
    Column("phases", JSON, comment="seconds per phase"),
    UniqueConstraint("request_hash", "build_id"),
    Index(None, "finished_at"),
    Index(
        "ix_build_metrics_running",
        "started_at",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
    Index(
        "ix_build_metrics_successful",
        "duration_seconds",
        "finished_at",
        sqlite_where=text("status = 'success'"),
        postgresql_where=text("status = 'success'"),
    ),
)

request_metadata = Table(
    "request_metadata",
    metadata,
    name("request_hash", primary_key=True),
    name("version", nullable=False),
    name("target", nullable=False),
    name("profile", nullable=False),
    Column("diff_packages", Boolean, nullable=False),
    Column("package_count", Integer),
    Column("has_custom_repos", Boolean),
    Column("has_defaults", Boolean),
    Column("rootfs_size_mb", Integer),
    Column("first_requested_at", DateTime, nullable=False),
    Column("last_requested_at", DateTime, nullable=False),
    Column("total_requests", Integer, nullable=False, server_default=text("1")),
    Column("cache_hits", Integer, nullable=False, server_default=text("0")),
    Column("successful_builds", Integer, nullable=False, server_default=text("0")),
    Column("failed_builds", Integer, nullable=False, server_default=text("0")),
    Column(
        "request_number",
        BigInteger,
        nullable=False,
        server_default=random_number(),
        comment="short key of request_days",
    ),
    sqlite_with_rowid=False,
)

client_stats = Table(
    "client_stats",
    metadata,
    row_id(),
    name("client", nullable=False),
    Column("timestamp", DateTime, nullable=False, server_default=utc_now()),
    name("request_hash", nullable=False),
    Column("cache_hit", Boolean, nullable=False, server_default=text("false")),
    name(
        "status",
        nullable=False,
        server_default=_UNKNOWN,
        comment="queued, building, success, failure, timeout, cancelled, rejected; "
        "unknown without hash",
    ),
    name("client_version", nullable=False, server_default=text("''")),
    name("outcome", nullable=False, server_default=text("'queued'")),
    name("version", nullable=False, server_default=_UNKNOWN),
    name("target", nullable=False, server_default=_UNKNOWN),
    name("profile", nullable=False, server_default=_UNKNOWN),
    Column("diff_packages", Boolean, comment="null where an older server did not keep it"),
    Column("ended_at", DateTime, comment="of a waiting request: end of the build it waited for"),
    name("build_id", comment="the build that ended the wait"),
    name("error_category", comment="of that build, or of the rejection"),
    name("error_type"),
    Column("package_list", BigInteger, comment="number of what it named; null where none"),
    Column("package_count", Integer),
    Column("has_custom_repos", Boolean),
    Column("has_defaults", Boolean),
    Column("rootfs_size_mb", Integer, comment="0 if none was asked for; null where it is unknown"),
    Index("idx_client_stats_timestamp", "timestamp"),
    Index(
        "ix_client_stats_unended",
        "timestamp",
        "request_hash",
        sqlite_where=text("status IN ('queued', 'building')"),
        postgresql_where=text("status IN ('queued', 'building')"),
    ),
    Index(
        "ix_client_stats_waiting",
        "request_hash",
        "ended_at",
        sqlite_where=text("ended_at IS NOT NULL"),
        postgresql_where=text("ended_at IS NOT NULL"),
    ),
)

error_stats = Table(
    "error_stats",
    metadata,
    row_id(),
    Column("timestamp", DateTime, nullable=False, server_default=utc_now()),
    name("error_category", nullable=False),
    name("error_type", nullable=False, server_default=_UNKNOWN),
    name("version", nullable=False, server_default=_UNKNOWN),
    name("target", nullable=False, server_default=_UNKNOWN),
    name("request_hash", nullable=False, server_default=text("''")),
    Column("count", Integer, nullable=False, server_default=text("1")),
    name("profile", nullable=False, server_default=_UNKNOWN),
    name("build_id", comment="null for a rejected request"),
    name("client", comment="who was rejected; null for a build"),
    Column("error_message", Text, comment="of a rejection; a build keeps its own"),
    Index("idx_error_stats_timestamp", "timestamp"),
    sqlite_autoincrement=True,  # rows go when an end is corrected; their numbers stay theirs
)

event_identities = Table(
    "event_identities",
    metadata,
    Column("identity", LargeBinary, primary_key=True, comment="source and id, see identities.py"),
    Column("content", LargeBinary, nullable=False, comment="digest of the rest of the event"),
    comment="Every event ever accepted. Outlives the details: twice is once, without a date.",
    sqlite_with_rowid=False,
)

package_names = Table(
    "package_names",
    metadata,
    _number(),
    name("name", nullable=False, unique=True),
    comment="Packages that were ever asked for.",
)

package_lists = Table(
    "package_lists",
    metadata,
    _number(),
    name("digest", nullable=False, unique=True, comment="of its names"),
    Column("packages", LargeBinary, nullable=False, comment="their numbers, package_lists.py"),
    comment="Each distinct list of packages that was asked for. Outlives the details.",
)

request_days = Table(
    "request_days",
    metadata,
    Column("request_number", BigInteger, primary_key=True, autoincrement=False),
    Column("date", Date, primary_key=True),
    name("client", primary_key=True),
    Column("first_at", BigInteger, comment="microseconds from midnight to its first request"),
    Column("last_at", BigInteger, comment="the same of its last request"),
    comment="Days on which a client asked for a hash. Outlives the details.",
    sqlite_with_rowid=False,
)

rejected_days = Table(
    "rejected_days",
    metadata,
    Column("request_number", BigInteger, primary_key=True, autoincrement=False),
    Column("date", Date, primary_key=True),
    name("client", primary_key=True),
    comment="Days on which a client was rejected with a hash. Outlives the details.",
    sqlite_with_rowid=False,
)

store_state = Table(
    "store_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("changes", BigInteger, nullable=False, comment="+1 with every change of a figure"),
    Column("requests_numbered", BigInteger, nullable=False, comment="last request_number given"),
    Column("data_since", Date, comment="first day of which anything is known"),
    Column("archived_before", Date, comment="no detail of this day or later was ever archived"),
    Column("hourly_since", Date, comment="first day of which there are hours; null: of all"),
)

day_changes = Table(
    "day_changes",
    metadata,
    Column("date", Date, primary_key=True),
    Column("changes", BigInteger, nullable=False, comment="store_state.changes at the last one"),
    comment="When a figure of a UTC day last changed.",
    sqlite_with_rowid=False,
)

packed_days = Table(
    "packed_days",
    metadata,
    name("cube", primary_key=True),
    Column("first_day", Integer, primary_key=True, autoincrement=False, comment="ordinal"),
    Column("days", Integer, primary_key=True, autoincrement=False, comment="a power of 2"),
    Column("changes", BigInteger, nullable=False, comment="of its days, when it was packed"),
    Column("payload", LargeBinary, nullable=False),
    comment="Blocks of rollups, ready for the reports: derived, disposable, see packs.py.",
)

event_counts = Table(
    "event_counts",
    metadata,
    name("event", primary_key=True, comment="request.received, build.started, build.finished"),
    name("result", primary_key=True, comment="accepted, duplicate, conflict"),
    Column("events", BigInteger, nullable=False),
    comment="What came in, for the metrics.",
    sqlite_with_rowid=False,
)

api_tokens = Table(
    "api_tokens",
    metadata,
    name("name", primary_key=True),
    name("scope", nullable=False, comment="ingest or read"),
    name("token_hash", nullable=False, unique=True, comment="SHA-256 of the token"),
    name("prefix", nullable=False, comment="its first characters, to know it by"),
    Column("created_at", DateTime, nullable=False),
    Column("revoked_at", DateTime),
)
