"""Creates the jobs of a service from the settings."""

from datetime import timedelta
from functools import partial

from sqlalchemy import Engine

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.jobs import definitions
from asu_stats.jobs.job import Job, Schedule
from asu_stats.monitor import channels
from asu_stats.monitor.job import alerting
from asu_stats.monitor.watch import Watch
from asu_stats.ownership import Owner
from asu_stats.settings import Settings
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.verification.boundaries import RetainedRange
from asu_stats.times import utc_now, utc_today


def policy_of(settings: Settings) -> Policy:
    """Return the retention policy."""
    return Policy(
        build_metrics_days=settings.build_metrics_days,
        client_stats_days=settings.client_stats_days,
        error_stats_days=settings.error_stats_days,
        hourly_rollup_days=settings.hourly_rollup_days,
    )


def queues_of(settings: Settings, engine: Engine) -> CombinedQueue:
    """Return the combined queue of all servers on the database."""
    return CombinedQueue(engine, utc_now, timedelta(hours=settings.stale_after_hours))


def retained_range_of(settings: Settings) -> RetainedRange:
    """Return the range of days whose details retention keeps today."""
    return RetainedRange(policy_of(settings), utc_today(), settings.oldest_event)


def watch_of(settings: Settings, engine: Engine) -> Watch:
    """Return the watch that evaluates the alert rules."""
    queues = queues_of(settings, engine)
    return Watch(
        engine,
        settings.alerts,
        channels.keys(settings),
        queue=queues.state,
        waiting=queues.waiting_longest,
        source=settings.event_source,
        public_url=settings.public_url,
    )


def archive_directory_of(settings: Settings) -> ArchiveDirectory | None:
    """Return the archive directory, `None` if the archive is in tables."""
    if settings.archive == "tables":
        return None
    directory = settings.archive_directory
    return ArchiveDirectory(
        directory, settings.archive, Owner.of(settings.database_file, directory)
    )


def jobs_of(settings: Settings, engine: Engine, *, force: bool = False) -> list[Job]:
    """Return the jobs of a service. Raises `InvalidSettingError` for an invalid schedule.

    With `force` retention does not check the clock.
    """
    return [
        alerting(watch_of(settings, engine), utc_now),
        definitions.queue_sampling(
            engine, queues_of(settings, engine).state, settings.queue_sample_days
        ),
        definitions.retention_of(
            engine,
            Schedule(settings.retention_schedule, "retention_schedule"),
            policy_of(settings),
            archive_directory_of(settings),
            utc_today,
            force=force,
        ),
        definitions.verification(
            engine,
            Schedule(settings.verify_schedule, "verify_schedule"),
            utc_today,
            kept=partial(retained_range_of, settings),
        ),
    ]
