"""Comments of tables and columns in plain English; `told_at` and `well_since` get clear names."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RENAMED = (
    ("alerts", "well_since", "recovering_since"),
    ("alert_incidents", "told_at", "notified_at"),
)
_TABLES: Mapping[str, str] = {
    "alert_incidents": "History of alerts, including silenced ones.",
    "alert_messages": "Outbox: notifications, written in the transaction of their incident.",
    "alerts": "Alerts that are pending, firing or recently resolved.",
    "archive_keys": "Which archive files contain the rows that late events need.",
    "archive_parts": "Archive files. A file without a row here is ignored.",
    "build_events": "Outbox: events of queue changes, written in the transaction of the change.",
    "build_metrics_archive": "Expired rows of build_metrics.",
    "build_stats": "Written in addition to the details if legacy_build_stats is set.",
    "client_stats_archive": "Expired rows of client_stats.",
    "day_changes": "Last change of the figures of each UTC day.",
    "error_stats_archive": "Expired rows of error_stats.",
    "event_counts": "Events received, for /metrics.",
    "event_identities": "Every accepted event. Kept forever: sent again, it never counts twice.",
    "live_counts": "Counters of live events for /metrics. They never decrease.",
    "package_lists": "Every distinct list of packages. Kept forever.",
    "package_names": "Every package ever requested.",
    "packed_days": "Sums of rollups over 2^n days. Derived: may be deleted at any time.",
    "queue_samples": "One sample of the queue per minute.",
    "rejected_days": "Days on which a request of a client for a hash was rejected. Kept forever.",
    "request_days": "Days on which a client requested a hash. Kept forever.",
    "scheduled_jobs": "Periodic jobs. One process at a time runs each of them.",
}
_COLUMNS: Mapping[str, Mapping[str, str | None]] = {
    "alert_evaluations": {
        "evaluations": "number of evaluations so far",
        "evaluated_at": "time of the last evaluation",
        "readings": "values of the last evaluation, by rule",
    },
    "alert_incidents": {
        "rule": "rule that opened the incident",
        "notified_at": "first notification; null while silenced",
        "report": "title, text, values and likely cause",
    },
    "alert_messages": {
        "message_id": "the same for every attempt and channel",
        "channel": "digest of the address of a channel in the settings",
        "next_at": "next attempt; null once delivered or given up",
        "error": "error of the last attempt",
    },
    "alert_silences": {
        "rule": "null for any rule",
        "subject": "JSON list of [dimension, value] that incidents must contain",
    },
    "alerts": {
        "since": "start of the state",
        "sample": "builds or requests that value covers",
        "expected": "value before or elsewhere, for comparison",
        "recovering_since": "since when a firing alert has recovered",
        "times": "how often it fired within six hours",
        "incident": "alert_incidents.id",
        "about": "pairs like subject that most of the failures share",
    },
    "api_tokens": {
        "prefix": "first characters of the token, to recognise it",
    },
    "archive_keys": {
        "key": "digest of an identifier",
    },
    "archive_parts": {
        "table_name": "name of the detail table",
        "first_at": None,
        "last_at": None,
    },
    "build_jobs": {
        "queue_position": "Go server only; asu-stats counts it for each response",
        "enqueued_at": "null for jobs of the Go server",
        "imagebuilder_status": "phase of a running build",
        "heartbeat_at": "last heartbeat of its worker",
        "detail": "reason of a failed job in one line, for clients",
    },
    "build_metrics": {
        "started_at": "null if no start was recorded",
        "duration_seconds": "whole seconds, rounded half up; as reported if there is no start",
        "reported_names": "version, target, profile from the events of the build",
    },
    "build_requests": {
        "client": "client of the first request, '' if unknown",
        "repository_names": "JSON list: a name for each of repositories",
        "coarse_phases": "whether a client that polls knows only two phases",
    },
    "build_results": {
        "cache_hit": "Go server only; always false here",
        "answer": "JSON body of the response 200; null for rows of the Go server",
    },
    "build_workers": {
        "heartbeat_at": "last heartbeat; null once the worker has stopped",
        "build_id": "build in progress; null while idle",
    },
    "client_stats": {
        "diff_packages": "null if the imported server did not record it",
        "ended_at": "end of the build that a waiting request waited for",
        "build_id": "build that ended the wait",
        "error_category": "error of that build, or of the rejection",
        "package_list": "package_lists.number; null if no packages were named",
        "rootfs_size_mb": "0 if none was requested; null if unknown",
    },
    "day_changes": {
        "changes": "store_state.changes at the last change",
    },
    "error_stats": {
        "client": "client of a rejected request; null for a build",
        "error_message": "of a rejection; that of a build is in build_metrics",
    },
    "event_identities": {
        "identity": "digest of source and id",
    },
    "package_lists": {
        "digest": "digest of its names",
        "packages": "package_names.number, encoded",
    },
    "packed_days": {
        "first_day": "proleptic Gregorian ordinal",
        "changes": "latest day_changes.changes of its days when stored",
    },
    "queue_samples": {
        "sampled_at": None,
        "queue_length": "waiting builds",
        "oldest_queued_at": "oldest waiting build; null if none waits",
        "last_finished_at": "end of the last finished build",
    },
    "request_metadata": {
        "request_number": "short key for request_days",
    },
    "scheduled_jobs": {
        "schedule": "crontab in UTC that next_run_at is computed from",
        "holder": "process that runs it; null while it is not running",
        "lease_until": "when the lease expires; null like holder",
        "fence": "+1 each time the lease is taken",
        "started_at": "start of the last or current run",
        "finished_at": "end of the last finished run",
        "duration_seconds": "duration of the last finished run",
        "status": "result of the last finished run: ok, failed or stopped",
        "result": "what the last finished run did",
        "error": "one line, if the last finished run failed",
        "succeeded_at": "end of the last successful run",
    },
    "store_state": {
        "changes": "+1 with every change of any figure",
        "requests_numbered": "last request_number assigned",
        "data_since": "first day with any data",
        "archived_before": "details of this day or later were never archived",
        "hourly_since": "first day with hourly figures; null if none were deleted",
    },
}


def upgrade() -> None:
    """Make the changes. SQLite keeps no comments."""
    for table, old, new in _RENAMED:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    if op.get_context().dialect.name != "postgresql":
        return
    existing = set(sa.inspect(op.get_bind()).get_table_names())  # one table is optional
    for table in existing & _TABLES.keys():
        op.create_table_comment(table, _TABLES[table])
    for table in existing & _COLUMNS.keys():
        for column, text in _COLUMNS[table].items():
            op.alter_column(table, column, comment=text)
