"""Mixed load on a real server for a long time: does anything grow, and are the figures right?

    MINUTES=60 DATABASE=sqlite python -m tests.soak_server

Events, reports, CSV, live sockets and builds of the demo builder arrive at half of the rate that
the server takes at most, which is measured first. Retention moves details into files every minute;
blocks are packed and alerts evaluated as ever. Memory, file handles, log, WAL and the slowest
responses are sampled. At the end every figure must be that of a plain count of the events.
"""

import contextlib
import itertools
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.verification import verify
from tests import processes, servers, soak_memory
from tests.api.test_live_server import _exactly, listening
from tests.soak_memory import Memory
from tests.support import TOKEN, build, request

MINUTES: Final = float(os.environ.get("MINUTES", "60"))
DATABASE: Final = os.environ.get("DATABASE", "sqlite")
_BATCH: Final = 6  # requests, of which two have a build: ten events
_EVENTS: Final = 10
_SENDERS, _READERS, _SOCKETS = 3, 2, 8
_MEASURED_SECONDS: Final = min(20.0, MINUTES * 6)
_SAMPLE_SECONDS: Final = 5.0
_DAYS: Final = 120
_REPORTS: Final = (
    *("overview?days=30", "versions?days=365", "targets?days=30", "clients?days=30"),
    *("errors?days=30", "performance?days=30", "timeseries?days=30", "packages?days=30"),
    *("versions?days=7&format=csv", "now", "insights/failures?days=30", "insights/queue?days=7"),
)
_MIB: Final = 1 << 20
_MEMORY: Final = "memory.json"


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
        self.batches = self.reads = self.messages = 0
        self.failures: Counter[str] = Counter()  # by what failed
        self.took: dict[str, list[float]] = {"events": [], "reports": [], "builds": []}
        self._port = port
        self._numbers = itertools.count()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._due = time.monotonic()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[HTTPConnection, random.Random], None], count: int) -> None:
        for number in range(count):
            thread = threading.Thread(target=self._run, args=(work, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _run(self, work: Callable[[HTTPConnection, random.Random], None], seed: int) -> None:
        connection, rng = HTTPConnection("127.0.0.1", self._port, timeout=60), random.Random(seed)
        while not self._stop.is_set():
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


def _text_came(connection: socket.socket) -> bool:
    """Read one frame of the server (RFC 6455 §5.2); tell whether it is a text, and no ping."""
    first, length = _exactly(connection, 2)
    if length == 126:
        length = int.from_bytes(_exactly(connection, 2))
    _exactly(connection, length)
    return first == 0x81


def _events(number: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    moment = datetime.now(UTC) - timedelta(seconds=rng.randrange(60, _DAYS * 86_400))
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


@dataclass(frozen=True)
class Sample:
    """What is measured at a moment; `memory_mib` is without the parts that have a limit."""

    seconds: float
    memory_mib: float
    handles: int
    log_kib: float
    wal_mib: float
    p99_events_ms: float
    p99_reports_ms: float
    memory: Memory = soak_memory.NOTHING


def _sample(pid: int, began: float, directory: Path, load: Load) -> Sample:
    taken = {}
    for kind in load.took:
        taken[kind], load.took[kind] = sorted(load.took[kind]), []
    wal = directory / "stats.db-wal"

    def p99(kind: str) -> float:
        found = taken[kind]
        return found[len(found) * 99 // 100] * 1000 if found else 0.0

    memory = soak_memory.read(directory / _MEMORY)
    return Sample(
        time.monotonic() - began,
        memory.other,
        len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 - it is no directory of files
        _log_bytes(directory / "log.txt") / 1024,
        wal.stat().st_size / _MIB if wal.exists() else 0.0,
        p99("events"),
        p99("reports"),
        memory,
    )


# A build writes two lines, its request one.
_LINE_OF_BUILD: Final = re.compile(rb"^.*builds: .* hash=.*\n", re.MULTILINE)


def _log_bytes(file: Path) -> int:
    """Return the size of a log without the lines of builds: these grow with the load."""
    return len(_LINE_OF_BUILD.sub(b"", file.read_bytes()))


# What a value may gain in the second half, as a share of its middle and in its own unit.
_ALLOWED: Final = {
    "memory_mib": (0.03, 4),
    "handles": (0.0, 4),
    "log_kib": (0.0, 64),
    "wal_mib": (0.25, 64),
    "p99_events_ms": (0.5, 50),
    "p99_reports_ms": (0.5, 50),
}


def _slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the median of the slopes between two values each, by Theil and Sen.

    What grows raises all values. Responses that need memory for a moment, or a machine that does
    something else, raise a few: with least squares, these would decide at the ends.
    """
    points = itertools.combinations(zip(times, values, strict=True), 2)
    return statistics.median((b - a) / (later - time) for (time, a), (later, b) in points)


def report(samples: Sequence[Sample]) -> bool:
    """Print a table of the values, and return whether all are flat by their slope."""
    flat = True
    late = samples[len(samples) // 2 :]  # caches fill first
    times = [each.seconds for each in late]
    sys.stdout.write(f"{'':16}{'first':>10}{'median':>10}{'most':>10}{'per hour':>11}\n")
    for name, (share, more) in _ALLOWED.items():
        values = [float(getattr(each, name)) for each in late]
        slope = _slope(times, values)
        middle = statistics.median(values)
        ok = slope * (times[-1] - times[0]) <= middle * share + more
        flat = flat and ok
        words = "flat" if ok else "NOT FLAT"
        sys.stdout.write(
            f"{name:16}{values[0]:10.1f}{middle:10.1f}{max(values):10.1f}"
            f"{slope * 3600:+11.1f}  {words}\n"
        )
    return _report_memory([each.memory for each in late]) and flat


# What parts of the memory may have at most: see the limits in docs/reliability.md.
_MOST_MIB: Final = {
    "caches": 64 * 3 + 16 + 32 + 4 + 16 + 310,
    "sqlite": 16 * 16 + 64,
    "free": 16 + 16 * 16 + 64,  # also holes where pages of SQLite were
}


def _report_memory(memory: Sequence[Memory]) -> bool:
    """Print all private memory and the parts with a limit; return whether these are within it."""
    within = True
    for name in Memory._fields:
        values = [float(getattr(each, name)) for each in memory]
        most = _MOST_MIB.get(name, float("inf"))
        within = within and max(values) <= most
        words = "" if most == float("inf") else f"of {most}" if max(values) <= most else "TOO MUCH"
        sys.stdout.write(
            f"  {name:14}{values[0]:10.1f}{statistics.median(values):10.1f}{max(values):10.1f}"
            f"{'':11}  {words}\n"
        )
    return within


def differences(port: int, truth: Truth) -> list[str]:
    """Compare the server's figures with the plain count."""
    today = datetime.now(UTC).date()
    window = f"start={today - timedelta(days=_DAYS + 2)}&end={today}"

    def get(path: str) -> Any:
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        with closing(connection):
            connection.request("GET", f"/api/v1/stats/{path}?{window}")
            return json.load(connection.getresponse())

    mine = ("soak",)
    clients = {row["client"]: row["total_requests"] for row in get("clients")}
    kinds = [row for each in get("errors")["by_category"] for row in each["top_errors"]]
    errors = Counter({row["type"]: row["count"] for row in kinds})
    versions = Counter({row["version"]: row["requests"] for row in get("versions")})
    own = sum(clients.pop(name, 0) for name in mine)  # of the build service
    versions["24.10.2"] -= own
    found = []
    if get("overview")["totals"]["requests"] != truth.totals["requests"] + own:
        found.append("requests")
    if clients != truth.clients:
        found.append("clients")
    if versions != truth.versions:
        found.append("versions")
    if {name: errors[name] for name in truth.errors} != truth.errors:
        found.append("errors")
    return found


@contextlib.contextmanager
def database(directory: Path) -> Iterator[str]:
    if DATABASE == "sqlite":
        yield f"sqlite:///{directory / 'stats.db'}"
        return
    with servers.primary() as server:
        engine = engines.create(server.url())
        migrate.upgrade(engine)
        engine.dispose()
        yield server.url()


def run(directory: Path, url: str) -> bool:
    port = processes.free_port()
    variables = {
        "ASU_STATS_ARCHIVE": "csv.gz",
        "ASU_STATS_ARCHIVE_DIRECTORY": str(directory / "archive"),
        **{f"ASU_STATS_{name}_DAYS": "30" for name in ("BUILD_METRICS", "CLIENT_STATS")},
        "ASU_STATS_ERROR_STATS_DAYS": "30",
    }
    load, samples = Load(port), list[Sample]()
    arguments = ("serve", "--port", str(port), "--builder", "demo")
    variables["PYTHONPATH"] = str(Path(__file__).parents[1])
    first = f"from tests import soak_memory; soak_memory.start({str(directory / _MEMORY)!r})"
    with processes.executed(directory, url, *arguments, first=first, **variables) as server:
        processes.wait_ready(port)
        load.start(load.send, _SENDERS)
        time.sleep(_MEASURED_SECONDS)
        load.rate = load.batches / _MEASURED_SECONDS / 2
        sys.stdout.write(
            f"{DATABASE}: {load.batches * _EVENTS / _MEASURED_SECONDS:.0f} events/s at most; half "
            f"of it for {MINUTES:g} minutes\n"
        )
        load.start(load.read, _READERS)
        load.start(load.build, 1)
        load.start(load.listen, _SOCKETS)
        began, retained = time.monotonic(), 0
        running: subprocess.Popen[bytes] | None = None
        while (passed := time.monotonic() - began) < MINUTES * 60:
            time.sleep(_SAMPLE_SECONDS)
            samples.append(_sample(server.pid, began, directory, load))
            if passed // 60 >= retained and (running is None or running.poll() is not None):
                retained += 1
                running = _retain(directory, url, variables)
        load.stop()
        if running is not None:
            running.wait()
        time.sleep(3)
        wrong = differences(port, load.truth)
    flat = report(samples)
    engine = engines.create(url)
    segments.keep_in(engine, directory / "archive")
    wrong += map(str, verify.differences(engine))
    engine.dispose()
    totals = load.truth.totals
    sys.stdout.write(
        f"{totals['requests']:,} requests and {totals.total() - totals['requests']:,} builds sent, "
        f"{load.reads:,} reports, {load.messages:,} live messages, {dict(load.failures)} failed; "
        f"figures: {wrong or 'those of the events'}\n"
    )
    return flat and not wrong and not load.failures


def _retain(directory: Path, url: str, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*processes.COMMAND, "retention", "run"],
        env={**processes.environment(directory, url), **variables},
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="asu-stats-soak-") as place:
        directory = Path(place)
        with database(directory) as url:
            return int(not run(directory, url))


if __name__ == "__main__":
    sys.exit(main())
