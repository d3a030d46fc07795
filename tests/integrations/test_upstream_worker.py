"""The plug-in in upstream's worker: one build per execution."""

import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from rq import Queue, get_current_job
from rq.command import send_stop_job_command
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.timeouts import BaseTimeoutException, JobTimeoutException

from asu_stats.integrations import upstream_builds, upstream_worker
from asu_stats.integrations.reporting import errors_logged
from asu_stats.integrations.upstream import StatsWorker
from tests.integrations.test_upstream_requests import Recorded

REQUEST = {"version": "24.10.2", "target": "x86/64", "profile": "generic", "diff_packages": True}


def build(request: SimpleNamespace) -> str:
    job = get_current_job()
    assert job is not None
    job.meta["detail"] = "init"
    for phase in ("init", "container_setup", "building_image"):
        job.meta["imagebuilder_status"] = phase
        job.save_meta()
        time.sleep(0.02)
    kind = request.kind
    if kind == "fails":
        job.meta["detail"] = "Error: Impossible package selection: missing (zz)"
        job.meta["stderr"] = "ERROR: unable to select packages"
        raise RuntimeError("Impossible package selection: missing (zz)")
    if kind.startswith("overtaken"):
        # As an equal job would set it that another worker ran at the same time.
        job.set_status(JobStatus(kind.removeprefix("overtaken-")))
    if kind.startswith(("killed", "overtaken")):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind in {"long", "stopped"}:
        time.sleep(30)
    job.meta["imagebuilder_status"] = "done"
    job.save_meta()
    return str(kind)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found = Recorded()
    monkeypatch.setattr(upstream_worker, "emitter", lambda: found)
    return found


def run(redis: Redis, kind: str, timeout: int = 20) -> Job:
    """Run a build in a worker and return its job."""
    queue = Queue(connection=redis)
    request = SimpleNamespace(kind=kind, **REQUEST)
    job = queue.enqueue(build, request, job_id=kind.ljust(64, "0"), job_timeout=timeout)
    worker = StatsWorker([queue], connection=redis, name=f"worker-{kind}", exception_handlers=None)
    worker.work(burst=True)
    return job


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("succeeds", "success", None),
        ("fails", "failure", "Error: Impossible package selection: missing (zz)\nERROR: unable"),
        ("killed", "failure", "Work-horse terminated unexpectedly; waitpid returned 9"),
        ("long", "timeout", "Traceback"),
    ],
)
def test_every_end(
    redis: Redis, recorded: Recorded, kind: str, status: str, error: str | None
) -> None:
    job = run(redis, kind, timeout=1 if kind == "long" else 20)

    assert job.is_finished == (status == "success")
    (started,), (finished,) = recorded.started, recorded.finished
    assert started["build_id"] == finished["build_id"]
    assert started["request_hash"] == finished["request_hash"] == job.id
    assert started["worker_id"] == finished["worker_id"] == f"worker-{kind}"
    assert finished["status"] == status
    assert started["time"] <= finished["time"]
    assert {name: finished[name] for name in REQUEST} == REQUEST
    assert finished.get("error_message", "").startswith(error or "")
    assert (error is None) == ("error_message" not in finished)
    assert list(finished["phases"]) == ["init", "container_setup", "building_image"]
    assert all(0.01 < seconds < 10 for seconds in finished["phases"].values())


def test_a_build_that_is_stopped(redis: Redis, recorded: Recorded) -> None:
    def stop() -> None:
        while not recorded.started:
            time.sleep(0.01)
        while "building_image" not in str(Job.fetch("stopped".ljust(64, "0"), redis).get_meta()):
            time.sleep(0.01)
        send_stop_job_command(redis, "stopped".ljust(64, "0"))

    stopper = threading.Thread(target=stop)
    stopper.start()
    job = run(redis, "stopped")
    stopper.join()

    assert job.get_status() == JobStatus.STOPPED
    (finished,) = recorded.finished
    assert finished["status"] == "cancelled"
    assert finished["build_id"] == recorded.started[0]["build_id"]


def test_every_execution_of_a_job_is_a_build_of_its_own(redis: Redis, recorded: Recorded) -> None:
    run(redis, "succeeds")
    run(redis, "succeeds")
    ids = [each["build_id"] for each in recorded.finished]
    assert len(set(ids)) == 2
    assert [each["build_id"] for each in recorded.started] == ids


@pytest.mark.parametrize("other", ["finished", "failed"])
def test_a_build_that_is_killed_after_an_equal_one_ended(
    redis: Redis, recorded: Recorded, other: str
) -> None:
    """RQ keeps no result of it and tells the worker nothing."""
    run(redis, f"overtaken-{other}")
    (finished,) = recorded.finished
    assert finished["status"] == "failure"
    assert finished["error_message"].startswith("Work-horse terminated unexpectedly; waitpid retur")
    assert list(finished["phases"]) == ["init", "container_setup", "building_image"]


def test_a_build_whose_worker_is_gone(redis: Redis, recorded: Recorded) -> None:
    queue = Queue(connection=redis)
    job = queue.enqueue(build, SimpleNamespace(kind="x", **REQUEST), job_id="gone")
    job.set_status(JobStatus.STARTED)
    queue.empty()
    registry = StartedJobRegistry(queue=queue)
    redis.zadd(registry.key, {"gone:execution-1": 1})
    job.save()
    StatsWorker([queue], connection=redis).clean_registries()

    (finished,) = recorded.finished
    assert finished["build_id"] == "rq:execution-1"
    assert (finished["request_hash"], finished["status"]) == ("gone", "failure")
    assert "AbandonedJobError" in finished["error_message"]


FAULTS = (
    ((upstream_worker, "emitter"),),
    ((StatsWorker, "_begin"),),
    ((upstream_worker, "watch_phases"), (upstream_worker.ObservedBuild, "end")),
    ((upstream_worker.ObservedBuild, "send"), (upstream_worker, "_finish")),
    ((upstream_builds.Phases, "enter"), (upstream_worker.ObservedBuild, "collect")),
    ((upstream_worker, "names_of"), (upstream_worker, "message_of")),
    ((Recorded, "build_started"), (Recorded, "build_finished")),
)


@pytest.mark.usefixtures("recorded")
def test_a_fault_in_statistics_changes_no_job(
    monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    def results() -> list[Any]:
        redis.flushall()
        jobs = [run(redis, kind) for kind in ("succeeds", "fails", "killed")]
        return [(job.get_status(), job.get_meta(), job.return_value()) for job in jobs]

    with monkeypatch.context() as nothing:
        nothing.setattr(upstream_worker, "emitter", lambda: None)
        expected = results()
    for faults in FAULTS:
        with monkeypatch.context() as faulty:
            for target, name in faults:
                faulty.setattr(target, name, broken)
            assert results() == expected, faults


def test_a_time_out_is_never_swallowed() -> None:
    """RQ raises it by a signal, also in our code."""

    with pytest.raises(JobTimeoutException), errors_logged(BaseTimeoutException):
        raise JobTimeoutException
