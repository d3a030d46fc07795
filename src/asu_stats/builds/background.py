"""Background work of a process: workers, their heartbeats, and maintenance."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from asu_stats.builds.builders import Builder
from asu_stats.builds.builders.command import CommandBuilder
from asu_stats.builds.builders.demo import DemoBuilder
from asu_stats.builds.service import BuildService
from asu_stats.builds.worker import Worker
from asu_stats.builds.workers import Registry
from asu_stats.clocks import ClockWatch
from asu_stats.events import shown_hash
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.logs import Condition
from asu_stats.loops import Loop
from asu_stats.settings import Settings

_log = logging.getLogger(__name__)
STOP_SECONDS: Final = 15.0
_SWEEP_SECONDS: Final = 2.0
_REDELIVER_SECONDS: Final = 30.0
_EXPIRE_SECONDS: Final = 60.0
_HOUR_SECONDS: Final = 3_600.0


def builder_of(settings: Settings) -> Builder | None:
    """Return the builder that the settings name. Raises `InvalidSettingError`."""
    if settings.builder == "demo":
        return DemoBuilder(settings)
    return CommandBuilder(settings) if settings.builder == "command" else None


class Background:
    """Workers and maintenance of one process, from `start` to `stop`.

    Without a builder there are no workers. Maintenance always runs, so that builds of dead workers
    end and pending events are recorded even in a process that only serves the API.
    """

    def __init__(
        self, service: BuildService, builder: Builder | None, clock: ClockWatch | None = None
    ) -> None:
        settings = service.settings
        self._service = service
        self._registry = Registry(service.engine, settings)
        self._clock = clock or ClockWatch()
        self._silence_seconds = float(settings.worker_timeout_seconds)
        self._heartbeats = Condition(_log, "heartbeats")
        waits = Condition(_log, "workers wait")
        self.workers: list[Worker] = []
        if builder:
            self.workers += [
                Worker(service, builder, self._registry, waits) for _ in range(settings.workers)
            ]
        self._heartbeat = Loop(
            "build-heartbeat", self._send_heartbeats, seconds=min(15.0, self._silence_seconds / 4)
        )
        self._maintenance_steps = self._all_steps()
        self._maintenance = Loop(
            "build-maintenance", self._maintain, seconds=self._until_due, at_once=True
        )

    def start(self) -> None:
        for worker in self.workers:
            worker.start()
        self._heartbeat.start()
        self._maintenance.start()

    def stop(self, *, seconds: float = STOP_SECONDS) -> bool:
        """Stop; builds that run go back to the queue. Return whether all ended in time."""
        deadline = time.monotonic() + seconds
        for worker in self.workers:
            worker.stop()
        late = [each for each in self.workers if not each.join(deadline - time.monotonic())]
        self._heartbeat.stop()
        self._maintenance.stop()
        loops_ended = [
            loop.join(max(0.1, deadline - time.monotonic()))
            for loop in (self._heartbeat, self._maintenance)
        ]
        try:
            for worker in self.workers:
                self._registry.release(worker.holder)
            self._service.outbox.sweep()
        except StoreUnavailableError as error:
            _log.warning("builds: stopped without releasing worker names: %s", error)
        return not late and all(loops_ended)

    def _send_heartbeats(self) -> None:
        """Send heartbeats, four in the time after which a worker counts as lost."""
        holders = {each.holder: each.build_id for each in self.workers if each.has_name}
        if not holders:
            return
        try:
            lost_names, lost_builds = self._registry.heartbeat(holders)
        except StoreUnavailableError as error:
            self._heartbeats.failed(error)
            return
        self._heartbeats.works()
        for worker in self.workers:
            if worker.holder in lost_names:
                worker.lose_name()
            for build_id in lost_builds:
                worker.lose_build(build_id)

    def _maintain(self) -> None:
        for step in self._maintenance_steps:
            step.do_if_due()

    def _until_due(self) -> float:
        return min(1.0, *(step.due_in() for step in self._maintenance_steps))

    def _all_steps(self) -> list["_MaintenanceStep"]:
        service = self._service
        return [
            _MaintenanceStep("clock", _SWEEP_SECONDS, _ClockCorrection(service, self._clock)),
            _MaintenanceStep("events", _REDELIVER_SECONDS, _Redelivery(service)),
            _MaintenanceStep(
                "lost workers", min(5.0, self._silence_seconds / 4), _StaleBuilds(service)
            ),
            _MaintenanceStep("outbox", _SWEEP_SECONDS, service.outbox.sweep),
            _MaintenanceStep(
                "expired images", _EXPIRE_SECONDS, lambda: _expire(service, self._clock)
            ),
        ]


class _MaintenanceStep:
    """A periodic piece of maintenance. An error is logged, and the next run is not affected."""

    def __init__(self, name: str, seconds: float, do: Callable[[], object]) -> None:
        self._seconds = seconds
        self._do = do
        self._next = time.monotonic()
        self._condition = Condition(_log, f"maintenance, {name}")

    def due_in(self) -> float:
        return max(0.05, self._next - time.monotonic())

    def do_if_due(self) -> None:
        if time.monotonic() < self._next:
            return
        try:
            self._do()
            self._condition.works()
        except Exception as error:
            known = isinstance(error, StoreUnavailableError)
            self._condition.failed(error, exc_info=not known)
        self._next = time.monotonic() + self._seconds


class _Redelivery:
    """Delivers pending events: all of them at the start, later those of dead processes."""

    def __init__(self, service: BuildService) -> None:
        self._outbox = service.outbox
        self._first = True

    def __call__(self) -> None:
        if self._first:
            self._outbox.redeliver(older_than=timedelta(0))
            self._first = False
        else:
            self._outbox.redeliver()


class _StaleBuilds:
    """Ends builds of dead workers, unless this process itself was unable to check for a while.

    During an outage of the database, or while the machine is suspended, no worker can report that
    it is alive. Afterwards, all workers get the full time again.
    """

    def __init__(self, service: BuildService, *, clock: Callable[[], float] = time.time) -> None:
        self._queue = service.queue
        self._clock = clock
        self._silence = float(service.settings.worker_timeout_seconds)
        self._checked_at: float | None = None
        self._grace_until = 0.0

    def __call__(self) -> None:
        self._queue.length()  # raises while the database is unreachable
        now = self._clock()
        if self._checked_at is not None and abs(now - self._checked_at) > self._silence / 2:
            self._grace_until = now + self._silence
        self._checked_at = now
        if now >= self._grace_until:
            for job in self._queue.end_stale():
                _log.warning(
                    "builds: worker is lost hash=%s worker=%s",
                    shown_hash(job.request_hash),
                    job.worker_id,
                )


class _ClockCorrection:
    """Sets times in the future to now. A clock that was ahead has left them.

    It checks at the start, after each step of the clock, and every hour, because the clock of
    another host may have been ahead.
    """

    def __init__(self, service: BuildService, clock: ClockWatch) -> None:
        self._queue = service.queue
        self._clock = clock
        self._steps = -1
        self._next_check = 0.0

    def __call__(self) -> None:
        steps = self._clock.check()
        if steps == self._steps and time.monotonic() < self._next_check:
            return
        if steps > max(0, self._steps):
            _log.warning("clock: %s", self._clock.last)
        if corrected := self._queue.correct_times():
            _log.warning("clock: times in the future set to now: rows=%d", corrected)
        self._steps, self._next_check = steps, time.monotonic() + _HOUR_SECONDS


def _expire(service: BuildService, clock: ClockWatch | None = None) -> None:
    step = clock.recent() if clock else None
    if step is None or step.seconds < 0:  # a clock that is ahead must not delete images
        service.queue.expire()
    staged = service.images.staged()  # read first: a build runs before it is staged
    running = service.queue.running()
    for build_id in staged:
        if build_id not in running:
            service.images.discard(build_id)
