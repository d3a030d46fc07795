"""The load of `make soak-server`: threads that send, read, build, listen and look at pages."""

import contextlib
import itertools
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from playwright.sync_api import Error

from asu_stats.dashboard.view import PATHS
from tests.api.test_live_server import _exactly, listening
from tests.browser import chromium
from tests.browser.conftest import Watched
from tests.support import TOKEN, build, request

DAYS: Final = 120
_BATCH: Final = 6  # requests, of which two have a build: ten events
EVENTS: Final = 10
_PAGE_SECONDS: Final = 3.0
_REPORTS: Final = (
    *("overview?days=30", "versions?days=365", "targets?days=30", "clients?days=30"),
    *("errors?days=30", "performance?days=30", "timeseries?days=30", "packages?days=30"),
    *("versions?days=7&format=csv", "now", "insights/failures?days=30", "insights/queue?days=7"),
)


@dataclass
class Truth:
    """A plain count of all events that were acknowledged."""

    totals: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            data = event["data"]
            if event["type"] == "asu.request.received":
                self.totals["requests"] += 1
                self.versions[data["version"]] += 1
                self.clients[data["client"].partition("/")[0]] += 1
            elif event["type"] == "asu.build.finished":
                good = data["status"] == "success"
                self.totals["successful_builds" if good else "failed_builds"] += 1
                if not good:
                    self.errors[data["error_type"]] += 1


class Load:
    """Threads that send and read; `rate` limits the batches per second of all senders."""

    def __init__(self, port: int) -> None:
        self.truth = Truth()
        self.rate = float("inf")
        self.batches = self.reads = self.messages = self.views = 0
        self.of_replica = 0  # reports
        self.failures: Counter[str] = Counter()  # by what failed
        self.took: dict[str, list[float]] = {
            kind: [] for kind in ("events", "reports", "builds", "pages")
        }
        self._port = port
        self._numbers = itertools.count()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._works = threading.Event()
        self._works.set()
        self._due = time.monotonic()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[HTTPConnection, random.Random], None], count: int) -> None:
        for number in range(count):
            thread = threading.Thread(target=self._run, args=(work, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def browse(self, path: str) -> None:
        """Look at all pages in turn with Chromium, whose program is at `path`."""
        self._threads.append(threading.Thread(target=self._look, args=(path,), daemon=True))
        self._threads[-1].start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let all threads rest; what they wait for comes in meanwhile."""
        self._works.clear()
        try:
            yield
        finally:
            self._works.set()

    def stop(self) -> None:
        self._stop.set()
        self._works.set()
        for thread in self._threads:
            thread.join(120)

    def _run(self, work: Callable[[HTTPConnection, random.Random], None], seed: int) -> None:
        connection, rng = HTTPConnection("127.0.0.1", self._port, timeout=60), random.Random(seed)
        while not self._stop.is_set():
            if not self._works.is_set():
                connection.close()  # before the server does
                self._works.wait()
            try:
                work(connection, rng)
            except (HTTPException, OSError, AssertionError) as error:  # of a socket that ended
                self.failures[f"{work.__name__}: {error!r}"] += 1
                connection.close()
                time.sleep(0.5)

    def _ask(self, connection: HTTPConnection, kind: str, *arguments: Any) -> tuple[int, bytes]:
        began = time.monotonic()
        connection.request(*arguments)
        response = connection.getresponse()
        body = response.read()
        self.took[kind].append(time.monotonic() - began)
        self.of_replica += "X-Data-As-Of" in response.headers
        is_failed_build = response.status == 500 and b'"request_hash"' in body
        if response.status not in (200, 202) and not is_failed_build:
            self.failures[f"{kind}: {response.status}"] += 1
        return response.status, body

    def send(self, connection: HTTPConnection, rng: random.Random) -> None:
        with self._guard:
            self._due = max(self._due + 1 / self.rate, time.monotonic() - 1)
            pause = self._due - time.monotonic()
            numbers = [next(self._numbers) for _ in range(_BATCH)]
        if pause > 0:
            self._stop.wait(pause)
        events = [event for number in numbers for event in _events(number, rng)]
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        body = json.dumps(events)
        while True:  # what is not acknowledged is sent again
            with contextlib.suppress(HTTPException, OSError):
                path = "/api/v1/stats/events"
                status, _ = self._ask(connection, "events", "POST", path, body, headers)
                if status == 200:
                    break
            connection.close()
            time.sleep(0.2)
        with self._guard:
            self.batches += 1
            self.truth.add(events)

    def read(self, connection: HTTPConnection, rng: random.Random) -> None:
        self._stop.wait(rng.uniform(0, 0.2))
        self._ask(connection, "reports", "GET", f"/api/v1/stats/{rng.choice(_REPORTS)}")
        self.reads += 1

    def build(self, connection: HTTPConnection, rng: random.Random) -> None:
        self._stop.wait(1)
        wanted = {
            "version": "24.10.2",
            "target": "ath79/generic",
            "profile": f"device-{rng.randrange(10_000)}",
            "packages": ["luci"],
            "client": "soak/1",
        }
        headers = {"Content-Type": "application/json"}
        self._ask(connection, "builds", "POST", "/api/v1/build", json.dumps(wanted), headers)

    def listen(self, connection: HTTPConnection, _: random.Random) -> None:
        assert connection.port
        with listening(connection.port) as (_status, opened):
            for _turn in range(20):
                if self._stop.is_set():
                    return
                self.messages += _text_came(opened)

    def _look(self, path: str) -> None:
        with chromium.started(path) as browser:
            watched = Watched(browser.new_page(), f"http://127.0.0.1:{self._port}")
            for page in itertools.cycle(PATHS.values()):
                self._works.wait()
                if self._stop.wait(_PAGE_SECONDS):
                    return
                watched.complaints.clear()
                try:
                    began = time.monotonic()
                    watched.go(page)
                    self.took["pages"].append(time.monotonic() - began)
                except (Error, AssertionError) as error:
                    self.failures[f"{page}: {error!r}"] += 1
                for complaint in watched.complaints:
                    self.failures[f"{page}: {complaint}"] += 1
                self.views += 1


def _text_came(connection: socket.socket) -> bool:
    """Read one frame of the server (RFC 6455 §5.2); tell whether it is a text, and no ping."""
    first, length = _exactly(connection, 2)
    if length == 126:
        length = int.from_bytes(_exactly(connection, 2))
    _exactly(connection, length)
    return first == 0x81


def _events(number: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    moment = datetime.now(UTC) - timedelta(seconds=rng.randrange(60, DAYS * 86_400))
    names: dict[str, Any] = {
        "version": f"24.10.{number % 5}",
        "profile": f"device-{rng.randrange(300)}",
    }
    client = f"client{rng.randrange(8)}/{rng.randrange(3)}"
    packages = ["luci", f"p{number % 50}"]
    yield request(f"soak-{number}", moment, client=client, packages=packages, **names)
    if number % 3 == 0:
        error = {"error_type": f"type{number % 4}", "error_message": "No space left on device"}
        more: dict[str, Any] = error if number % 2 else {}
        status = "failure" if more else "success"
        yield from build(f"soak-{number}", status, end=moment, **names, **more)
