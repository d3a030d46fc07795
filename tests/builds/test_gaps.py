"""What happens between two steps of a build: requests that join, workers that stop, outages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from asu_stats.builds import worker as workers
from asu_stats.builds.queue import BuildQueue
from asu_stats.builds.service import BuildService
from asu_stats.builds.worker import Worker
from asu_stats.builds.workers import Registry
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.times import utc_now
from tests.builds.support import (
    PATIENCE,
    ObedientBuilder,
    Recorder,
    eventually,
    request,
    settings_for,
    statuses,
    submit,
    success,
)
from tests.gaps import Beside, after


@pytest.fixture
def real(engine: Engine, tmp_path: Path, recorder: Recorder) -> BuildService:
    """A build service with the clock of this machine."""
    return BuildService(engine, settings_for(tmp_path), recorder)


def join(service: BuildService) -> str:
    return service.queue.submit(request(), client="luci/1", received=utc_now()).outcome


def test_a_request_that_comes_while_its_build_is_finished(
    real: BuildService, recorder: Recorder
) -> None:
    """It waits for the end of the build, and is served from the cache: it joins nothing."""
    submit(real)
    job = real.queue.claim("w1")
    assert job
    ending, directory = success(real, job.build_id)
    late = Beside(lambda: join(real))

    def publish() -> None:
        real.images.publish(directory, job.request_hash)
        late.start()
        assert not late.found, "the decision did not wait for the end of the build"

    assert real.queue.finish(job, ending, publish=publish)
    assert late.result() == "cache_hit"
    assert "joined" not in recorder.outcomes()


def test_a_build_that_is_finished_while_a_request_joins(
    real: BuildService, recorder: Recorder
) -> None:
    """The end of the build waits for the request: it is not before the request that joined."""
    submit(real)
    job = real.queue.claim("w1")
    assert job
    ending, directory = success(real, job.build_id)

    def end() -> bool:
        publish = lambda: real.images.publish(directory, job.request_hash)  # noqa: E731
        return real.queue.finish(job, ending, publish=publish)

    late, read, calls = Beside(end), BuildQueue._state, list[Any]()

    def second(queue: BuildQueue, *given: Any) -> Any:
        state = read(queue, *given)
        calls.append(state)
        if len(calls) == 2:  # the first reading is without a lock, this one decides
            late.start()
            assert not late.found, "the end of the build did not wait for the request"
        return state

    received = utc_now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BuildQueue, "_state", second)
        assert join(real) == "joined"
    assert late.result() is True
    assert recorder.finished()[0].time >= received


def test_a_build_that_was_ended_as_lost_in_the_gap_stays_ended(
    real: BuildService, recorder: Recorder
) -> None:
    """A worker comes back with an image after its build has been given up: nothing changes."""
    submit(real)
    job = real.queue.claim("w1")
    assert job
    ending, directory = success(real, job.build_id)
    real.queue._settings = real.settings.model_copy(update={"worker_timeout_seconds": -1})
    assert [lost.build_id for lost in real.queue.end_stale()] == [job.build_id]

    def publish() -> None:
        raise AssertionError("the image of a build that has ended was published")

    assert not real.queue.finish(job, ending, publish=publish)
    assert not real.queue.requeue(job)
    assert real.queue.end_stale() == []
    assert [event.status for event in recorder.finished()] == ["timeout"]
    assert directory.exists()


# Workers that are told to stop -------------------------------------------------------------------


@contextmanager
def worker_of(service: BuildService, builder: ObedientBuilder) -> Iterator[Worker]:
    registry = Registry(service.queue._engine, service.settings)
    worker = Worker(service, builder, registry)
    yield worker
    worker.stop()
    builder.go.set()
    assert worker.join(PATIENCE)


def test_a_worker_that_is_told_to_stop_as_it_claims_a_build_gives_it_back(
    real: BuildService, recorder: Recorder, engine: Engine
) -> None:
    submit(real)
    builder = ObedientBuilder(waits=True)
    with worker_of(real, builder) as worker, after(real.images, "stage", worker.stop):
        worker.start()
        assert worker.join(PATIENCE)
    assert [event.status for event in recorder.finished()] == ["cancelled"]
    assert statuses(engine) == [("failed", "cancelled"), ("pending", None)]


class Outage:
    """A database that is away for changes of the queue, from `begin` to `end`."""

    def __init__(self, service: BuildService, patch: pytest.MonkeyPatch) -> None:
        self._away = threading.Event()
        self.refused = threading.Semaphore(0)
        change = service.outbox.change

        def changed(*, alone: bool = False) -> Any:
            if self._away.is_set():
                self.refused.release()
                raise StoreUnavailableError("database: unreachable")
            return change(alone=alone)

        patch.setattr(service.outbox, "change", changed)
        patch.setattr(workers, "RETRY_SECONDS", 0.02)

    def begin(self) -> None:
        self._away.set()

    def end(self) -> None:
        self._away.clear()


@pytest.mark.parametrize("returns", [True, False])
@pytest.mark.parametrize("succeeds", [True, False])
def test_a_worker_that_is_told_to_stop_during_an_outage(
    real: BuildService,
    recorder: Recorder,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    returns: bool,
    succeeds: bool,
) -> None:
    """It waits a while for the database, so that its result, or the build, is not lost.

    If the database stays away, the worker ends, and the build as that of a lost worker.
    """
    outage = Outage(real, monkeypatch)
    monkeypatch.setattr(workers, "SHUTDOWN_RETRY_SECONDS", PATIENCE if returns else 0.1)
    builder = ObedientBuilder(waits=True)
    submit(real)
    with worker_of(real, builder) as worker:
        worker.start()
        assert builder.running.acquire(timeout=PATIENCE)
        outage.begin()
        if succeeds:
            builder.go.set()
            assert outage.refused.acquire(timeout=PATIENCE)  # the image is there, nobody knows
            worker.stop()
        else:
            worker.stop()
            assert outage.refused.acquire(timeout=PATIENCE)
        if returns:
            assert not worker.join(0.05)
            outage.end()
        assert worker.join(PATIENCE)
    outage.end()
    if not returns:
        assert statuses(engine) == [("building", None)]
        real.queue._settings = real.settings.model_copy(update={"worker_timeout_seconds": -1})
        assert len(real.queue.end_stale()) == 1
    eventually(lambda: len(recorder.finished()) == 1)
    expected = ("success" if succeeds else "cancelled") if returns else "timeout"
    assert [event.status for event in recorder.finished()] == [expected]
    assert real.images.staged() == []
