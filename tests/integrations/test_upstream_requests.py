"""The plug-in in upstream's API process: one event per build request."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
from fastapi.testclient import TestClient
from rq import Queue
from rq.job import JobStatus

from asu_stats.integrations import reporting, upstream_builds, upstream_requests
from tests.integrations import small_server

BODY = {"version": "24.10.2", "target": "ath79/generic", "profile": "tplink,archer-c7-v5"}


class Recorded:
    """An emitter that keeps what it is given."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.started: list[dict[str, Any]] = []
        self.finished: list[dict[str, Any]] = []

    def request(self, **arguments: Any) -> None:
        self.requests.append(arguments)

    def build_started(self, **arguments: Any) -> None:
        self.started.append(arguments)

    def build_finished(self, **arguments: Any) -> None:
        self.finished.append(arguments)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found = Recorded()
    monkeypatch.setattr(upstream_requests, "emitter", lambda: found)
    monkeypatch.setattr(upstream_requests, "request_later", at_once)
    return found


def at_once(emitter: Recorded, read: Callable[[], dict[str, Any] | None]) -> None:
    """Stand for `request_later`, which calls `read` in the background."""
    if found := read():
        emitter.request(**found)


@pytest.fixture(autouse=True)
def queues_as_they_were() -> Iterator[None]:
    names = ("enqueue", "fetch_job", "run_sync")
    before = {name: getattr(Queue, name) for name in names}
    yield
    for name, method in before.items():
        setattr(Queue, name, method)


def serving(queue: Queue) -> TestClient:
    app = small_server.create(queue)
    upstream_requests.observe(app)
    upstream_requests.observe(app)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def queue() -> Queue:
    return Queue(connection=fakeredis.FakeStrictRedis())


def test_outcomes_are_those_that_the_server_answered(recorded: Recorded, queue: Queue) -> None:
    client = serving(queue)

    def post(**further: Any) -> tuple[int, str, str | None]:
        status = client.post("/api/v1/build", json=BODY | further).status_code
        event = recorded.requests[-1]
        return status, event["outcome"], event["request_hash"]

    job_id = "tplink_archer-c7-v5".ljust(64, "0")
    assert post() == (202, "queued", job_id)
    assert post() == (202, "joined", job_id)
    job = queue.fetch_job(job_id)
    assert job is not None
    job.set_status(JobStatus.FINISHED)
    assert post() == (200, "cache_hit", job_id)
    assert recorded.requests[-1]["package_count"] == 0
    assert "packages" not in recorded.requests[-1]
    job.set_status(JobStatus.FAILED)
    assert post() == (500, "cached_failure", job_id)
    job.set_status(JobStatus.STOPPED)
    assert post() == (500, "rejected", job_id)
    assert post(version="1.0", packages=["x"]) == (400, "rejected", None)
    assert recorded.requests[-1]["error_message"] == "Unsupported version: 1.0"
    for number in range(4):
        post(packages=[str(number)])
    assert post(packages=["y"]) == (529, "rejected", None)
    assert recorded.requests[-1]["error_message"].startswith("server overload")

    count = len(recorded.requests)
    client.post("/api/v1/build", json={"version": "24.10.2"})
    client.post("/api/v1/build", content=b"not JSON")
    client.get(f"/api/v1/build/{job_id}")
    assert len(recorded.requests) == count


def test_properties_and_clients_are_read_as_upstream_reads_them(
    recorded: Recorded, queue: Queue
) -> None:
    client = serving(queue)
    client.post(
        "/api/v1/build",
        json=BODY
        | {
            "packages_versions": {"+luci": "1", "vim": "2"},
            "packages": ["ignored"],
            "diff_packages": "true",
            "defaults": "echo",
            "rootfs_size_mb": "256",
            "repositories": {"mine": "https://example.org"},
        },
        headers={"User-Agent": "auc (0.3.2-1)"},
    )
    event = recorded.requests[0]
    del event["time"], event["request_hash"]
    assert event == {
        "outcome": "queued",
        "client": "auc/0.3.2-1",
        "version": "24.10.2",
        "target": "ath79/generic",
        "profile": "tplink,archer-c7-v5",
        "diff_packages": True,
        "packages": ["luci", "vim"],
        "package_count": 2,
        "has_custom_repos": True,
        "has_defaults": True,
        "rootfs_size_mb": 256,
    }
    client.post("/api/v1/build", json=BODY, headers={"User-Agent": "Mozilla"})
    client.post("/api/v1/build", json=BODY | {"client": "luci/1"}, headers={"User-Agent": "auc"})
    assert [each["client"] for each in recorded.requests[1:]] == ["unknown/0", "luci/1"]
    assert recorded.requests[1]["diff_packages"] is False


