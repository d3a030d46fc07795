"""`kill -9` of a server under load: every acknowledged event is stored once."""

import json
import os
import random
import threading
import urllib.request
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from asu_stats.store.verification import verify
from tests import processes
from tests.support import TOKEN, CloudEvent, build, request

KILLS = int(os.environ.get("KILLS", "8"))
WINDOW = {"start": "2026-08-01", "end": "2026-08-31"}


class Senders:
    """Threads that send events, and remember what was acknowledged and what is unsure."""

    def __init__(self, port: int, count: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.acknowledged: dict[str, CloudEvent] = {}
        self.unsure: list[list[CloudEvent]] = []
        self.duplicates = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def send(self, batch: list[CloudEvent]) -> bool:
        body = json.dumps(batch).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        post = urllib.request.Request(f"{self.url}/api/v1/stats/events", body, headers)
        try:
            with urllib.request.urlopen(post, timeout=60) as answer:
                counts = json.load(answer)
        except (HTTPException, OSError, ValueError):  # an answer that broke off is none
            return False
        with self._lock:
            self.duplicates += counts["duplicates"]
            self.acknowledged |= {event["id"]: event for event in batch}
        return True

    def _run(self, number: int) -> None:
        rng = random.Random(number)
        while not self._stop.is_set():
            batch = _batch(rng)
            if not self.send(batch):
                with self._lock:
                    self.unsure.append(batch)
                self._stop.wait(0.25)  # the server takes seconds to come back
            elif rng.random() < 0.1:
                self.send(batch)


def _batch(rng: random.Random) -> list[CloudEvent]:
    events: list[CloudEvent] = []
    size = rng.choice((1, 1, 5, 50))
    while len(events) < size:
        day = datetime(2026, 8, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(30 * 86400))
        request_hash = f"hash-{rng.randrange(400)}"
        events.append(request(request_hash, day, client=f"client{rng.randrange(5)}/1"))
        if rng.random() < 0.5:
            events += build(request_hash, rng.choice(("success", "failure")), end=day)
    rng.shuffle(events)
    return events


def ask(url: str, question: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in WINDOW.items())
    with urllib.request.urlopen(f"{url}/api/v1/stats/{question}?{query}", timeout=60) as answer:
        return json.load(answer)


@pytest.mark.crash
@pytest.mark.timeout(1200)
def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(tmp_path: Path) -> None:
    port = processes.free_port()
    url = f"sqlite:///{tmp_path / 'stats.db'}"
    arguments = ("serve", "--port", str(port), "--builder", "none")
    rng = random.Random(1)
    server = processes.start(tmp_path, url, *arguments)
    processes.wait_ready(port)
    senders = Senders(port, 6)
    try:
        for _ in range(KILLS):
            senders._stop.wait(rng.uniform(0.05, 1.0))
            processes.kill(server)
            server = processes.start(tmp_path, url, *arguments)
            processes.wait_ready(port)
        senders.stop()
        assert senders.unsure, "no kill hit a batch on its way: the test shows nothing"
        for batch in senders.unsure:
            assert senders.send(batch)
        requests = sum(e["type"] == "asu.request.received" for e in senders.acknowledged.values())
        ended = sum(e["type"] == "asu.build.finished" for e in senders.acknowledged.values())
        totals = ask(senders.url, "overview")["totals"]
        assert totals["requests"] == requests
        assert totals["successful_builds"] + totals["failed_builds"] == ended
        assert senders.duplicates > 0
    finally:
        senders.stop()
        processes.kill(server)
    engine = engines.create(url)
    assert migrate.check(engine)
    assert list(verify.differences(engine)) == []
    engine.dispose()
