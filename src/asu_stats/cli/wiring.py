"""A whole service, put together: engine, schema, spool, recorder, build service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from asu_stats.builds.service import BuildService
from asu_stats.builds.workshop import Workshop, builder_of
from asu_stats.exceptions import InvalidSettingError
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.settings import Settings
from asu_stats.store import engine as engines
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.packing import Packer
from asu_stats.windows import utc_today


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    engine: Engine
    recorder: Recorder
    builds: BuildService


@contextmanager
def recorder_on(settings: Settings, engine: Engine) -> Iterator[Recorder]:
    """Run a recorder that writes to `engine`. Raises `InvalidSettingError` without a spool."""
    try:
        spool = Spool(
            settings.spool_path,
            limit_bytes=settings.spool_limit_bytes,
            reserve_bytes=settings.spool_reserve_bytes,
        )
    except OSError as error:
        raise InvalidSettingError(f"spool_directory: {settings.spool_path}: {error}") from None
    with Recorder(
        partial(apply_batch, engine),
        spool,
        queue_events=settings.recorder_queue_events,
        batch_events=settings.recorder_batch_events,
    ) as recorder:
        yield recorder


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """Run a service: an SQLite file is upgraded, another database must be current.

    Raises `SchemaError`, `StoreUnavailableError` or `InvalidSettingError` when it can't start.
    """
    engine = engines.create(settings.database_url)
    try:
        if settings.database_file:
            migrate.upgrade(engine)
        migrate.check(engine)
        builder = builder_of(settings)
        with recorder_on(settings, engine) as recorder, Packer(engine, utc_today):
            builds = BuildService(engine, settings, recorder.record)
            workshop = Workshop(builds, builder)
            workshop.start()
            try:
                yield Service(settings, engine, recorder, builds)
            finally:
                workshop.stop()
    finally:
        engine.dispose()
