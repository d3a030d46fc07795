"""Workers: results of builds, and cleanup after a worker dies."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text, update

from asu_stats.builds import background
from asu_stats.builds.background import Background, builder_of
from asu_stats.builds.builders import Attempt, Builder, BuildFailedError, Result
from asu_stats.builds.builders.command import CommandBuilder
from asu_stats.builds.builders.demo import DemoBuilder
from asu_stats.builds.jobs import Job
from asu_stats.builds.schema import build_jobs, build_workers
from asu_stats.builds.service import BuildService
from asu_stats.builds.worker import failed
from asu_stats.builds.workers import Registry
from asu_stats.exceptions import StoreUnavailableError

from .support import (
    PATIENCE,
    Clock,
    ObedientBuilder,
    Recorder,
    eventually,
    image_in,
    request,
    rows,
    settings_for,
    statuses,
    submit,
)


def service_for(
    engine: Engine, tmp_path: Path, recorder: Recorder, **settings: object
) -> BuildService:
    return BuildService(engine, settings_for(tmp_path, **settings), recorder)


@contextmanager
def working(service: BuildService, builder: Builder) -> Iterator[Background]:
    shop = Background(service, builder)
    shop.start()
    try:
        yield shop
    finally:
        assert shop.stop(seconds=PATIENCE)


def test_a_build_that_ends_well(engine: Engine, tmp_path: Path, recorder: Recorder) -> None:
    service = service_for(engine, tmp_path, recorder)
    with working(service, ObedientBuilder()):
        submit(service)
        eventually(lambda: len(recorder.finished()) == 1)
    state = service.queue.find(request().request_hash)
    assert state
    assert (state.status, state.stdout, state.stderr) == ("completed", "out", "err")
    assert (service.images.root / state.request_hash / "firmware.bin").read_bytes() == b"firmware"
    assert service.images.staged() == []
    event = recorder.finished()[0]
    assert event.source == "https://asu.example.org/workers/w1"
    assert event.worker_id == "w1"
    assert set(event.phases or {}) == {"init", "building_image"}
    assert event.names.version == "24.10.2"


def test_a_build_that_fails(engine: Engine, tmp_path: Path, recorder: Recorder) -> None:
    service = service_for(engine, tmp_path, recorder)
    with working(service, ObedientBuilder(fail="Impossible package selection: missing (foo)")):
        submit(service)
        eventually(lambda: len(recorder.finished()) == 1)
    answer = service.look_up(request().request_hash)
    assert answer.status == 500
    assert answer.body["detail"] == "Error: Impossible package selection: missing (foo)"
    event = recorder.finished()[0]
    assert (event.status, event.error_type) == ("failure", "package_not_found")


class Clumsy:
    def build(self, attempt: Attempt) -> Result:
        attempt.check()
        raise OSError(28, "No space left on device")


def test_an_unexpected_error_is_a_failure(
    engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    service = service_for(engine, tmp_path, recorder)
    with working(service, Clumsy()):
        submit(service)
        submit(service, profile="other")
        eventually(lambda: len(recorder.finished()) == 2)
    assert {event.error_type for event in recorder.finished()} == {"disk_full"}


class Unforeseen:
    """Raises what nobody foresaw: an error, or one of the folder that it builds in."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def build(self, attempt: Attempt) -> Result:
        attempt.command = [
            "/opt/make",
            f"BIN_DIR={attempt.directory}/bin",
            f"-v{attempt.directory}",
        ]
        attempt.check()
        if self.error:
            raise self.error
        (attempt.directory / "no" / "folder").mkdir()
        raise AssertionError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, ("storage", "store_failed")),
        (ValueError("/srv/secret"), ("build", "unknown")),
        (PermissionError(13, "Permission denied", "/srv/secret"), None),
    ],
)
def test_errors_that_nobody_foresaw_show_no_paths(
    engine: Engine,
    tmp_path: Path,
    recorder: Recorder,
    error: Exception | None,
    kind: tuple[str, str] | None,
) -> None:
    service = service_for(engine, tmp_path, recorder)
    with working(service, Unforeseen(error)):
        submit(service)
        eventually(lambda: len(recorder.finished()) == 1)
    event = recorder.finished()[0]
    assert kind is None or (event.error_category, event.error_type) == kind
    body = service.look_up(request().request_hash).body
    assert body["detail"].startswith("Error: Buil")
    assert body["build_cmd"][:2] == ["make", "BIN_DIR=bin"]
    shown = f"{body} {event.error_message}"
    assert "/srv" not in shown
    assert str(tmp_path) not in shown


