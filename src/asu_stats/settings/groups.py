"""The settings by subject, in the order of `docs/configuration.md`."""

from typing import Final

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "Database and spool": (
        "database_url",
        "spool_directory",
        "spool_limit_bytes",
        "spool_reserve_bytes",
        "plan_indexes",
    ),
    "Recording": (
        "source",
        "ingest_token",
        "oldest_event",
        "recorder_queue_events",
        "recorder_batch_events",
    ),
    "Access and embedding": (
        "read_access",
        "root_path",
        "embed_origins",
        "live_origins",
        "live_connections",
    ),
    "Rate limits": (
        "proxies",
        "rate_limit_read",
        "rate_limit_expensive",
        "rate_limit_ingest",
        "rate_limit_storage",
    ),
    "Retention and archive": (
        "build_metrics_days",
        "client_stats_days",
        "error_stats_days",
        "hourly_rollup_days",
        "queue_sample_days",
        "archive",
        "archive_directory",
    ),
    "Jobs": ("jobs", "retention_schedule", "verify_schedule"),
    "Metrics and alerts": (
        "metrics_clients",
        "stale_after_hours",
        "alerts",
        "notify",
        "webhooks",
    ),
    "Legacy endpoints": (
        "legacy_shape",
        "legacy_deprecated_since",
        "legacy_sunset",
        "legacy_gone",
        "legacy_build_stats",
    ),
    "Build service": (
        "build_api",
        "builder",
        "command",
        "demo_seconds",
        "workers",
        "max_pending_jobs",
        "job_timeout_seconds",
        "worker_timeout_seconds",
    ),
    "Images": (
        "store_directory",
        "build_ttl_seconds",
        "build_ttl_unversioned_seconds",
        "build_defaults_ttl_seconds",
        "build_failure_seconds",
    ),
    "Build requests and clients": (
        "catalogue",
        "upstream_url",
        "metadata_url",
        "allow_defaults",
        "max_defaults_length",
        "max_custom_rootfs_size_mb",
        "repository_allow_list",
    ),
}
