"""Writes files like a Go server, with the true history for comparison."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

SCHEMA = """
    CREATE TABLE build_requests (request_hash TEXT PRIMARY KEY, distro TEXT NOT NULL,
        version TEXT NOT NULL, target TEXT NOT NULL, profile TEXT NOT NULL, packages TEXT,
        packages_versions TEXT, defaults TEXT, rootfs_size_mb INTEGER, repositories TEXT,
        repository_keys TEXT, diff_packages BOOLEAN, client TEXT, created_at TIMESTAMP);
    CREATE TABLE build_jobs (id INTEGER PRIMARY KEY, request_hash TEXT, status TEXT,
        started_at TIMESTAMP, finished_at TIMESTAMP, build_cmd TEXT, manifest TEXT,
        error_message TEXT, worker_id TEXT, queue_position INTEGER);
    CREATE TABLE build_results (request_hash TEXT PRIMARY KEY, images TEXT, manifest TEXT,
        build_at TIMESTAMP, cache_hit BOOLEAN, build_duration_seconds INTEGER);
    CREATE TABLE build_stats (id INTEGER PRIMARY KEY, timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        event_type TEXT NOT NULL, version TEXT, target TEXT, profile TEXT,
        duration_seconds INTEGER, diff_packages BOOLEAN);
    CREATE TABLE metadata_cache (key TEXT PRIMARY KEY, value TEXT);
    CREATE INDEX idx_build_stats_timestamp ON build_stats(timestamp);
    CREATE INDEX idx_build_stats_event_type ON build_stats(event_type);
    CREATE INDEX idx_build_jobs_request_hash ON build_jobs(request_hash);
    CREATE INDEX idx_build_jobs_status ON build_jobs(status);
