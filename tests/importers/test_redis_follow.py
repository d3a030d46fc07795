"""Following upstream with TimeSeries: requests from TimeSeries, builds from RQ."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from rq import Queue, SimpleWorker

from asu_stats.cli import importing
from asu_stats.event_times import OLDEST_EVENT
from asu_stats.events import BuildFinished, Event, RequestReceived
from asu_stats.importers import redis_server
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.sending import Sender
from asu_stats.times import utc_now
from tests.importers.test_redis import DEVICE, Upstream
from tests.integrations.test_rq_builds import BuildRequest, build


class Fake(Upstream):
    """The upstream server's Redis in this process: RQ and TimeSeries."""

    def __init__(self) -> None:
        self.client = fakeredis.FakeStrictRedis()

    def build(self, name: str) -> None:
        """Build, and count it as upstream does when a build ends."""
        queue = Queue(connection=self.client)
        queue.enqueue(build, BuildRequest(), job_id=name)
        SimpleWorker([queue], connection=self.client).work(burst=True)
        self.built(utc_now(), DEVICE, 61)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Fake:
    found = Fake()
    for module in (importing, redis_server):
        monkeypatch.setattr(module, "connect", lambda _: found.client)
    return found


@pytest.fixture
def followed(upstream: Fake, tmp_path: Path) -> "Followed":
    return Followed(upstream, tmp_path / "rejected.ndjson")


class Followed:
    """What the loop of `--follow` sends."""

    def __init__(self, upstream: Fake, rejected: Path) -> None:
        self.upstream = upstream
        self.events: list[Event] = []
        summary = Summary()
        self.loop = importing._RedisFollower(
            "redis://x",
            summary,
            Rejected(rejected),
            Sender(self._commit, summary),
            OLDEST_EVENT,
            None,
        )

    def _commit(self, events: Sequence[Event]) -> int:
        known = {event.id for event in self.events}
        new = [event for event in events if event.id not in known]
        self.events += new
        return len(new)

    def read(self, *, requests: bool = False) -> Counter[Any]:
        """Read once; return what was new."""
        before = len(self.events)
        self.loop._requests_at = 0.0 if requests else float("inf")
        self.loop.read()
        return Counter(
            event.outcome if isinstance(event, RequestReceived) else type(event).__name__
            for event in self.events[before:]
        )


def test_requests_come_from_the_series_and_builds_from_rq(followed: Followed) -> None:
    upstream, earlier = followed.upstream, utc_now() - timedelta(minutes=10)
    upstream.request(earlier)
    upstream.request(earlier + timedelta(seconds=9), hit=True)
    upstream.build("first")
    assert followed.read() == {"BuildStarted": 1, "BuildFinished": 1}
    assert followed.read(requests=True) == {"unknown": 1, "cache_hit": 1}

    upstream.built(earlier, DEVICE, 61)  # the series' word for a build that RQ has brought in
    upstream.request(earlier + timedelta(seconds=20))
    upstream.request(utc_now())  # not over yet: its samples may still come
    upstream.build("fails")
    assert followed.read(requests=True) == {"unknown": 1, "BuildStarted": 1, "BuildFinished": 1}
    assert followed.read(requests=True) == {}
    ended = [event for event in followed.events if isinstance(event, BuildFinished)]
    assert [(each.request_hash, each.status) for each in ended] == [
        ("first", "success"),
        ("fails", "failure"),
    ]


def test_without_series_the_requests_are_those_that_queued_a_build(followed: Followed) -> None:
    queue = Queue(connection=followed.upstream.client)
    queue.enqueue(build, BuildRequest(), job_id="only")
    SimpleWorker([queue], connection=followed.upstream.client).work(burst=True)
    assert followed.read() == {"queued": 1, "BuildStarted": 1, "BuildFinished": 1}
    assert followed.read(requests=True) == {}
