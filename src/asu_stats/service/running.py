"""Starts and stops a service: database, spool, recorder and build service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from asu_stats.builds.background import Background, builder_of
from asu_stats.builds.catalogue import Catalogue
from asu_stats.builds.service import BuildService
from asu_stats.exceptions import InvalidSettingError
from asu_stats.legacy import build_stats
from asu_stats.metrics.process import ProcessMetrics
from asu_stats.ownership import Owner
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.service import requirements
from asu_stats.service.database import opened
from asu_stats.settings import Settings
from asu_stats.store import migrate
from asu_stats.store.apply import ExtraWriter, apply_batch
from asu_stats.store.blocks.packer import Packer
from asu_stats.store.database import partitions
from asu_stats.store.details.live_counts import Live
from asu_stats.store.dry_run import probe, rehearse
from asu_stats.times import utc_now, utc_today


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    engine: Engine
    recorder: Recorder
    builds: BuildService | None
    process: ProcessMetrics


def extra_writer_of(settings: Settings) -> ExtraWriter | None:
    """Return the writer of the table `build_stats`, or `None` if the settings disable it."""
    return build_stats.write if settings.legacy_build_stats else None


@contextmanager
def recorder_on(
    settings: Settings, engine: Engine, process: ProcessMetrics, *, live: bool = True
) -> Iterator[Recorder]:
    """Run a recorder that writes to `engine`.

    Without `live`, recorded events do not change the counters of `/metrics`. Raises
    `InvalidSettingError` if the spool directory is not usable.
    """
    try:
        spool = Spool(
            settings.spool_path,
            limit_bytes=settings.spool_limit_bytes,
            reserve_bytes=settings.spool_reserve_bytes,
            owner=Owner.of(settings.database_file, settings.spool_path),
        )
    except OSError as error:
        message = f"spool_directory: {settings.spool_path}: {error.strerror}"
        raise InvalidSettingError(message) from None
    extra_writer = extra_writer_of(settings)
    sink = partial(
        apply_batch,
        engine,
        extra_writer=extra_writer,
        live=Live(settings.metrics_clients, utc_now) if live else None,
    )
    with Recorder(
        process.timed(sink),
        spool,
        rehearse=partial(rehearse, engine, extra_writer=extra_writer),
        probe=partial(probe, engine, extra_writer=extra_writer),
        queue_events=settings.recorder_queue_events,
        batch_events=settings.recorder_batch_events,
    ) as recorder:
        yield recorder


@contextmanager
def running(settings: Settings, *, make: bool = False) -> Iterator[Service]:
    """Run a service. The schema of an SQLite file is upgraded; PostgreSQL must be up to date.

    With `make`, a missing SQLite file is created. Raises `SchemaError`, `StoreUnavailableError` or
    `InvalidSettingError` if the service cannot start.
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
        partitions.prepare(engine, utc_today())
        process = ProcessMetrics()
        with recorder_on(settings, engine, process) as recorder, Packer(engine, utc_today):
            if not settings.build_api:
                yield Service(settings, engine, recorder, None, process)
                return
            builds = BuildService(
                engine, settings, recorder.record, waited=process.waited, catalogue=catalogue
            )
            if builder:
                _check_store(builds)
            background = Background(builds, builder, process.clock)
            background.start()
            try:
                yield Service(settings, engine, recorder, builds, process)
            finally:
                background.stop()


def _check_store(builds: BuildService) -> None:
    try:
        builds.images.check_usable()
    except OSError as error:
        message = f"store_directory: {builds.images.root}: {error.strerror}"
        raise InvalidSettingError(message) from None
