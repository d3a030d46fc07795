"""Wrong clocks: builds continue, and nothing waits for a time that does not come."""

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from asu_stats.builds.schema import build_events
from asu_stats.builds.service import BuildService
from asu_stats.settings import Settings
from asu_stats.store.database.engine import write_transaction
from asu_stats.times import naive, utc_now

from .support import Clock, Recorder, body, failure, rows, submit


def test_a_clock_at_zero_breaks_no_build_and_records_nothing(
    service: BuildService, engine: Engine, clock: Clock, recorder: Recorder
) -> None:
    clock.now = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    sent = json.dumps(body()).encode()
    assert [service.request(sent).status, service.request(sent).status] == [202, 202]
    job = service.queue.claim("w1")
    assert job
    assert service.queue.finish(job, failure())
    assert recorder.events == []
    assert rows(engine, build_events) == []


def test_times_of_a_clock_ahead_are_set_to_now(
    service: BuildService, clock: Clock, settings: Settings
) -> None:
    right = clock.now
    clock.move(days=2)
    assert submit(service, clock, packages=["ahead"]) == "queued"
    assert submit(service, clock, packages=["fails"]) == "queued"
    assert submit(service, clock, packages=["waits"]) == "queued"
    lost, failed = service.queue.claim("w1"), service.queue.claim("w2")
    assert lost
    assert failed
    assert service.queue.finish(failed, failure())

    clock.now = right
    assert service.queue.correct_times() > 0
    clock.move(seconds=5)
    assert submit(service, clock, packages=["later"]) == "queued"
    assert service.queue.correct_times() == 0
    first = service.queue.claim("w3")
    assert first
    assert first.request.packages == ["waits"], "what came first is built first"
    clock.move(seconds=settings.worker_timeout_seconds + 1)
    assert lost.build_id in {job.build_id for job in service.queue.end_stale()}
    clock.move(seconds=settings.build_failure_seconds)
    state = service.queue.find(failed.request_hash)
    assert state is None, "a failure is forgotten in time"


def test_events_left_behind_by_a_clock_ahead_are_handed_on(
    service: BuildService, engine: Engine, recorder: Recorder
) -> None:
    submit(service)
    recorder.events.clear()
    late = naive(utc_now() + timedelta(days=2))
    with write_transaction(engine) as connection:
        connection.execute(update(build_events).values(created_at=late))
    assert service.outbox.redeliver() == 1
    assert recorder.outcomes() == ["queued"]
