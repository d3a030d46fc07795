"""Mixed load on a real server for a long time: does anything grow, and are the figures right?

    MINUTES=60 DATABASE=sqlite python -m tests.soak_server

Events, reports, CSV, live sockets and builds of the demo builder arrive at half of the rate that
the server takes at most, which is measured first; Chromium looks at all pages in turn. Reports on
PostgreSQL come from a streaming replica. Retention moves details into files every minute; blocks
are packed and alerts evaluated as ever. Memory, file handles, log, WAL and the slowest responses
are sampled. At the end every figure must be that of a plain count of the events.
"""

import contextlib
import glob
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, NamedTuple

from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.verification import verify
from tests import processes, servers, soak_memory
from tests.browser import chromium
from tests.soak_load import DAYS, EVENTS, Load, Truth
from tests.soak_memory import Memory

MINUTES: Final = float(os.environ.get("MINUTES", "60"))
DATABASE: Final = os.environ.get("DATABASE", "sqlite")
_SENDERS, _READERS, _SOCKETS = 3, 2, 8
_MEASURED_SECONDS: Final = min(20.0, MINUTES * 6)
_SAMPLE_SECONDS: Final = 5.0
_RESTS: Final = 11  # moments without load, besides the end
_REST_SECONDS: Final = 15.0
_MIB: Final = 1 << 20
_MEMORY: Final = "memory.json"


class Database(NamedTuple):
    """A database, and the variables of the server for its replica, if it has one."""

    url: str
    wal: str  # pattern of its files
    variables: dict[str, str]
    catch_up: Callable[[], None]  # waits until the replica has everything


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
    p99_pages_ms: float = 0.0
    memory: Memory = soak_memory.NOTHING


def _sample(pid: int, began: float, directory: Path, of: Database, load: Load) -> Sample:
    taken = {}
    for kind in load.took:
        taken[kind], load.took[kind] = sorted(load.took[kind]), []

    def p99(kind: str) -> float:
        found = taken[kind]
        return found[len(found) * 99 // 100] * 1000 if found else 0.0

    memory = soak_memory.read(directory / _MEMORY)
    return Sample(
        time.monotonic() - began,
        memory.other,
        len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 - it is no directory of files
        _log_bytes(directory / "log.txt") / 1024,
        _bytes(of.wal) / _MIB,
        p99("events"),
        p99("reports"),
        p99("pages"),
        memory,
    )


def _bytes(pattern: str) -> int:
    """Return the size of files together; some may go meanwhile."""
    sizes = 0
    for name in glob.glob(pattern):  # noqa: PTH207 - the pattern is absolute
        with contextlib.suppress(FileNotFoundError):
            sizes += Path(name).stat().st_size
    return sizes


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
    "p99_pages_ms": (0.5, 250),  # a page in five seconds
}


