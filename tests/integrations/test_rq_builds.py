"""`asu-stats import redis --follow`: builds from RQ, with real workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue, Worker, get_current_job
from rq.job import Job

from asu_stats.event_times import OLDEST_EVENT, Acceptable
from asu_stats.events import BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.rq_builds import RqBuilds
from asu_stats.importers.sending import Sender
from asu_stats.times import utc_now


@dataclass
class BuildRequest:
    distro: str = "openwrt"
    version: str = "24.10.2"
    version_code: str = ""
    target: str = "x86/64"
    profile: str = "generic"
    packages: list[str] = field(default_factory=lambda: ["+luci", "-ppp"])
    packages_versions: dict[str, str] = field(default_factory=dict)
    diff_packages: bool = True
    defaults: str | None = "echo ', client='"
    client: str | None = "luci/25.1"


def build(request: BuildRequest) -> dict[str, Any]:
    job = get_current_job()
    assert job is not None
    if "fails" in job.id:
        raise RuntimeError("Impossible package selection: missing (zz)")
    if "killed" in job.id:
        os.kill(os.getpid(), signal.SIGKILL)
    if "long" in job.id:
        time.sleep(30)
    return {"id": request.profile}


def run(redis: Redis, *names: str) -> None:
    queue = Queue(connection=redis)
    for name in names:
        queue.enqueue(build, BuildRequest(), job_id=name, job_timeout=1)
    Worker([queue], connection=redis, name="w1").work(burst=True)


@dataclass
class Follower:
    builds: RqBuilds
    sender: Sender
    events: list[Event]

    def read(self) -> list[Event]:
        before = len(self.events)
        self.builds.read(self.sender, requests=True)
        return self.events[before:]


@pytest.fixture
def follower(redis: Redis, tmp_path: Path) -> Follower:
    summary, events = Summary(), list[Event]()

    def commit(batch: Any) -> int:
        events.extend(batch)
        return len(batch)

    rejected = Rejected(tmp_path / "rejected")
    builds = RqBuilds(redis, "test", summary, rejected, lambda: Acceptable(utc_now(), OLDEST_EVENT))
    return Follower(builds, Sender(commit, summary), events)


def test_builds_are_complete_and_nothing_foreign_is_unpickled(
    redis: Redis, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(redis, "good", "fails", "killed", "long")
    with monkeypatch.context() as without:
        for name in ("load", "loads", "Unpickler"):
            without.setattr(f"pickle.{name}", None)
        events = follower.read()

    finished = {each.request_hash: each for each in events if isinstance(each, BuildFinished)}
    assert {name: each.status for name, each in finished.items()} == {
        "good": "success",
        "fails": "failure",
        "killed": "failure",
        "long": "timeout",
    }
    assert {each.error_type for each in finished.values()} == {
        None,
        "package_not_found",
        "worker_lost",
        "build_timeout",
    }
    started = {each.request_hash: each for each in events if isinstance(each, BuildStarted)}
    for name, end in finished.items():
        assert started[name].build_id == end.build_id
        assert started[name].time <= end.time
        assert end.names.version == "24.10.2"
        assert end.names.diff_packages is True
        assert end.worker_id in {"w1", None}
    requests = [each for each in events if isinstance(each, RequestReceived)]
    assert Counter(each.outcome for each in requests) == {"queued": 4}
    assert {each.request_hash for each in requests} == set(finished)
    assert {(each.client, each.packages) for each in requests} == {("luci", ("luci", "-ppp"))}
    assert follower.read() == []


def test_an_execution_after_another_is_one_more_build(redis: Redis, follower: Follower) -> None:
    run(redis, "good")
    first = follower.read()
    job = Job.fetch("good", connection=redis)
    Queue(connection=redis).enqueue_job(job)
    Worker([Queue(connection=redis)], connection=redis).work(burst=True)
    second = follower.read()
    builds = [each.build_id for each in (*first, *second) if isinstance(each, BuildFinished)]
    assert len(set(builds)) == 2


def test_the_command_follows_until_it_is_stopped(
    redis: Redis, redis_server: Path, tmp_path: Path
) -> None:
    run(redis, "good")
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from asu_stats.cli import main; main()", "import", "redis"),
            *(f"unix://{redis_server}", "--follow", "--json", "--database", "sqlite:///s.db"),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )

    def builds() -> int:
        query = ["export", "build_metrics", "--format", "ndjson", "--database", "sqlite:///s.db"]
        found = subprocess.run(
            [sys.executable, "-c", "from asu_stats.cli import main; main()", *query],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            text=True,
        )
        return len(found.stdout.splitlines())

    deadline = time.monotonic() + 60
    while builds() < 1:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert json.loads(said)["kinds"] == {
        "build.finished": 1,
        "build.started": 1,
        "request.received": 1,
    }
