"""A whole service, put together: engine, schema, spool, recorder, build service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import Engine

from asu_stats.builds.catalogue import Catalogue
from asu_stats.builds.jobs import utc_now
from asu_stats.builds.queues import Queues
from asu_stats.builds.service import BuildService
from asu_stats.builds.workshop import Workshop, builder_of
from asu_stats.cli import requirements
from asu_stats.cli.database import opened
from asu_stats.exceptions import InvalidSettingError
from asu_stats.jobs import duties
from asu_stats.jobs.job import Job, Schedule
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.monitor import channels
from asu_stats.monitor.job import alerting
from asu_stats.monitor.watch import Watch
from asu_stats.ownership import Owner
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.settings import Settings
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch, probe, rehearse
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import Shelf
from asu_stats.store.blocks.packer import Packer
from asu_stats.store.details.live_counts import Live
from asu_stats.store.verification.marks import Kept
from asu_stats.windows import utc_today


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    engine: Engine
    recorder: Recorder
    builds: BuildService
    process: ProcessMetrics


@contextmanager
def recorder_on(
    settings: Settings, engine: Engine, process: ProcessMetrics, *, live: bool = True
) -> Iterator[Recorder]:
    """Run a recorder that writes to `engine`. Raises `InvalidSettingError` without a spool.

    Without `live` nothing that it records moves the counters of `/metrics`.
    """
    try:
        spool = Spool(
            settings.spool_path,
            limit_bytes=settings.spool_limit_bytes,
            reserve_bytes=settings.spool_reserve_bytes,
            owner=Owner.of(settings.database_file, settings.spool_path),
        )
    except OSError as error:
        words = f"spool_directory: {settings.spool_path}: {error.strerror}"
        raise InvalidSettingError(words) from None
    legacy = settings.legacy_build_stats
    sink = partial(
        apply_batch,
        engine,
        legacy_build_stats=legacy,
        live=Live(settings.metrics_clients, utc_now) if live else None,
    )
    with Recorder(
        process.timed(sink),
        spool,
        rehearse=partial(rehearse, engine, legacy_build_stats=legacy),
        probe=partial(probe, engine, legacy_build_stats=legacy),
        queue_events=settings.recorder_queue_events,
        batch_events=settings.recorder_batch_events,
    ) as recorder:
        yield recorder


@contextmanager
def running(settings: Settings, *, make: bool = False) -> Iterator[Service]:
    """Run a service: an SQLite file is upgraded, another database must be current.

    Raises `SchemaError`, `StoreUnavailableError` or `InvalidSettingError` when it can't start.
    """
    requirements.check(settings)
    builder = builder_of(settings)
    catalogue = Catalogue.load(settings.catalogue) if settings.catalogue else None
    with opened(settings, make=make) as engine:
        requirements.check_directories(settings)
        if settings.database_file:
            migrate.upgrade(engine, plan_indexes=settings.plan_indexes)
        migrate.check(engine)
        migrate.check_writable(engine)
        process = ProcessMetrics()
        with recorder_on(settings, engine, process) as recorder, Packer(engine, utc_today):
            builds = BuildService(
                engine, settings, recorder.record, waited=process.waited, catalogue=catalogue
            )
            if builder:
                _check_store(builds)
            workshop = Workshop(builds, builder, process.clock)
            workshop.start()
            try:
                yield Service(settings, engine, recorder, builds, process)
            finally:
                workshop.stop()


def policy_of(settings: Settings) -> Policy:
    """Return how long things are kept."""
    return Policy(
        build_metrics_days=settings.build_metrics_days,
        client_stats_days=settings.client_stats_days,
        error_stats_days=settings.error_stats_days,
        hourly_rollup_days=settings.hourly_rollup_days,
    )


def queues_of(settings: Settings, engine: Engine) -> Queues:
    """Return the queue of all servers."""
    return Queues(engine, utc_now, timedelta(hours=settings.stale_after_hours))


def kept(settings: Settings) -> Kept:
    """Return what retention would keep today."""
    return Kept(policy_of(settings), utc_today(), settings.oldest_event)


def watch_of(settings: Settings, engine: Engine) -> Watch:
    """Return the monitor of a service."""
    queues = queues_of(settings, engine)
    return Watch(
        engine,
        settings.alerts,
        channels.keys(settings),
        queue=queues.state,
        waiting=queues.waiting_longest,
        source=settings.event_source,
    )


def shelf_of(settings: Settings) -> Shelf | None:
    """Return where files of the archive are put, `None` where it is in tables."""
    if settings.archive == "tables":
        return None
    directory = settings.archive_directory
    return Shelf(directory, settings.archive, Owner.of(settings.database_file, directory))


def jobs_of(settings: Settings, engine: Engine, *, force: bool = False) -> list[Job]:
    """Return the jobs of a service. Raises `InvalidSettingError` for a schedule that is none.

    With `force` retention believes the clock, whatever it says.
    """
    return [
        alerting(watch_of(settings, engine), utc_now),
        duties.queue_sampling(
            engine, queues_of(settings, engine).state, settings.queue_sample_days
        ),
        duties.retention_of(
            engine,
            Schedule(settings.retention_schedule, "retention_schedule"),
            policy_of(settings),
            shelf_of(settings),
            utc_today,
            force=force,
        ),
        duties.verification(
            engine,
            Schedule(settings.verify_schedule, "verify_schedule"),
            utc_today,
            kept=partial(kept, settings),
        ),
    ]


def _check_store(builds: BuildService) -> None:
    try:
        builds.images.check_usable()
    except OSError as error:
        words = f"store_directory: {builds.images.root}: {error.strerror}"
        raise InvalidSettingError(words) from None