def _slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the median of the slopes between two values each, by Theil and Sen.

    What grows raises all values. Responses that need memory for a moment, or a machine that does
    something else, raise a few: with least squares, these would decide at the ends.
    """
    points = itertools.combinations(zip(times, values, strict=True), 2)
    return statistics.median((b - a) / (later - time) for (time, a), (later, b) in points)


def report(samples: Sequence[Sample], rests: Sequence[Sample]) -> bool:
    """Print a table of the values, and return whether all are flat by their slope.

    Memory is judged while the server rests: requests need more the more days they find changed,
    and the more of them run at once. What grows without an end stays when they have ended.
    """
    flat = True
    late = samples[len(samples) // 2 :]  # caches fill first
    sys.stdout.write(f"{'':16}{'first':>10}{'median':>10}{'most':>10}{'per hour':>11}\n")
    for name, (share, more) in _ALLOWED.items():
        of = rests[len(rests) // 2 :] if name == "memory_mib" else late
        times = [each.seconds for each in of]
        values = [float(getattr(each, name)) for each in of]
        slope = _slope(times, values)
        middle = statistics.median(values)
        ok = slope * (times[-1] - times[0]) <= middle * share + more
        flat = flat and ok
        words = "flat" if ok else "NOT FLAT"
        sys.stdout.write(
            f"{name:16}{values[0]:10.1f}{middle:10.1f}{max(values):10.1f}"
            f"{slope * 3600:+11.1f}  {words}\n"
        )
    sys.stdout.write("under load, MiB\n")
    return _report_memory([each.memory for each in late]) and flat


# What parts of the memory may have at most: see the limits in docs/reliability.md.
_MOST_MIB: Final = {
    "caches": 64 * 3 + 16 + 32 + 4 + 16 + 310,
    "sqlite": 16 * 16 + 64,
    "free": 16 + 16 * 16 + 64,  # also holes where pages of SQLite were
    "other": 256,  # half of what docs/scaling.md plans for a server
}


def _report_memory(memory: Sequence[Memory]) -> bool:
    """Print all private memory, parts with a limit and the rest; return whether they keep it."""
    within = True
    for name in (*Memory._fields, "other"):
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
    window = f"start={today - timedelta(days=DAYS + 2)}&end={today}"

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
def database(directory: Path) -> Iterator[Database]:
    if DATABASE == "sqlite":
        file = directory / "stats.db"
        yield Database(f"sqlite:///{file}", f"{file}-wal", {}, lambda: None)
        return
    with servers.pair() as (primary, standby):
        engine = engines.create(primary.url())
        migrate.upgrade(engine)
        engine.dispose()
        replica = {"ASU_STATS_READ_DATABASE_URL": standby.url()}
        catch_up = partial(servers.wait_for_standby, primary, standby)
        yield Database(primary.url(), f"{primary.data}/pg_wal/*", replica, catch_up)


def run(directory: Path, of: Database) -> bool:
    port, url = processes.free_port(), of.url
    variables = {
        **of.variables,
        "ASU_STATS_ARCHIVE": "csv.gz",
        "ASU_STATS_ARCHIVE_DIRECTORY": str(directory / "archive"),
        **{f"ASU_STATS_{name}_DAYS": "30" for name in ("BUILD_METRICS", "CLIENT_STATS")},
        "ASU_STATS_ERROR_STATS_DAYS": "30",
    }
    load, samples, rests = Load(port), list[Sample](), list[Sample]()
    arguments = ("serve", "--port", str(port), "--builder", "demo")
    variables["PYTHONPATH"] = str(Path(__file__).parents[1])
    first = f"from tests import soak_memory; soak_memory.start({str(directory / _MEMORY)!r})"
    with processes.executed(directory, url, *arguments, first=first, **variables) as server:
        processes.wait_ready(port)
        load.start(load.send, _SENDERS)
        time.sleep(_MEASURED_SECONDS)
        load.rate = load.batches / _MEASURED_SECONDS / 2
        sys.stdout.write(
            f"{DATABASE}: {load.batches * EVENTS / _MEASURED_SECONDS:.0f} events/s at most; half "
            f"of it for {MINUTES:g} minutes\n"
        )
        load.start(load.read, _READERS)
        load.start(load.build, 1)
        load.start(load.listen, _SOCKETS)
        if browser := chromium.find():
            load.browse(browser)
        else:
            sys.stdout.write("no Chromium on this system: nobody looks at pages\n")
        began, retained = time.monotonic(), 0
        running: subprocess.Popen[bytes] | None = None
        while (passed := time.monotonic() - began) < MINUTES * 60:
            if passed >= MINUTES * 60 * (len(rests) + 1) / (_RESTS + 1):
                with load.paused():
                    time.sleep(_REST_SECONDS)
                    rests.append(_sample(server.pid, began, directory, of, load))
            time.sleep(_SAMPLE_SECONDS)
            samples.append(_sample(server.pid, began, directory, of, load))
            if passed // 60 >= retained and (running is None or running.poll() is not None):
                retained += 1
                running = _retain(directory, url, variables)
        load.stop()
        if running is not None:
            running.wait()
        time.sleep(_REST_SECONDS)
        rests.append(_sample(server.pid, began, directory, of, load))
        of.catch_up()
        wrong = differences(port, load.truth)
    flat = report(samples, rests)
    engine = engines.create(url)
    segments.keep_in(engine, directory / "archive")
    wrong += map(str, verify.differences(engine))
    engine.dispose()
    totals = load.truth.totals
    sys.stdout.write(
        f"{totals['requests']:,} requests and {totals.total() - totals['requests']:,} builds sent, "
        f"{load.reads:,} reports ({load.of_replica:,} of the replica), {load.views:,} pages, "
        f"{load.messages:,} live messages, {dict(load.failures)} failed; "
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
        with database(directory) as of:
            return int(not run(directory, of))


if __name__ == "__main__":
    sys.exit(main())