def test_builds_within_the_request(recorded: Recorded) -> None:
    client = serving(Queue(connection=fakeredis.FakeStrictRedis(), is_async=False))
    assert client.post("/api/v1/build", json=BODY).status_code == 200
    assert client.post("/api/v1/build", json=BODY).status_code == 200
    failing = BODY | {"packages": ["zz-missing"]}
    assert client.post("/api/v1/build", json=failing).status_code == 500
    assert client.post("/api/v1/build", json=failing).status_code == 500

    outcomes = [each["outcome"] for each in recorded.requests]
    assert outcomes == ["queued", "cache_hit", "queued", "cached_failure"]
    assert [each["build_id"] for each in recorded.started] == [
        each["build_id"] for each in recorded.finished
    ]
    good, bad = recorded.finished
    assert (good["status"], set(good["phases"])) == (
        "success",
        {"init", "container_setup", "building_image"},
    )
    assert bad["status"] == "failure"
    assert bad["error_message"].startswith("Error: Impossible package selection")
    assert bad["profile"] == "tplink_archer-c7-v5"


def test_a_fault_in_statistics_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, recorded: Recorded
) -> None:
    def play(*, observed: bool) -> list[Any]:
        queue = Queue(connection=fakeredis.FakeStrictRedis(), is_async=False)
        app = small_server.create(queue)
        if observed:
            upstream_requests.observe(app)
        client = TestClient(app, raise_server_exceptions=False)
        bodies = [BODY, BODY, BODY | {"packages": ["zz-missing"]}, BODY | {"version": "1"}, {}]
        bodies.append(BODY | {"packages": ["zz-missing"]})
        responses = [client.post("/api/v1/build", json=body) for body in bodies]
        moment = re.compile(rb'"enqueued_at":"[^"]*"')
        return [
            (each.status_code, dict(each.headers), moment.sub(b"", each.content))
            for each in responses
        ]

    expected = play(observed=False)
    assert play(observed=True) == expected

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    for name in ("request", "build_started", "build_finished"):
        monkeypatch.setattr(recorded, name, broken)
    assert play(observed=True) == expected
    for module, name in (
        (upstream_requests, "report"),
        (upstream_requests, "event_of"),
        (upstream_requests, "outcome_of"),
        (upstream_requests.Exchange, "add"),
        (upstream_requests, "_fetched"),
        (upstream_requests, "_enqueued"),
        (upstream_builds, "watch_phases"),
        (upstream_builds, "names_of"),
        (upstream_builds.Phases, "enter"),
        (upstream_builds.Phases, "seconds"),
        (upstream_requests, "observe_jobs"),
        (upstream_requests, "emitter"),
    ):
        monkeypatch.setattr(module, name, broken)
        assert play(observed=True) == expected, name


def test_without_settings_it_says_so_once_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, queue: Queue
) -> None:
    monkeypatch.setattr(upstream_requests, "emitter", reporting.emitter)
    monkeypatch.setenv("ASU_STATS_REMOTE_URL", "http://127.0.0.1:1")
    for name in ("ASU_STATS_TOKEN", "ASU_STATS_SPOOL_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    reporting.emitter.cache_clear()
    try:
        app = small_server.create(queue)
        upstream_requests.observe(app)
        upstream_requests.observe(app)
    finally:
        reporting.emitter.cache_clear()
    assert app.user_middleware == []
    assert [record.message for record in caplog.records] == [
        "asu-stats: no events are sent: set ASU_STATS_TOKEN, ASU_STATS_SPOOL_DIRECTORY"
    ]


def test_a_large_request_is_not_kept(recorded: Recorded, queue: Queue) -> None:
    """Small ones are kept by reference until the background thread reads them."""
    client = serving(queue)
    packages = [f"package-{number}" for number in range(5_000)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream_requests, "request_later", lambda *_: pytest.fail("kept"))
        client.post("/api/v1/build", json=BODY | {"packages": packages})

    assert recorded.requests[0]["packages"] == packages[:2_000]
    assert recorded.requests[0]["package_count"] == 5_000
