"""Clocks that were wrong once: builds go on, and nothing waits for a time that never comes."""

import json
from datetime import UTC, datetime

from sqlalchemy import Engine

from asu_stats.builds.service import BuildService
from asu_stats.builds.tables import build_events

from .support import Clock, Recorder, body, failure, rows


def test_a_clock_at_zero_breaks_no_build_and_records_nothing(
    service: BuildService, engine: Engine, clock: Clock, recorder: Recorder
) -> None:
    clock.now = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    asked = json.dumps(body()).encode()
    assert [service.request(asked).status, service.request(asked).status] == [202, 202]
    job = service.queue.claim("w1")
    assert job
    assert service.queue.finish(job, failure())
    assert recorder.events == []
    assert rows(engine, build_events) == []