"""
START = datetime(2026, 3, 27, 20, tzinfo=UTC)
DEVICES = [
    ("24.10.4", "ath79/generic", "tplink_archer-c7-v5"),
    ("24.10.4", "x86/64", "generic"),
    ("23.05.5", "x86/64", "generic"),
    ("SNAPSHOT", "mediatek/filogic", "glinet_gl-mt6000"),
]
ZONES = [(0, "UTC"), (60, "CET"), (120, "CEST"), (-180, "-03"), (345, "+0545")]
Clock = Callable[[datetime], str]


def go_time(moment: datetime, minutes: int, zone: str, monotonic: float | None = None) -> str:
    """`time.String()`: fraction without trailing zeros, and `m=` where the process has a clock."""
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    fraction = f".{local.microsecond:06}".rstrip("0").rstrip(".")
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
    tail = "" if monotonic is None else f" m={monotonic:+.9f}"
    return f"{local:%Y-%m-%d %H:%M:%S}{fraction} {offset} {zone}{tail}"


def plain(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class Happened:
    """A row of `build_stats` as it was meant: with an instant, hash and client."""

    at: datetime
    kind: str
    version: str | None
    target: str | None
    profile: str | None
    seconds: int | None
    diff: bool | None
    request_hash: str = ""
    client: str = ""


@dataclass(slots=True)
class GoHistory:
    """Days of a server, made up from `seed`; `write` makes the file."""

    seed: int
    clocks: int = 3
    happened: list[Happened] = field(default_factory=list)
    requests: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    results: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)
    rng: random.Random = field(init=False)
    now: datetime = START

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def clock(self, moment: datetime) -> str:
        """Write a time in one of the formats."""
        kind = self.rng.randrange(self.clocks)
        if kind == 0:
            return plain(moment)
        if kind == 1:
            minutes, zone = self.rng.choice(ZONES)
            return go_time(moment, minutes, zone, self.rng.choice((None, 12.3456, -0.25)))
        return iso(moment)

    def run(self, steps: int) -> "GoHistory":
        """Let things happen."""
        waiting: list[str] = []
        for _ in range(steps):
            self.now += timedelta(microseconds=self.rng.randrange(1, 3_000_000_000))
            choice = self.rng.random()
            if choice < 0.45:
                waiting.append(self._request())
            elif choice < 0.75 and waiting:
                self._finish(waiting.pop(self.rng.randrange(len(waiting))))
            elif choice < 0.9 and self.results:
                self._hit(self.rng.choice(self.built))
            elif choice < 0.95 and waiting:
                waiting.pop()  # a restart: the job stays as it is for ever
            else:
                self._foreign()
        return self

    def _stat(self, kind: str, request_hash: str, at: datetime, seconds: int = 0) -> None:
        row = self.requests[request_hash]
        diff: bool | None = row[11]
        client = row[12] or "unknown"
        names = row[2], row[3], row[4]
        self.happened.append(Happened(at, kind, *names, seconds, diff, request_hash, client))

    def _request(self) -> str:
        rng, now = self.rng, self.now
        failed = [job["request_hash"] for job in self.jobs[-40:] if job["status"] == "failed"]
        if failed and rng.random() < 0.3:
            request_hash = str(rng.choice(failed))
        else:
            request_hash = f"{rng.getrandbits(256):064x}"
            version, target, profile = rng.choice(DEVICES)
            packages = rng.sample(["luci", "luci-ssl", "wpad", "-dnsmasq", "tcpdump"], 3)
            self.requests[request_hash] = (
                *(request_hash, "openwrt", version, target, profile, json.dumps(packages), "{}"),
                *(rng.choice(("", "uci set x")), 0, "[]", "[]", rng.random() < 0.7),
                *(rng.choice(("", "luci/git-1", "owut/2026.1", "auc")), now),
            )
        job = {"request_hash": request_hash, "status": "pending", "finished": None, "text": None}
        self.jobs.append({**job, "started": None, "worker": None})
        self.attempts.setdefault(request_hash, []).append(self.jobs[-1])
        self._stat("request", request_hash, now + timedelta(milliseconds=rng.randrange(40)))
        return request_hash

    def _finish(self, request_hash: str) -> None:
        rng, end = self.rng, self.now
        good = rng.random() < 0.7
        seconds = rng.randrange(0, 400)
        text = None if good else rng.choice(("Impossible package selection: foo", "No space left"))
        said = {
            "status": "completed" if good else "failed",
            "started": end - timedelta(seconds=seconds, milliseconds=rng.randrange(1000)),
            "finished": end,
            "worker": f"w{rng.randrange(3)}",
            **({"text": text} if text else {}),
        }
        for job in self.attempts[request_hash]:  # updates go by hash: older attempts look alike
            job.update(said)
        if good:
            self.results[request_hash] = (request_hash, "[]", "{}", end, 0, seconds)
            self.built.append(request_hash)
        at = end + timedelta(milliseconds=rng.randrange(30))
        self._stat("build_completed" if good else "failure", request_hash, at, seconds * good)

    def _hit(self, request_hash: str) -> None:
        self._stat("cache_hit", request_hash, self.now)

    def _foreign(self) -> None:
        """A row that came in by another way: names or diff_packages may be null."""
        rng = self.rng
        kind = rng.choice(("request", "cache_hit", "build_completed", "failure"))
        version, target, profile = (rng.choice((None, name)) for name in rng.choice(DEVICES))
        seconds = rng.choice((None, 0, 17)) if kind == "build_completed" else 0
        diff = rng.choice((None, True, False))
        self.happened.append(Happened(self.now, kind, version, target, profile, seconds, diff))

    def write(self, path: Path, *, journal: str = "wal") -> Path:
        """Make the file."""
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA journal_mode = {journal}")
            database.executescript(SCHEMA)
            self.append(database, 0)
            for row in self.requests.values():
                values = (*row[:-1], self.clock(row[-1]))
                database.execute(f"INSERT INTO build_requests {_values(14)}", values)
            for row in self.results.values():
                values = (*row[:3], self.clock(row[3]), *row[4:])
                database.execute(f"INSERT INTO build_results {_values(6)}", values)
            for job in self.jobs:
                started, finished = (
                    self.clock(job[name]) if job[name] else None for name in ("started", "finished")
                )
                values = job["request_hash"], job["status"], started, finished
                columns = "request_hash, status, started_at, finished_at, error_message, worker_id"
                insert = f"INSERT INTO build_jobs ({columns}) {_values(6)}"
                database.execute(insert, (*values, job["text"], job["worker"]))
            database.commit()
        return path

    def append(self, database: sqlite3.Connection, first: int) -> None:
        """Write the rows of `build_stats` from place `first` on."""
        database.executemany(
            "INSERT INTO build_stats (timestamp, event_type, version, target, profile, "
            f"duration_seconds, diff_packages) {_values(7)}",
            (
                (self.clock(h.at), h.kind, h.version, h.target, h.profile, h.seconds, h.diff)
                for h in self.happened[first:]
            ),
        )
        database.commit()


def _values(count: int) -> str:
    return f"VALUES ({', '.join('?' * count)})"
