"""`build_events`: no event is lost between queue and recorder."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, update

from asu_stats.builds.outbox import Outbox
from asu_stats.builds.schema import build_events
from asu_stats.builds.service import BuildService
from asu_stats.events import Event
from asu_stats.settings import Settings
from asu_stats.times import naive, utc_now
from tests.support import NOW, Stats
from tests.support import request as sample_request

from .support import Clock, Recorder, failure, rows, statuses, submit


def age(engine: Engine, seconds: float) -> None:
    with engine.begin() as connection:
        created = naive(utc_now() - timedelta(seconds=seconds))
        connection.execute(update(build_events).values(created_at=created))


class BrokenRecorder:
    def __call__(self, events: Sequence[Event]) -> None:
        raise RuntimeError(f"{len(events)} events, and I am ill")


def test_a_broken_recorder_breaks_no_build(
    engine: Engine, settings: Settings, recorder: Recorder, clock: Clock
) -> None:
    ill = BuildService(engine, settings, BrokenRecorder(), clock=clock)
    assert submit(ill) == "queued"
    job = ill.queue.claim("w1")
    assert job
    assert ill.queue.finish(job, failure())
    assert ill.outbox.sweep() == 0
    assert ill.outbox.redeliver(older_than=timedelta(0)) == 0

    well = Outbox(engine, recorder)
    assert well.redeliver() == 0, "it may be on its way still"
    age(engine, 61)
    assert well.redeliver() == 3
    assert well.redeliver() == 0
    assert rows(engine, build_events) == []
    assert recorder.outcomes() == ["queued"]
    assert [event.build_id for event in recorder.started()] == [job.build_id]
    assert [event.status for event in recorder.finished()] == ["failure"]


def test_what_is_recorded_again_is_the_same_event(
    service: BuildService, recorder: Recorder, engine: Engine
) -> None:
    submit(service, packages=["luci", "-ppp"], rootfs_size_mb=256, diff_packages=True)
    age(engine, 61)
    assert service.outbox.redeliver() == 1
    first, second = recorder.events
    assert first == second


def test_sweeping_takes_only_what_the_recorder_has(
    service: BuildService, engine: Engine, settings: Settings, clock: Clock
) -> None:
    submit(service, profile="one")
    submit(BuildService(engine, settings, BrokenRecorder(), clock=clock), profile="two")
    assert service.outbox.sweep() == 1
    assert len(rows(engine, build_events)) == 1


def test_unreadable_rows_are_kept_logged_once_and_block_no_others(
    service: BuildService, recorder: Recorder, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ["{", "[]", "{}", '{"time": 1}', "[" * 100_000] + ["x"] * 600
    with engine.begin() as connection:
        for text in bad:
            connection.execute(
                insert(build_events).values(event_id="x", event=text, created_at=naive(utc_now()))
            )
    submit(service)
    for handed_on in (1, 0):
        assert service.outbox.redeliver(older_than=timedelta(0)) == handed_on
    assert len(recorder.events) == 2, "when it was submitted, and again"
    assert [row["event"] for row in rows(engine, build_events)] == bad
    assert len(caplog.records) == len(bad)


def test_unreadable_rows_are_counted_until_they_are_repaired(sqlite_stats: Stats) -> None:
    stats, outbox = sqlite_stats, sqlite_stats.builds.outbox
    with stats.engine.begin() as connection:
        for text in ("{", "[]"):
            connection.execute(
                insert(build_events).values(event_id="x", event=text, created_at=naive(utc_now()))
            )

    def seen() -> tuple[str, list[str], bool]:
        ready = stats.client.get("/readyz").json()
        metrics = stats.client.get("/metrics").text
        metric = f"asu_stats_build_events_unreadable_rows {float(outbox.unreadable)}"
        return ready["status"], ready["problems"], metric in metrics

    assert seen() == ("ready", [], True)
    outbox.redeliver(older_than=timedelta(0))
    detail = "build_events: 2 rows can't be read; the log names them"
    assert seen() == ("degraded", [detail], True)
    with stats.engine.begin() as connection:
        good = update(build_events).where(build_events.c.event == "{")
        connection.execute(good.values(event=json.dumps(sample_request("h", NOW))))
        connection.execute(delete(build_events).where(build_events.c.event == "[]"))
    assert outbox.redeliver(older_than=timedelta(0)) == 1
    assert seen() == ("ready", [], True)
    assert stats.get("overview")["totals"]["requests"] == 1


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from datetime import UTC, datetime
    from pathlib import Path

    from asu_stats.builds.requests import BuildRequest
    from asu_stats.builds.service import BuildService
    from asu_stats.settings import Settings
    from asu_stats.store.database import engine as engines
    from asu_stats.builds.jobs import Ending

    url, store, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def record(events):
        global steps
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    service = BuildService(engines.create(url), Settings(store_directory=store), record)
    request = BuildRequest(version="24.10.2", target="x86/64", profile="generic")
    service.queue.submit(request, client="x", received=datetime.now(UTC))
    job = service.queue.claim("w1")
    service.queue.finish(job, Ending(status="failure", error_message="x"))
    """
)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_killed_between_commit_and_recorder(
    database_url: str, engine: Engine, tmp_path: Path, recorder: Recorder, step: int
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", KILLED, database_url, str(tmp_path / "store"), str(step)],
        check=False,
        env=os.environ | {"ASU_STATS_CONFIG": os.devnull},
    )
    assert process.returncode == -signal.SIGKILL
    assert statuses(engine) == [
        {1: ("pending", None), 2: ("building", None), 3: ("failed", "failure")}[step]
    ]
    assert Outbox(engine, recorder).redeliver(older_than=timedelta(0)) == step
    assert (len(recorder.requests()), len(recorder.started()), len(recorder.finished())) == (
        1,
        int(step > 1),
        int(step > 2),
    )
