"""The tables other than rollups: details, identities, tokens, and the state of the store.

Times are UTC without zone. Text keys sort by code point on both databases. An unknown
`request_hash` is '' (`NO_HASH`), not null, because it is part of keys.
"""

from typing import Any, Final

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
    column,
    table,
    text,
)

from asu_stats.store.database.citus import SHARD_BY
from asu_stats.store.database.column_defaults import random_name, random_number, utc_now
from asu_stats.store.database.metadata import metadata

REVISION: Final = "0038"  # of these tables and the rollups: the last of `migrations`

schema_version = table("alembic_version", column("version_num", Text))


def row_id() -> Column[int]:
    """Return an `id` column: a row number, assigned by the database as primary key."""
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def name(column: str, **options: Any) -> Column[str]:
    """Return a text column that is compared by code point, not by the rules of a language."""
    return Column(column, Text().with_variant(Text(collation="C"), "postgresql"), **options)


def _number() -> Column[int]:
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Column("number", kind, primary_key=True, autoincrement=False)


# The column that decides on the worker of a row, see `citus`.
_BY_HASH: Final = {SHARD_BY: "request_hash"}

# Defaults are for rows inserted by hand; recording sets every column.
_UNKNOWN = text("'unknown'")

build_metrics = Table(
    "build_metrics",
    metadata,
    row_id(),
    name("request_hash", nullable=False),
    Column("started_at", DateTime, comment="null if no start was recorded"),
    Column("finished_at", DateTime),
    Column(
        "duration_seconds",
        Integer,
        comment="whole seconds, rounded half up; as reported if there is no start",
    ),
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
    Column("reported_names", JSON, comment="version, target, profile from the events of the build"),
    Column("phases", JSON, comment="seconds per phase"),
    name("client", comment="of the earliest request that waited for it"),
    name("client_version"),
    Column("package_list", BigInteger, comment="number of what that request named"),
    name("fingerprint", comment="of its error"),
    name("package", comment="that its error names; null where none"),
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
    info=_BY_HASH,
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
        comment="short key for request_days",
    ),
    sqlite_with_rowid=False,
    info=_BY_HASH,
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
    Column("diff_packages", Boolean, comment="null if the imported server did not record it"),
    Column("ended_at", DateTime, comment="end of the build that a waiting request waited for"),
    name("build_id", comment="build that ended the wait"),
    name("error_category", comment="error of that build, or of the rejection"),
    name("error_type"),
    Column(
        "package_list", BigInteger, comment="package_lists.number; null if no packages were named"
    ),
    Column("package_count", Integer),
    Column("has_custom_repos", Boolean),
    Column("has_defaults", Boolean),
    Column("rootfs_size_mb", Integer, comment="0 if none was requested; null if unknown"),
    Column("waited_seconds", Integer, comment="until the build started; null if unknown"),
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
    info=_BY_HASH,
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
    name("client", comment="client of a rejected request; null for a build"),
    Column("error_message", Text, comment="of a rejection; that of a build is in build_metrics"),
    name("client_version"),
    name("fingerprint"),
    name("package", comment="that it names; null where none"),
    Index("idx_error_stats_timestamp", "timestamp"),
    Index(None, "fingerprint", "timestamp"),
    sqlite_autoincrement=True,  # corrected ends delete rows, whose numbers are never used again
    info=_BY_HASH,
)

error_fingerprints = Table(
    "error_fingerprints",
    metadata,
    name("fingerprint", primary_key=True),
    name("error_category", nullable=False),
    name("error_type", nullable=False),
    Column("pattern", Text, nullable=False, comment="telling lines, names replaced"),
    Column("algorithm", Integer, nullable=False, comment="of fingerprints.py, that made it"),
    Column("example", Text, comment="text of its earliest error"),
    name("example_hash", comment="request hash of that"),
    Column("example_at", DateTime),
    Index(None, "error_type"),
    comment="What fingerprints of errors stand for. Outlives the details.",
    sqlite_with_rowid=False,
)

event_identities = Table(
    "event_identities",
    metadata,
    Column("identity", LargeBinary, primary_key=True, comment="digest of source and id"),
    Column("content", LargeBinary, nullable=False, comment="digest of the rest of the event"),
    comment="Every accepted event. Kept forever: sent again, it never counts twice.",
    sqlite_with_rowid=False,
    info={SHARD_BY: "identity"},
)

package_names = Table(
    "package_names",
    metadata,
    _number(),
    name("name", nullable=False, unique=True),
    comment="Every package ever requested.",
)