def test_a_store_that_is_no_directory_fails_builds_without_its_path(
    engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    (tmp_path / "file").touch()
    service = service_for(engine, tmp_path, recorder, store_directory=tmp_path / "file" / "store")
    with working(service, ObedientBuilder()):
        submit(service)
        eventually(lambda: len(recorder.finished()) == 1)
    event = recorder.finished()[0]
    assert (event.error_category, event.error_type) == ("storage", "store_failed")
    assert str(tmp_path) not in str(service.look_up(request().request_hash).body)


class Unstorable:
    def build(self, attempt: Attempt) -> Result:
        result = image_in(attempt.directory)
        (attempt.directory / "images" / "firmware.bin").unlink()
        (attempt.directory / "images").rmdir()
        return result


def test_images_that_cannot_be_stored_are_a_failure(
    engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    service = service_for(engine, tmp_path, recorder)
    with working(service, Unstorable()):
        submit(service)
        eventually(lambda: len(recorder.finished()) == 1)
    event = recorder.finished()[0]
    assert (event.status, event.error_type) == ("failure", "store_failed")
    assert statuses(engine) == [("failed", "failure")]


def test_a_build_that_takes_too_long(engine: Engine, tmp_path: Path, recorder: Recorder) -> None:
    service = service_for(engine, tmp_path, recorder, job_timeout_seconds=1)
    with working(service, ObedientBuilder(waits=True)):
        submit(service)
        eventually(lambda: len(recorder.finished()) == 1)
    event = recorder.finished()[0]
    assert (event.status, event.error_type) == ("timeout", "build_timeout")
    assert service.look_up(request().request_hash).body["stderr"].startswith("err")


def test_a_shutdown_hands_the_build_to_the_next(
    engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    service = service_for(engine, tmp_path, recorder)
    builder = ObedientBuilder(waits=True)
    with working(service, builder):
        submit(service)
        assert builder.running.acquire(timeout=PATIENCE)
    assert [event.status for event in recorder.finished()] == ["cancelled"]
    assert rows(engine, build_workers)[0]["heartbeat_at"] is None
    assert service.look_up(request().request_hash).status == 202
    with working(service, ObedientBuilder()):
        eventually(lambda: len(recorder.finished()) == 2)
    assert recorder.finished()[1].status == "success"
    assert service.look_up(request().request_hash).status == 200


def test_a_build_ended_from_outside_is_given_up(
    engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    service = service_for(engine, tmp_path, recorder, worker_timeout_seconds=2)
    builder = ObedientBuilder(waits=True)
    with working(service, builder):
        submit(service)
        assert builder.running.acquire(timeout=PATIENCE)
        with engine.begin() as connection:
            connection.execute(update(build_jobs).values(status="failed", ended_as="timeout"))
        eventually(lambda: service.images.staged() == [])
        submit(service, profile="next")
        assert builder.running.acquire(timeout=PATIENCE), "the worker goes on"
        builder.go.set()
        eventually(lambda: len(recorder.finished()) == 1)
    assert recorder.finished()[0].names.profile == "next"


def test_signs_of_life_keep_a_long_build_alive(
    engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    service = service_for(engine, tmp_path, recorder, worker_timeout_seconds=5)
    builder = ObedientBuilder(waits=True)
    with working(service, builder):
        submit(service)
        assert builder.running.acquire(timeout=PATIENCE)
        began = rows(engine, build_jobs)[0]["heartbeat_at"]
        eventually(lambda: (rows(engine, build_jobs)[0]["heartbeat_at"] - began).seconds >= 6)
        builder.go.set()
        eventually(lambda: len(recorder.finished()) == 1)
    assert recorder.finished()[0].status == "success"


def test_maintenance_ends_builds_of_workers_that_are_gone(
    engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    service = service_for(engine, tmp_path, recorder, worker_timeout_seconds=2)
    submit(service)
    assert service.queue.claim("w9")
    shop = Background(service, None)
    shop.start()
    eventually(lambda: len(recorder.finished()) == 1)
    assert shop.stop(seconds=PATIENCE)
    assert recorder.finished()[0].error_type == "worker_lost"
    assert service.look_up(request().request_hash).status == 500


def test_the_database_goes_away_and_comes_back(
    engine: Engine,
    tmp_path: Path,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = service_for(engine, tmp_path, recorder)
    real = service.outbox.change
    away = threading.Event()

    def change(*, alone: bool = False) -> object:
        if away.is_set():
            raise StoreUnavailableError("database: unreachable")
        return real(alone=alone)

    monkeypatch.setattr(service.outbox, "change", change)
    builder = ObedientBuilder(waits=True)
    with working(service, builder), caplog.at_level(logging.WARNING):
        submit(service)
        assert builder.running.acquire(timeout=PATIENCE)
        away.set()
        builder.go.set()
        time.sleep(0.5)
        assert recorder.finished() == []
        away.clear()
        eventually(lambda: len(recorder.finished()) == 1)
        assert recorder.finished()[0].status == "success"


def test_names_of_workers_are_theirs_alone(engine: Engine, tmp_path: Path, clock: Clock) -> None:
    registry = Registry(engine, settings_for(tmp_path), clock=clock)
    assert [registry.take_name(holder) for holder in ("a", "b", "c")] == ["w1", "w2", "w3"]
    registry.release("b")
    assert registry.take_name("d") == "w2"
    clock.move(seconds=61)
    assert registry.heartbeat({"a": None, "d": None}) == (set(), set())
    assert registry.take_name("e") == "w3"
    assert registry.heartbeat({"a": "no-such-build", "c": None}) == ({"c"}, {"no-such-build"})


def test_after_an_outage_workers_get_their_time_anew(
    engine: Engine, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_for(engine, tmp_path, recorder, worker_timeout_seconds=60)
    now = [1000.0]
    ended: list[float] = []

    def end_stale() -> list[Job]:
        ended.append(now[0])
        return []

    monkeypatch.setattr(service.queue, "end_stale", end_stale)
    look = background._StaleBuilds(service, clock=lambda: now[0])
    for now[0] in (1000.0, 1005.0, 1100.0, 1105.0, 1130.0, 1155.0, 1165.0):
        look()
    assert ended == [1000.0, 1005.0, 1165.0]


def test_leftovers_of_dead_builds_are_removed(service: BuildService) -> None:
    service.images.stage("dead")
    submit(service)
    job = service.queue.claim("w1")
    assert job
    service.images.stage(job.build_id)
    background._expire(service)
    assert service.images.staged() == [job.build_id]


def test_builders_by_name(tmp_path: Path) -> None:
    assert builder_of(settings_for(tmp_path, builder="none")) is None
    assert isinstance(builder_of(settings_for(tmp_path, builder="command")), CommandBuilder)
    assert isinstance(builder_of(settings_for(tmp_path, builder="demo")), DemoBuilder)


WORKER = """
import sys
from pathlib import Path

from asu_stats.builds.builders.demo import DemoBuilder, FailureExample
from asu_stats.builds.service import BuildService
from asu_stats.builds.background import Background
from asu_stats.settings import Settings
from asu_stats.store.database import engine as engines

url, store = sys.argv[1:]
settings = Settings(store_directory=store, workers=2, demo_seconds=0.02, worker_timeout_seconds=6)
service = BuildService(engines.create(url), settings, lambda events: None)
examples = [FailureExample("x", "build", "unknown", "failure")]
shop = Background(service, DemoBuilder(settings, examples=examples))
shop.start()
print("ready", flush=True)
sys.stdin.read()
assert shop.stop(seconds=120)
"""


@contextmanager
def worker_process(database_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORKER, database_url, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"ASU_STATS_CONFIG": os.devnull},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def count(engine: Engine, *states: str) -> int:
    """Count the builds in these states; waiting for them must not take the workers' time."""
    time.sleep(0.1)
    with engine.connect() as connection:
        counted = select(func.count()).where(build_jobs.c.status.in_(states))
        return connection.execute(counted).scalar_one()


def test_several_processes_one_of_them_killed(
    database_url: str, engine: Engine, tmp_path: Path, recorder: Recorder
) -> None:
    """Every build ends once; those of the killed process end as lost, by the others."""
    service = service_for(engine, tmp_path, recorder, worker_timeout_seconds=6)
    for number in range(150):
        submit(service, profile=f"p{number}")
    with (
        worker_process(database_url, tmp_path) as one,
        worker_process(database_url, tmp_path) as two,
        worker_process(database_url, tmp_path) as three,
    ):
        for process in (one, two, three):
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        eventually(lambda: count(engine, "completed") > 0)
        two.kill()
        eventually(lambda: count(engine, "completed", "failed") == 150)
        for process in (one, three):
            process.communicate("")
            assert process.returncode == 0
    ends = Counter(ended for _, ended in statuses(engine))
    assert len(statuses(engine)) == 150
    assert ends["timeout"] <= 2
    assert set(ends) <= {"success", "failure", "timeout"}
    builds = [row["build_id"] for row in rows(engine, build_jobs)]
    assert len(set(builds)) == 150
    names = {row["worker_id"] for row in rows(engine, build_jobs)}
    assert names <= {f"w{number}" for number in range(1, 7)}
    with engine.connect() as connection:
        assert (
            connection.execute(text("SELECT count(*) FROM build_results")).scalar_one()
            == ends["success"]
        )


def test_a_failure_says_more_where_the_log_does() -> None:
    plain = failed(None, BuildFailedError("Error while building firmware", log="make: *** x"))
    assert plain.error_message == "Error while building firmware"
    full = failed(
        None, BuildFailedError("Error while building firmware", log="cp: No space left on device")
    )
    assert full.error_message == "Error while building firmware\ncp: No space left on device"
    assert full.detail == "Error: Error while building firmware"
