"""The schema."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the changes."""
    op.create_table(
        "api_tokens",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("scope", _NAME, nullable=False, comment="ingest or read"),
        sa.Column("token_hash", _NAME, nullable=False, comment="SHA-256 of the token"),
        sa.Column("prefix", _NAME, nullable=False, comment="its first characters, to know it by"),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    op.create_table(
        "build_events",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False, comment="CloudEvents JSON"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build_events")),
        comment="Events of queue changes on their way to the recorder: written with the change.",
    )
    op.create_index(
        op.f("ix_build_events_created_at"), "build_events", ["created_at"], unique=False
    )
    op.create_table(
        "build_jobs",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=True),
        sa.Column(
            "status", sa.Text(), nullable=True, comment="pending, building, completed, failed"
        ),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("build_cmd", sa.Text(), nullable=True, comment="JSON list"),
        sa.Column("manifest", sa.Text(), nullable=True, comment="JSON object"),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column(
            "queue_position",
            sa.Integer(),
            nullable=True,
            comment="of the Go server; ours is counted when asked for",
        ),
        sa.Column(
            "enqueued_at", sa.DateTime(), nullable=True, comment="null on jobs of the Go server"
        ),
        sa.Column("build_id", sa.Text(), nullable=True, comment="set when a worker takes the job"),
        sa.Column(
            "ended_as", sa.Text(), nullable=True, comment="success, failure, timeout, cancelled"
        ),
        sa.Column(
            "imagebuilder_status", sa.Text(), nullable=True, comment="what a running build is doing"
        ),
        sa.Column(
            "heartbeat_at", sa.DateTime(), nullable=True, comment="last sign of life of its worker"
        ),
        sa.Column(
            "detail", sa.Text(), nullable=True, comment="one line for the client, of a failed job"
        ),
        sa.Column("stdout", sa.Text(), nullable=True),
        sa.Column("stderr", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build_jobs")),
    )
    op.create_index(
        op.f("ix_build_jobs_request_hash_id"), "build_jobs", ["request_hash", "id"], unique=False
    )
    op.create_index(
        op.f("ix_build_jobs_status_enqueued_at_id"),
        "build_jobs",
        ["status", "enqueued_at", "id"],
        unique=False,
    )
    op.create_index(
        "uq_build_jobs_active_request_hash",
        "build_jobs",
        ["request_hash"],
        unique=True,
        sqlite_where=sa.text("status IN ('pending', 'building') AND enqueued_at IS NOT NULL"),
        postgresql_where=sa.text("status IN ('pending', 'building') AND enqueued_at IS NOT NULL"),
    )
    op.create_table(
        "build_metrics",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("request_hash", _NAME, nullable=False),
        sa.Column(
            "started_at", sa.DateTime(), nullable=True, comment="null where no start was seen"
        ),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column(
            "duration_seconds",
            sa.Integer(),
            nullable=True,
            comment="finished - started, half up, or as reported",
        ),
        sa.Column(
            "status",
            _NAME,
            nullable=False,
            comment="building, success, failure, timeout, cancelled",
        ),
        sa.Column("error_category", _NAME, nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("cache_hit", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("worker_id", _NAME, nullable=True),
        sa.Column("build_id", _NAME, nullable=False),
        sa.Column("error_type", _NAME, nullable=True),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("diff_packages", sa.Boolean(), nullable=True),
        sa.Column(
            "reported_seconds",
            sa.Integer(),
            nullable=True,
            comment="duration_seconds of the finished event",
        ),
        sa.Column(
            "reported_names",
            sa.JSON(),
            nullable=True,
            comment="what the build's own events said of its request",
        ),
        sa.Column("phases", sa.JSON(), nullable=True, comment="seconds per phase"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build_metrics")),
        sa.UniqueConstraint(
            "request_hash", "build_id", name=op.f("uq_build_metrics_request_hash_build_id")
        ),
    )
    op.create_index(
        op.f("ix_build_metrics_duration_seconds_finished_at"),
        "build_metrics",
        ["duration_seconds", "finished_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_build_metrics_finished_at"), "build_metrics", ["finished_at"], unique=False
    )
    op.create_table(
        "build_requests",
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("distro", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("packages", sa.Text(), nullable=True, comment="JSON list"),
        sa.Column("packages_versions", sa.Text(), nullable=True, comment="JSON object"),
        sa.Column("defaults", sa.Text(), nullable=True, comment="first-boot script, '' if none"),
        sa.Column("rootfs_size_mb", sa.Integer(), nullable=True, comment="0 if none"),
        sa.Column("repositories", sa.Text(), nullable=True, comment="JSON list of URLs"),
        sa.Column("repository_keys", sa.Text(), nullable=True, comment="JSON list"),
        sa.Column("diff_packages", sa.Boolean(), nullable=True),
        sa.Column("client", sa.Text(), nullable=True, comment="of the first request, '' if none"),
        sa.Column("created_at", sa.DateTime(), nullable=True),
        sa.Column("version_code", sa.Text(), nullable=True),
        sa.Column("filesystem", sa.Text(), nullable=True),
        sa.Column(
            "repository_names",
            sa.Text(),
            nullable=True,
            comment="JSON list, as long as repositories",
        ),
        sa.Column("repositories_mode", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("request_hash", name=op.f("pk_build_requests")),
    )
    op.create_table(
        "build_results",
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("images", sa.Text(), nullable=True, comment="JSON list of file names"),
        sa.Column("manifest", sa.Text(), nullable=True, comment="JSON object"),
        sa.Column("build_at", sa.DateTime(), nullable=True, comment="end of the build"),
        sa.Column(
            "cache_hit", sa.Boolean(), nullable=True, comment="of the Go server; always false"
        ),
        sa.Column("build_duration_seconds", sa.Integer(), nullable=True),
        sa.Column(
            "answer",
            sa.Text(),
            nullable=True,
            comment="JSON: what the answer 200 says; null on the Go server's rows",
        ),
        sa.PrimaryKeyConstraint("request_hash", name=op.f("pk_build_results")),
    )
    op.create_index(op.f("ix_build_results_build_at"), "build_results", ["build_at"], unique=False)
    op.create_table(
        "build_workers",
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column(
            "holder",
            sa.Text(),
            nullable=True,
            comment="token of the running worker that has this name",
        ),
        sa.Column(
            "heartbeat_at",
            sa.DateTime(),
            nullable=True,
            comment="last sign of life; null once it has stopped",
        ),
        sa.Column("build_id", sa.Text(), nullable=True, comment="null while idle"),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_build_workers")),
    )
    op.create_table(
        "client_stats",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("timestamp", sa.DateTime(), nullable=False),
        sa.Column("request_hash", _NAME, nullable=False),
        sa.Column("cache_hit", sa.Boolean(), nullable=False),
        sa.Column(
            "status",
            _NAME,
            nullable=False,
            comment="queued, success, failure, timeout, cancelled, rejected",
        ),
        sa.Column("client_version", _NAME, nullable=False),
        sa.Column("outcome", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("diff_packages", sa.Boolean(), nullable=False),
        sa.Column(
            "ended_at",
            sa.DateTime(),
            nullable=True,
            comment="of a waiting request: end of the build it waited for",
        ),
        sa.Column("build_id", _NAME, nullable=True, comment="the build that ended the wait"),
        sa.Column(
            "error_category", _NAME, nullable=True, comment="of that build, or of the rejection"
        ),
        sa.Column("error_type", _NAME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client_stats")),
    )
    op.create_index(op.f("ix_client_stats_timestamp"), "client_stats", ["timestamp"], unique=False)
    op.create_index(
        "ix_client_stats_waiting",
        "client_stats",
        ["request_hash", "ended_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NOT NULL"),
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_table(
        "error_stats",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("timestamp", sa.DateTime(), nullable=False),
        sa.Column("error_category", _NAME, nullable=False),
        sa.Column("error_type", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("request_hash", _NAME, nullable=False),
        sa.Column("count", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("build_id", _NAME, nullable=True, comment="null for a rejected request"),
        sa.Column("client", _NAME, nullable=True, comment="who was rejected; null for a build"),
        sa.Column(
            "error_message",
            sa.Text(),
            nullable=True,
            comment="of a rejection; a build keeps its own",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_error_stats")),
    )
    op.create_index(
        "ix_error_stats_build",
        "error_stats",
        ["request_hash", "build_id"],
        unique=False,
        sqlite_where=sa.text("build_id IS NOT NULL"),
        postgresql_where=sa.text("build_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_error_stats_timestamp"), "error_stats", ["timestamp"], unique=False)
    op.create_table(
        "event_counts",
        sa.Column(
            "event",
            _NAME,
            nullable=False,
            comment="request.received, build.started, build.finished",
        ),
        sa.Column("result", _NAME, nullable=False, comment="accepted, duplicate, conflict"),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event", "result", name=op.f("pk_event_counts")),
        comment="What came in, for the metrics.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event_identities",
        sa.Column(
            "identity", sa.LargeBinary(), nullable=False, comment="source and id, see identities.py"
        ),
        sa.Column(
            "content", sa.LargeBinary(), nullable=False, comment="digest of the rest of the event"
        ),
        sa.PrimaryKeyConstraint("identity", name=op.f("pk_event_identities")),
        comment="Every event ever accepted. Outlives the details: twice is once, without a date.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "request_days",
        sa.Column("request_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.PrimaryKeyConstraint("request_number", "date", "client", name=op.f("pk_request_days")),
        comment="Days on which a client asked for a hash. Outlives the details.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "request_metadata",
        sa.Column("request_hash", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("diff_packages", sa.Boolean(), nullable=False),
        sa.Column("package_count", sa.Integer(), nullable=True),
        sa.Column("has_custom_repos", sa.Boolean(), nullable=True),
        sa.Column("has_defaults", sa.Boolean(), nullable=True),
        sa.Column("rootfs_size_mb", sa.Integer(), nullable=True),
        sa.Column("first_requested_at", sa.DateTime(), nullable=False),
        sa.Column("last_requested_at", sa.DateTime(), nullable=False),
        sa.Column("total_requests", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_hits", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("successful_builds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed_builds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "request_number", sa.BigInteger(), nullable=False, comment="short key of request_days"
        ),
        sa.PrimaryKeyConstraint("request_hash", name=op.f("pk_request_metadata")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_client_devices",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            "date", "client", "target", "profile", name=op.f("pk_stats_client_devices")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_client_errors",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("error_category", _NAME, nullable=False),
        sa.Column("error_type", _NAME, nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            "date", "client", "error_category", "error_type", name=op.f("pk_stats_client_errors")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_client_unique_requests",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("previous_date", sa.Date(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            "date", "client", "previous_date", name=op.f("pk_stats_client_unique_requests")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_client_versions",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("client_version", _NAME, nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            "date", "client", "version", "client_version", name=op.f("pk_stats_client_versions")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_clients",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "successful_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("failed_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "rejected_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.PrimaryKeyConstraint("date", "client", name=op.f("pk_stats_clients")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_daily",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("total_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "successful_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("failed_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "total_build_time_seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "diff_packages_true", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "diff_packages_false", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("queued_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("joined_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cached_failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "rejected_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("timed_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("timeout_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cancelled_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unique_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unique_clients", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_build_duration_seconds", sa.Integer(), nullable=True),
        sa.Column("min_build_duration_seconds", sa.Integer(), nullable=True),
        sa.Column(
            "avg_build_duration_seconds",
            sa.Double(),
            sa.Computed(
                "CAST(total_build_time_seconds AS DOUBLE PRECISION) / NULLIF(timed_builds, 0)",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("date", name=op.f("pk_stats_daily")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_durations",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("date", "version", "seconds", name=op.f("pk_stats_durations")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_errors",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("error_category", _NAME, nullable=False),
        sa.Column("error_type", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            "date",
            "error_category",
            "error_type",
            "version",
            "target",
            name=op.f("pk_stats_errors"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_hourly_clients",
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("client", _NAME, nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "successful_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("failed_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "rejected_requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.PrimaryKeyConstraint("hour", "client", "version", name=op.f("pk_stats_hourly_clients")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_hourly_profiles",
        sa.Column("hour", sa.DateTime(), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("request_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("success_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failure_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("timed_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "build_time_seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.PrimaryKeyConstraint(
            "hour", "version", "target", "profile", name=op.f("pk_stats_hourly_profiles")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_profiles",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("profile", _NAME, nullable=False),
        sa.Column("request_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("success_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failure_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("timed_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "build_time_seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "avg_build_duration",
            sa.Double(),
            sa.Computed(
                "CAST(build_time_seconds AS DOUBLE PRECISION) / NULLIF(timed_builds, 0)",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stats_profiles")),
        sa.UniqueConstraint(
            "date",
            "version",
            "target",
            "profile",
            name=op.f("uq_stats_profiles_date_version_target_profile"),
        ),
    )
    op.create_table(
        "stats_unique_requests",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("previous_date", sa.Date(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("date", "previous_date", name=op.f("pk_stats_unique_requests")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stats_version_target",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("version", _NAME, nullable=False),
        sa.Column("target", _NAME, nullable=False),
        sa.Column("request_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("success_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failure_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("timed_builds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "build_time_seconds", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "diff_packages_true", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column(
            "diff_packages_false", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("unique_profiles", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "cache_hit_rate",
            sa.Double(),
            sa.Computed(
                "CAST(cache_hits AS DOUBLE PRECISION) * 100 / NULLIF(request_count, 0)",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.Column(
            "avg_build_duration",
            sa.Double(),
            sa.Computed(
                "CAST(build_time_seconds AS DOUBLE PRECISION) / NULLIF(timed_builds, 0)",
                persisted=True,
            ),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stats_version_target")),
        sa.UniqueConstraint(
            "date", "version", "target", name=op.f("uq_stats_version_target_date_version_target")
        ),
    )
    op.create_table(
        "store_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column(
            "changes", sa.BigInteger(), nullable=False, comment="+1 with every change of a figure"
        ),
        sa.Column(
            "requests_numbered",
            sa.BigInteger(),
            nullable=False,
            comment="last request_number given",
        ),
        sa.Column(
            "data_since", sa.Date(), nullable=True, comment="first day of which anything is known"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_state")),
    )
    op.execute("INSERT INTO store_state (id, changes, requests_numbered) VALUES (1, 0, 0)")


def downgrade() -> None:
    """Take them back."""
    op.drop_table("store_state")
    op.drop_table("stats_version_target")
    op.drop_table("stats_unique_requests")
    op.drop_table("stats_profiles")
    op.drop_table("stats_hourly_profiles")
    op.drop_table("stats_hourly_clients")
    op.drop_table("stats_errors")
    op.drop_table("stats_durations")
    op.drop_table("stats_daily")
    op.drop_table("stats_clients")
    op.drop_table("stats_client_versions")
    op.drop_table("stats_client_unique_requests")
    op.drop_table("stats_client_errors")
    op.drop_table("stats_client_devices")
    op.drop_table("request_metadata")
    op.drop_table("request_days")
    op.drop_table("event_identities")
    op.drop_table("event_counts")
    op.drop_index(op.f("ix_error_stats_timestamp"), table_name="error_stats")
    op.drop_index(
        "ix_error_stats_build",
        table_name="error_stats",
        sqlite_where=sa.text("build_id IS NOT NULL"),
        postgresql_where=sa.text("build_id IS NOT NULL"),
    )
    op.drop_table("error_stats")
    op.drop_index(
        "ix_client_stats_waiting",
        table_name="client_stats",
        sqlite_where=sa.text("ended_at IS NOT NULL"),
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.drop_index(op.f("ix_client_stats_timestamp"), table_name="client_stats")
    op.drop_table("client_stats")
    op.drop_table("build_workers")
    op.drop_index(op.f("ix_build_results_build_at"), table_name="build_results")
    op.drop_table("build_results")
    op.drop_table("build_requests")
    op.drop_index(op.f("ix_build_metrics_finished_at"), table_name="build_metrics")
    op.drop_index(op.f("ix_build_metrics_duration_seconds_finished_at"), table_name="build_metrics")
    op.drop_table("build_metrics")
    op.drop_index(
        "uq_build_jobs_active_request_hash",
        table_name="build_jobs",
        sqlite_where=sa.text("status IN ('pending', 'building') AND enqueued_at IS NOT NULL"),
        postgresql_where=sa.text("status IN ('pending', 'building') AND enqueued_at IS NOT NULL"),
    )
    op.drop_index(op.f("ix_build_jobs_status_enqueued_at_id"), table_name="build_jobs")
    op.drop_index(op.f("ix_build_jobs_request_hash_id"), table_name="build_jobs")
    op.drop_table("build_jobs")
    op.drop_index(op.f("ix_build_events_created_at"), table_name="build_events")
    op.drop_table("build_events")
    op.drop_table("api_tokens")
