"""The build queue on both databases: outcomes, claims, ends, expiry."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from asu_stats.builds.jobs import Job
from asu_stats.builds.schema import build_events, build_jobs, build_requests, build_results
from asu_stats.builds.service import BuildService
from asu_stats.settings import Settings

from .support import (
    NOW,
    Clock,
    Recorder,
    failure,
    request,
    rows,
    settings_for,
    statuses,
    submit,
    success,
)


def claim(service: BuildService, worker: str = "w1") -> Job:
    job = service.queue.claim(worker)
    assert job is not None
    return job


def finish_well(service: BuildService, job: Job) -> bool:
    ending, directory = success(service, job.build_id)
    return service.queue.finish(
        job, ending, publish=lambda: service.images.publish(directory, job.request_hash)
    )


def test_a_request_is_queued_then_joined_then_served(
    service: BuildService, recorder: Recorder, engine: Engine
) -> None:
    assert submit(service) == "queued"
    assert submit(service, packages=["tmux", "luci", "+luci"], client="luci/1") == "joined"
    job = claim(service)
    assert submit(service) == "joined"
    assert finish_well(service, job)
    assert submit(service) == "cache_hit"

    assert statuses(engine) == [("completed", "success")]
    assert [event.build_id for event in recorder.started()] == [job.build_id]
    assert [event.status for event in recorder.finished()] == ["success"]
    assert [event.outcome for event in recorder.requests()] == ["queued"]


def test_legacy_columns_mean_what_they_did(service: BuildService, engine: Engine) -> None:
    submit(
        service,
        repositories=["https://example.org/a"],
        rootfs_size_mb=256,
        diff_packages=True,
        defaults="echo",
    )
    job = claim(service, "w7")
    finish_well(service, job)

    kept, result = rows(engine, build_requests)[0], rows(engine, build_results)[0]
    assert kept["packages"] == '["luci", "tmux"]'
    assert kept["repositories"] == '["https://example.org/a"]'
    assert (kept["rootfs_size_mb"], kept["diff_packages"]) == (256, True)
    assert (kept["client"], kept["defaults"]) == ("owut/2025.11.11", "echo")
    assert result["images"] == '["firmware.bin"]'
    assert result["cache_hit"] is False
    assert rows(engine, build_jobs)[0]["worker_id"] == "w7"
    assert job.request == request(
        repositories=["https://example.org/a"],
        rootfs_size_mb=256,
        diff_packages=True,
        defaults="echo",
    )


def test_jobs_of_the_server_before_are_left_alone(
    service: BuildService, engine: Engine, clock: Clock
) -> None:
    known = request().request_hash
    with engine.begin() as connection:
        for status in ("pending", "building", "completed", "failed", "pending"):
            connection.execute(insert(build_jobs).values(request_hash=known, status=status))
        connection.execute(insert(build_results).values(request_hash=known, images=""))
    clock.move(days=400)

    assert service.queue.find(known) is None
    assert service.queue.length() == 0
    assert service.queue.claim("w1") is None
    assert service.queue.end_stale() == []
    assert submit(service) == "queued"
    service.queue.expire()
    assert len(rows(engine, build_results)) == 1


def test_a_failure_is_remembered_for_a_while(
    service: BuildService, settings: Settings, clock: Clock, engine: Engine
) -> None:
    submit(service)
    service.queue.finish(claim(service), failure())

    clock.move(seconds=settings.build_failure_seconds - 1)
    assert submit(service) == "cached_failure"
    clock.move(seconds=1)
    assert service.queue.find(request().request_hash) is None
    assert submit(service, clock) == "queued"
    assert statuses(engine) == [("failed", "failure"), ("pending", None)]


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({}, "build_ttl_seconds"),
        ({"defaults": "echo"}, "build_defaults_ttl_seconds"),
        ({"version": "SNAPSHOT"}, "build_ttl_unversioned_seconds"),
        ({"version": "24.10-SNAPSHOT"}, "build_ttl_unversioned_seconds"),
        ({"version": "SNAPSHOT", "version_code": "r1-abc"}, "build_ttl_seconds"),
        ({"version": "SNAPSHOT", "packages_versions": {"luci": "1"}}, "build_ttl_seconds"),
        ({"version": "SNAPSHOT", "defaults": "echo"}, "build_defaults_ttl_seconds"),
    ],
)
def test_images_expire(
    service: BuildService,
    settings: Settings,
    clock: Clock,
    engine: Engine,
    changes: dict[str, Any],
    setting: str,
) -> None:
    submit(service, **changes)
    job = claim(service)
    finish_well(service, job)
    file = settings.store_directory / job.request_hash / "firmware.bin"

    clock.move(seconds=getattr(settings, setting) - 1)
    assert service.queue.expire() == 0
    assert submit(service, **changes) == "cache_hit"
    assert file.is_file()
    clock.move(seconds=1)
    assert service.queue.find(job.request_hash) is None
    assert service.queue.expire() == 1
    assert not file.exists()
    assert rows(engine, build_results) == []
    assert rows(engine, build_requests)[0]["defaults"] == ""
    assert rows(engine, build_jobs)[0]["stdout"] is None

    assert submit(service, **changes) == "queued"
    assert claim(service).request == request(**changes)


def test_no_image_outlives_the_general_limit(
    engine: Engine, tmp_path: Path, recorder: Recorder, clock: Clock
) -> None:
    settings = settings_for(tmp_path, build_ttl_seconds=3600)
    service = BuildService(engine, settings, recorder, clock=clock)
    submit(service, version="SNAPSHOT")
    finish_well(service, claim(service))
    clock.move(seconds=3599)
    assert submit(service, version="SNAPSHOT") == "cache_hit"
    clock.move(seconds=1)
    assert service.queue.expire() == 1
    assert submit(service, version="SNAPSHOT") == "queued"


def test_images_that_are_being_built_anew_do_not_expire(
    service: BuildService, settings: Settings, clock: Clock
) -> None:
    submit(service)
    finish_well(service, claim(service))
    clock.move(seconds=settings.build_ttl_seconds)
    assert submit(service) == "queued"
    assert service.queue.expire() == 0


def test_old_failures_lose_their_output_and_script(
    service: BuildService, settings: Settings, clock: Clock, engine: Engine
) -> None:
    submit(service, defaults="secret")
    service.queue.finish(claim(service), failure())
    service.queue.expire()
    assert rows(engine, build_jobs)[0]["stderr"] == "log"
    clock.move(seconds=settings.build_failure_seconds)
    service.queue.expire()
    assert rows(engine, build_jobs)[0]["stderr"] is None
    assert rows(engine, build_jobs)[0]["error_message"]
    assert rows(engine, build_requests)[0]["defaults"] == ""


def test_an_image_whose_files_are_gone_is_no_hit(service: BuildService) -> None:
    submit(service)
    job = claim(service)
    finish_well(service, job)
    (service.images.root / job.request_hash / "firmware.bin").unlink()

    assert service.queue.find(job.request_hash) is None
    assert submit(service) == "queued"


def test_the_queue_has_a_limit(
    engine: Engine, tmp_path: Path, recorder: Recorder, clock: Clock
) -> None:
    service = BuildService(
        engine, settings_for(tmp_path, max_pending_jobs=2), recorder, clock=clock
    )
    outcomes = [submit(service, profile=f"p{number}") for number in range(5)]
    assert outcomes == ["queued", "queued", "queued", "rejected", "rejected"]
    assert submit(service, profile="p0") == "joined"
    claim(service)
    assert submit(service, profile="p9") == "queued"
    submission = service.queue.submit(request(profile="p10"), client="x", received=NOW)
    assert submission == ("rejected", None, 3)


def test_builds_are_taken_in_order_and_know_their_place(
    service: BuildService, clock: Clock
) -> None:
    hashes = []
    for number in range(4):
        submit(service, clock, profile=f"p{number}")
        hashes.append(request(profile=f"p{number}").request_hash)

    def places() -> list[int | None]:
        states = [service.queue.find(each) for each in hashes]
        return [state.queue_position if state else -1 for state in states]

    assert places() == [0, 1, 2, 3]
    assert claim(service).request_hash == hashes[0]
    assert places() == [None, 0, 1, 2]
    assert service.queue.length() == 3


def test_fifty_equal_requests_queue_one_build(service: BuildService, engine: Engine) -> None:
    start = threading.Barrier(50)

    def one(_: int) -> str:
        start.wait()
        return submit(service)

    with ThreadPoolExecutor(50) as pool:
        outcomes = Counter(pool.map(one, range(50)))
    assert outcomes == {"queued": 1, "joined": 49}
    assert statuses(engine) == [("pending", None)]


def test_fifty_threads_two_hundred_hashes(
    service: BuildService, engine: Engine, recorder: Recorder
) -> None:
    def one(number: int) -> str:
        return submit(service, profile=f"p{number % 200}")

    with ThreadPoolExecutor(50) as pool:
        outcomes = Counter(pool.map(one, range(1000)))
    assert outcomes == {"queued": 200, "joined": 800}
    assert len(statuses(engine)) == 200
    assert len({event.request_hash for event in recorder.requests()}) == 200


def test_eight_workers_build_each_once(
    service: BuildService, recorder: Recorder, engine: Engine
) -> None:
    for number in range(120):
        submit(service, profile=f"p{number}")
    taken: list[str] = []

    def work(name: str) -> None:
        while job := service.queue.claim(name):
            taken.append(job.request_hash)
            assert service.queue.finish(job, failure())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [f"w{number}" for number in range(8)]))
    assert len(taken) == len(set(taken)) == 120
    assert set(statuses(engine)) == {("failed", "failure")}
    assert len(recorder.started()) == len(recorder.finished()) == 120


def test_a_lost_worker_ends_its_build_once(
    service: BuildService, recorder: Recorder, clock: Clock, engine: Engine
) -> None:
    submit(service)
    job = claim(service)
    clock.move(seconds=60)
    assert service.queue.end_stale() == []
    clock.move(seconds=1)
    assert [each.build_id for each in service.queue.end_stale()] == [job.build_id]
    assert service.queue.end_stale() == []
    assert not finish_well(service, job), "it came back, too late"
    assert not service.queue.requeue(job)

    event = recorder.finished()[0]
    assert len(recorder.finished()) == 1
    assert (event.status, event.error_category, event.error_type) == (
        "timeout",
        "container",
        "worker_lost",
    )
    assert event.duration_seconds == 61
    assert statuses(engine) == [("failed", "timeout")]
    assert submit(service) == "cached_failure"
    assert not (service.images.root / job.request_hash).exists()


def test_many_look_for_lost_workers_at_once(
    service: BuildService, recorder: Recorder, clock: Clock
) -> None:
    for number in range(5):
        submit(service, profile=f"p{number}")
        claim(service)
    clock.move(seconds=61)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: service.queue.end_stale(), range(8)))
    assert sum(map(len, found)) == 5
    assert len(recorder.finished()) == 5


def test_a_finish_and_the_end_of_a_lost_worker_do_not_both_count(
    service: BuildService, recorder: Recorder, clock: Clock
) -> None:
    for number in range(20):
        submit(service, profile=f"p{number}")
    jobs = [claim(service) for _ in range(20)]
    clock.move(seconds=61)
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda job: service.queue.finish(job, failure()), jobs[:10]))
        stale = pool.submit(service.queue.end_stale).result()
    assert sum(ended) + len(stale) == 20
    assert len({event.build_id for event in recorder.finished()}) == 20
    assert len(recorder.finished()) == 20


def test_a_shutdown_puts_a_build_back_at_its_place(
    service: BuildService, recorder: Recorder, clock: Clock, engine: Engine
) -> None:
    submit(service, clock, profile="first")
    clock.move(seconds=1)
    submit(service, clock, profile="second")
    job = claim(service)
    assert service.queue.requeue(job)
    assert not service.queue.requeue(job)

    assert [event.status for event in recorder.finished()] == ["cancelled"]
    assert recorder.finished()[0].error_type == "build_cancelled"
    assert submit(service, profile="first") == "joined"
    again = claim(service)
    assert again.request.profile == "first"
    assert again.build_id != job.build_id
    assert statuses(engine) == [("failed", "cancelled"), ("pending", None), ("building", None)]


def test_a_later_success_replaces_the_result(
    service: BuildService, settings: Settings, clock: Clock
) -> None:
    for _ in range(2):
        assert submit(service) == "queued"
        assert finish_well(service, claim(service))
        clock.move(seconds=settings.build_ttl_seconds)
    clock.move(seconds=-1)
    assert submit(service) == "cache_hit"


def test_nothing_is_stored_or_recorded_when_publishing_fails(
    service: BuildService, recorder: Recorder, engine: Engine
) -> None:
    submit(service)
    job = claim(service)
    ending, _ = success(service, job.build_id)

    def publish() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        service.queue.finish(job, ending, publish=publish)
    assert statuses(engine) == [("building", None)]
    assert recorder.finished() == []
    assert rows(engine, build_results) == []


def test_a_request_that_joins_was_received_before_the_end(
    service: BuildService, recorder: Recorder, clock: Clock, engine: Engine
) -> None:
    """The end is dated inside the transaction that requests which join exclude."""
    submit(service)
    job = claim(service)
    clock.move(seconds=5)
    service.queue.finish(job, failure())
    with engine.connect() as connection:
        finished = connection.execute(select(build_jobs.c.finished_at)).scalar_one()
    assert recorder.finished()[0].time.replace(tzinfo=None) == finished
    assert recorder.finished()[0].time == clock()


def test_every_change_leaves_its_event_in_the_outbox_first(
    service: BuildService, engine: Engine
) -> None:
    submit(service)
    service.queue.finish(claim(service), failure())
    assert len(rows(engine, build_events)) == 3
    assert service.outbox.sweep() == 3
    assert rows(engine, build_events) == []


def test_output_that_no_database_takes_is_cleaned(service: BuildService, engine: Engine) -> None:
    submit(service)
    assert service.queue.finish(claim(service), failure("no\0pe"))
    assert rows(engine, build_jobs)[0]["error_message"] == "no\ufffdpe"