package_lists = Table(
    "package_lists",
    metadata,
    _number(),
    name("digest", nullable=False, unique=True, comment="digest of its names"),
    Column("packages", LargeBinary, nullable=False, comment="package_names.number, encoded"),
    comment="Every distinct list of packages. Kept forever.",
)

request_days = Table(
    "request_days",
    metadata,
    Column("request_number", BigInteger, primary_key=True, autoincrement=False),
    Column("date", Date, primary_key=True),
    name("client", primary_key=True),
    Column("first_at", BigInteger, comment="microseconds from midnight to its first request"),
    Column("last_at", BigInteger, comment="the same of its last request"),
    comment="Days on which a client requested a hash. Kept forever.",
    sqlite_with_rowid=False,
)

rejected_days = Table(
    "rejected_days",
    metadata,
    Column("request_number", BigInteger, primary_key=True, autoincrement=False),
    Column("date", Date, primary_key=True),
    name("client", primary_key=True),
    comment="Days on which a request of a client for a hash was rejected. Kept forever.",
    sqlite_with_rowid=False,
)

store_state = Table(
    "store_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("changes", BigInteger, nullable=False, comment="+1 with every change of any figure"),
    Column("requests_numbered", BigInteger, nullable=False, comment="last request_number assigned"),
    Column("data_since", Date, comment="first day with any data"),
    Column("archived_before", Date, comment="details of this day or later were never archived"),
    Column(
        "hourly_since", Date, comment="first day with hourly figures; null if none were deleted"
    ),
)

day_changes = Table(
    "day_changes",
    metadata,
    Column("date", Date, primary_key=True),
    Column("changes", BigInteger, nullable=False, comment="store_state.changes at the last change"),
    comment="Last change of the figures of each UTC day.",
    sqlite_with_rowid=False,
)

packed_days = Table(
    "packed_days",
    metadata,
    name("cube", primary_key=True),
    Column(
        "first_day",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="proleptic Gregorian ordinal",
    ),
    Column("days", Integer, primary_key=True, autoincrement=False, comment="a power of 2"),
    Column(
        "changes",
        BigInteger,
        nullable=False,
        comment="latest day_changes.changes of its days when stored",
    ),
    Column("payload", LargeBinary, nullable=False),
    comment="Sums of rollups over 2^n days. Derived: may be deleted at any time.",
)

event_counts = Table(
    "event_counts",
    metadata,
    name("event", primary_key=True, comment="request.received, build.started, build.finished"),
    name("result", primary_key=True, comment="accepted, duplicate, conflict"),
    Column("events", BigInteger, nullable=False),
    comment="Events received, for /metrics.",
    sqlite_with_rowid=False,
)

api_tokens = Table(
    "api_tokens",
    metadata,
    name("name", primary_key=True),
    name("scope", nullable=False, comment="ingest, read or operator"),
    name("token_hash", nullable=False, unique=True, comment="SHA-256 of the token"),
    name("prefix", nullable=False, comment="first characters of the token, to recognise it"),
    Column("created_at", DateTime, nullable=False),
    Column("revoked_at", DateTime),
    Column("expires_at", DateTime, comment="null: it does not expire"),
    Column(
        "last_used_at",
        DateTime,
        comment="to five minutes; null: not since this is recorded",
    ),
)

annotations = Table(
    "annotations",
    metadata,
    row_id(),
    Column("at", DateTime, nullable=False),
    Column("until", DateTime, comment="null: it has no duration"),
    name("kind", nullable=False, comment="note, setting"),
    Column("text", Text, nullable=False),
    comment="Notes by hand and changed settings, for charts.",
)

known_settings = Table(
    "known_settings",
    metadata,
    name("name", primary_key=True),
    Column("value", Text, nullable=False),
    comment="Settings of the last start that influence figures.",
    sqlite_with_rowid=False,
)

release_days = Table(
    "release_days",
    metadata,
    name("version", primary_key=True),
    Column("released_on", Date, nullable=False),
    comment="Days that the file of the setting release_days gave at the last start.",
    sqlite_with_rowid=False,
)

alert_incidents = Table(
    "alert_incidents",
    metadata,
    name("id", primary_key=True),
    Column("family", Text, nullable=False),
    name("rule", nullable=False, comment="rule that opened the incident"),
    name("subject", nullable=False, comment="JSON list of [dimension, value]"),
    Column("severity", Text, nullable=False),
    Column("opened_at", DateTime, nullable=False),
    Column("closed_at", DateTime),
    Column("notified_at", DateTime, comment="first notification; null while silenced"),
    Column("report", JSON, nullable=False, comment="title, text, values and likely cause"),
    Index(None, "opened_at"),
    comment="History of alerts, including silenced ones.",
    sqlite_with_rowid=False,
)
