"""The plug-in in the real upstream server: every figure equals its responses.

    make upstream UPSTREAM=PATH [ARGS="--rq 3.0.0 --requests 200"]

Upstream runs unmodified with our entry points, two RQ workers, a real Redis and a stand-in for its
build function. 20 threads send requests of all kinds. Then each event is compared with the response
to its request, each build with the results that RQ kept, and the totals with both.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
import venv
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
SCRATCH: Final = ROOT / "build" / "upstream" / "run"
VERSIONS: Final = ("2.8.0", "2.10.0", "3.0.0")
TOKEN: Final = "campaign"  # noqa: S105
PROFILES: Final = ("tplink_archer-c7-v5", "8dev_carambola2", "glinet_gl-ar150", "netgear_ex6400")
_ONE: Final = {"profile": PROFILES[0], "diff_packages": True}
_GENERIC: Final = {
    "target": "x86/64",
    "profile": "innotek-gmbh-virtualbox",
    "packages_versions": {"luci": "1.2", "+zz-v": "3"},
}
DOWNLOADS: Final = {
    "/.versions.json": {
        "stable_version": "25.12.5",
        "oldstable_version": "24.10.2",
        "upcoming_version": "",
        "versions_list": ["25.12.5", "24.10.2"],
    },
    **{
        f"/releases/{version}/{path}": answer
        for version in ("25.12.5", "24.10.2")
        for path, answer in {
            ".targets.json": {"ath79/generic": "mips_24kc", "x86/64": "x86_64"},
            "targets/ath79/generic/profiles.json": {
                "profiles": {
                    name: {"supported_devices": [name.replace("_", ",", 1)]} for name in PROFILES
                }
            },
            "targets/x86/64/profiles.json": {"profiles": {"generic": {"supported_devices": []}}},
        }.items()
    },
}


@dataclass
class Sent:
    """A request and what upstream answered."""

    number: int
    body: Any
    client: str
    sent_at: datetime
    answered_at: datetime
    status: int
    answer: dict[str, Any] | None


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def downloads() -> Iterator[int]:
    """Serve what upstream asks the download site for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = DOWNLOADS.get(self.path)
            data = json.dumps(found or {}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


class WorkerPool:
    """Processes that are stopped at the end."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.running: list[subprocess.Popen[str]] = []

    def start(self, name: str, *command: str, **options: Any) -> subprocess.Popen[str]:
        with (self.scratch / f"{name}.log").open("w") as log:
            given: dict[str, Any] = {"stdout": log, "stderr": log, "text": True, **options}
            process: subprocess.Popen[str] = subprocess.Popen(command, cwd=self.scratch, **given)
        self.running.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.wait(30)


def call(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Return status and body of a response."""
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def until(condition: Any, what: str, seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Tell whether a server is up."""
    try:
        return call(url)[0] < 500
    except OSError:
        return False


def body_of(number: int, chance: random.Random) -> tuple[Any, dict[str, str], str]:
    """Return a request, its headers and the client string that upstream makes of them."""
    body: dict[str, Any] = {
        "version": "25.12.5",
        "target": "ath79/generic",
        "profile": chance.choice(PROFILES),
        "diff_packages": chance.choice([True, False, 1, "true"]),
    }
    kind = chance.random()
    kinds: tuple[tuple[float, list[dict[str, Any]]], ...] = (
        (0.60, [{"packages": ["luci", f"zz-{chance.randrange(12)}"]}]),
        (0.75, [{"packages": [name]} for name in ("zz-missing", "zz-big", "zz-exception")]),
        (0.87, [_ONE | {"packages": [name]} for name in ("zz-killed", "zz-long", "zz-stop")]),
        (0.93, [{"version": "25.12.9"}, {"target": "no/such"}, {"profile": "no_such"}]),
        (0.96, [{"packages": "luci"}, {"rootfs_size_mb": 99999}, {"target": None}]),
        (1.00, [_GENERIC]),
    )
    for share, further in kinds:
        if kind < share:
            body |= chance.choice(further)
            break
    if chance.random() < 0.2:
        body["rootfs_size_mb"] = chance.choice([256, "256", None])
    if isinstance(body["profile"], str) and chance.random() < 0.2:
        body["profile"] = body["profile"].replace("_", ",", 1)
    if chance.random() < 0.2:
        return body, {"User-Agent": f"auc ({number})"}, f"auc/{number}"
    return body | {"client": f"luci/{number}"}, {"User-Agent": "Mozilla"}, f"luci/{number}"


def send(url: str, number: int, seed: int) -> Sent:
    """Send a request."""
    chance = random.Random(f"{seed} {number}")
    body, headers, client = body_of(number, chance)
    time.sleep(chance.random() * 0.2)
    data = json.dumps(body).encode()
    sent_at = datetime.now(UTC)
    status, answer = call(url, data, **headers, **{"Content-Type": "application/json"})
    answered_at = datetime.now(UTC)
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    return Sent(number, body, client, sent_at, answered_at, status, found)


def check_requests(sent: list[Sent], rows: dict[str, Any]) -> Counter[str]:
    """Compare each event with the response to its request; return the number of each outcome."""
    enqueued: dict[tuple[str, str], list[tuple[Sent, Any]]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for request in sent:
        row = rows.pop(request.client, None)
        if request.status == 422:
            assert row is None, request
            counts["not a request (422)"] += 1
            continue
        assert row is not None, request
        counts[row["outcome"]] += 1
        body, answer = request.body, request.answer
        assert row["version"] == body["version"], (request, row)
        assert row["target"] == body["target"], (request, row)
        assert row["profile"] == body["profile"].replace(",", "_"), (request, row)
        assert bool(row["diff_packages"]) is bool(body["diff_packages"]), (request, row)
        assert row["rootfs_size_mb"] == int(body.get("rootfs_size_mb") or 0), (request, row)
        wanted = body.get("packages_versions") or body.get("packages") or []
        assert row["package_count"] == len(wanted), (request, row)
        if request.status in {400, 529}:
            assert (row["outcome"], row["request_hash"]) == ("rejected", ""), (request, row)
        elif answer is None:  # the handler failed: a job that was stopped, or one enqueued twice
            assert row["outcome"] in {"rejected", "queued"}, (request, row)
        else:
            assert row["request_hash"] == answer["request_hash"], (request, row)
            at = answer["enqueued_at"].replace("Z", "+00:00")
            enqueued[answer["request_hash"], at].append((request, row))
    assert not rows, rows
    for (_, at), group in enqueued.items():
        queued = [request for request, row in group if row["outcome"] == "queued"]
        assert len(queued) <= 1, group
        for request, row in group:
            if row["outcome"] == "queued":
                assert request.status == 202, (request, row)
                moment = datetime.fromisoformat(at)
                assert request.sent_at <= moment <= request.answered_at, (request, row)
            else:
                expected = {202: "joined", 200: "cache_hit", 500: "cached_failure"}
                assert row["outcome"] == expected[request.status], (request, row)
        if not queued:  # the handler failed after it had enqueued the job
            assert any(request.answer is None for request in sent), group
    return counts


def check_executions(rows: list[Any], builds: list[Any], *, overloaded: bool) -> None:
    """Check that each job that a request has enqueued ran once.

    Of equal requests at the same moment each enqueues the job, but RQ may run it less often:
    `Queue.fetch_job` removes the id of a job that it did not find from the queue, although another
    request may have enqueued it meanwhile. If the server is then too loaded for the request that
    removed it, the job never runs.
    """
    enqueued = Counter(row["request_hash"] for row in rows if row["outcome"] == "queued")
    ran = Counter(build["request_hash"] for build in builds)
    assert not ran - enqueued, ran - enqueued
    for request_hash, count in enqueued.items():
        least = 0 if overloaded else 1
        assert least <= ran[request_hash] <= count, (request_hash, ran[request_hash], count)


def check_builds(results: dict[str, Any], rows: list[Any]) -> Counter[str]:
    """Compare the builds of each hash with the results that RQ kept; return how many ended how.

    RQ keeps no result of a build that is killed after an equal one, run at the same time, ended.
    """
    builds: dict[str, list[Any]] = defaultdict(list)
    ours: dict[str, Counter[str]] = defaultdict(Counter)
    theirs: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        builds[row["request_hash"]].append(row)
        ours[row["request_hash"]][row["status"]] += 1
    for request_hash, of in results.items():
        for kind, text in of:
            status = "success" if kind == "SUCCESSFUL" else "failure"
            if "JobTimeoutException" in text:
                status = "timeout"
            if kind == "STOPPED" or "stopped by user" in text:
                status = "cancelled"
            theirs[request_hash][status] += 1
    for request_hash in ours.keys() | theirs.keys():
        found = ours[request_hash], theirs[request_hash]
        missing = found[0] - found[1]
        assert not found[1] - found[0], (request_hash, *found)
        killed = sum(_is_overtaken(row, builds[request_hash]) for row in builds[request_hash])
        assert missing <= Counter(failure=killed), (request_hash, *found, killed)
        if missing:
            print(f"{request_hash}: RQ kept no result of {missing.total()}")  # noqa: T201
    return sum(ours.values(), Counter())


def _is_overtaken(row: Any, equal: list[Any]) -> bool:
    """Tell whether a build was killed after another one ended that ran at the same time."""
    return row["error_type"] == "worker_lost" and any(
        other is not row and row["started_at"] <= other["finished_at"] <= row["finished_at"]
        for other in equal
    )


def check_texts(rows: list[Any]) -> None:
    """Check that builds have their phases, and failures their reasons."""
    for row in rows:
        phases = json.loads(row["phases"] or "{}")
        if row["status"] == "success":
            assert set(phases) == {
                "init",
                "container_setup",
                "validate_revision",
                "validate_manifest",
                "building_image",
            }, dict(row)
        assert row["started_at"] <= row["finished_at"], dict(row)
    kinds = Counter((row["status"], row["error_type"]) for row in rows)
    for expected in (
        ("failure", "package_not_found"),
        ("failure", "image_too_big"),
        ("failure", "worker_lost"),
        ("timeout", "build_timeout"),
    ):
        assert kinds[expected], (expected, kinds)


def upstream_packages(upstream: Path, version: str) -> list[str]:
    """Return what upstream needs, with a version of RQ."""
    project = tomllib.loads((upstream / "pyproject.toml").read_text())["project"]
    wanted = [need for need in project["dependencies"] if not need.startswith("rq>")]
    return [*wanted, f"rq=={version}"]


def environment(upstream: Path, version: str) -> Path:
    """Return the Python of an environment with upstream's dependencies and a version of RQ."""
    place = ROOT / "build" / "upstream" / f"rq-{version}"
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, *upstream_packages(upstream, version)], check=True)
    return python


def run(
    upstream: Path, python: Path, *, requests: int, threads: int, seed: int, waves: int = 1
) -> Counter[str]:
    """Play one campaign; return what was counted. Raises `AssertionError` for any difference.

    Each wave of requests but the first begins when the builds of the one before have ended.
    """
    scratch = SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "public").mkdir(parents=True)
    farm = WorkerPool(scratch)
    redis, stats, api = free_port(), free_port(), free_port()
    ours = [sys.executable, "-c", "from asu_stats.cli import main; main()"]
    with downloads() as site:
        env = {
            **os.environ,
            "PYTHONPATH": f"{upstream}:{ROOT / 'src'}:{ROOT}",
            "REDIS_URL": f"redis://127.0.0.1:{redis}",
            "RQ_REDIS_URL": f"redis://127.0.0.1:{redis}",
            "UPSTREAM_URL": f"http://127.0.0.1:{site}",
            "PUBLIC_PATH": str(scratch / "public"),
            "JOB_TIMEOUT": "2s",
            "MAX_PENDING_JOBS": "25",
            "ASU_STATS_REMOTE_URL": f"http://127.0.0.1:{stats}",
            "ASU_STATS_TOKEN": TOKEN,
            "ASU_STATS_SPOOL_DIRECTORY": str(scratch / "spool"),
            "RQ_WORKER_CLASS": "asu_stats.integrations.upstream.StatsWorker",
        }
        own = {**os.environ, "ASU_STATS_INGEST_TOKEN": TOKEN}
        try:
            farm.start("redis", "redis-server", "--port", str(redis), "--save", "")
            serve = ("serve", "--port", str(stats), "--builder", "none")
            farm.start("stats", *ours, *serve, "--database", "sqlite:///stats.db", env=own)
            uvicorn = (str(python), "-m", "uvicorn", "--port", str(api))
            farm.start("api", *uvicorn, "asu_stats.integrations.upstream:app", env=env)
            for number in (1, 2):
                worker = (str(python), str(HERE / "stand_in.py"), "worker", "--name", f"w{number}")
                farm.start(f"worker-{number}", *worker, env=env)
            control = farm.start(
                "control",
                *(str(python), str(HERE / "stand_in.py"), "control", env["REDIS_URL"]),
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            base = f"http://127.0.0.1:{api}"
            until(lambda: answers(f"http://127.0.0.1:{stats}/readyz"), "asu-stats")
            until(lambda: answers(f"{base}/api/v1/stats"), "upstream")
            sent: list[Sent] = []
            for wave in range(waves):
                numbers = range(requests * wave // waves, requests * (wave + 1) // waves)
                with ThreadPoolExecutor(threads) as pool:
                    jobs = [
                        pool.submit(send, f"{base}/api/v1/build", number, seed)
                        for number in numbers
                    ]
                    sent += [job.result() for job in jobs]
                until(lambda: _is_idle(redis), "builds", 300)
            known, _ = control.communicate("", 60)
            ended = json.loads(known)
            total = sum(map(len, ended["results"].values()))
            until(lambda: _builds(scratch, "status <> 'building'") >= total, "ends of builds")
            until(lambda: not _builds(scratch, "status = 'building'"), "the last builds")
            rows, builds = _details(scratch)
            overloaded = any(request.status == 529 for request in sent)
            check_executions([*rows.values()], builds, overloaded=overloaded)
            counts = check_requests(sent, rows)
            counts += check_builds(ended["results"], builds)
            check_texts(builds)
            check_totals(f"http://127.0.0.1:{stats}", counts)
        finally:
            farm.stop()
    return counts


def check_totals(url: str, counts: Counter[str]) -> None:
    """Compare the figures that our server reports with what was counted."""
    totals = json.loads(call(f"{url}/api/v1/stats/overview?days=2")[1])["totals"]
    outcomes = ("queued", "joined", "cache_hit", "cached_failure")
    assert totals["requests"] == sum(counts[name] for name in outcomes), (totals, counts)
    assert totals["cache_hits"] == counts["cache_hit"], (totals, counts)
    assert totals["rejected_requests"] == counts["rejected"], (totals, counts)
    assert totals["successful_builds"] == counts["success"], (totals, counts)
    assert totals["failed_builds"] == counts["failure"] + counts["timeout"], (totals, counts)
    assert totals["cancelled_builds"] == counts["cancelled"], (totals, counts)


def _is_idle(redis: int) -> bool:
    """Tell whether RQ has no job: waiting, between the queue and a worker, or in work."""
    cli = shutil.which("redis-cli") or "redis-cli"
    queue = "rq:queue:default"
    commands = (("llen", queue), ("llen", f"{queue}:intermediate"), ("zcard", "rq:wip:default"))
    return all(
        subprocess.check_output([cli, "-p", str(redis), *command], text=True).strip() == "0"
        for command in commands
    )


def _select(scratch: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(scratch / "stats.db")) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query).fetchall()


def _builds(scratch: Path, condition: str) -> int:
    query = f"SELECT count(*) FROM build_metrics WHERE {condition}"  # noqa: S608 - our own words
    return int(_select(scratch, query)[0][0])


def _details(scratch: Path) -> tuple[dict[str, Any], list[Any]]:
    """Return requests by client string, and builds."""
    rows = _select(scratch, "SELECT * FROM client_stats")
    by_client = {f"{row['client']}/{row['client_version']}": row for row in rows}
    assert len(by_client) == len(rows)
    return by_client, _select(scratch, "SELECT * FROM build_metrics")


def main() -> None:
    """Play the campaign on each version of RQ and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("upstream", type=Path)
    parser.add_argument("--rq", action="append")
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for version in options.rq or VERSIONS:
        python = environment(options.upstream.resolve(), version)
        counts = run(
            options.upstream.resolve(),
            python,
            requests=options.requests,
            threads=options.threads,
            seed=options.seed,
        )
        print(f"RQ {version}: {dict(sorted(counts.items()))}")  # noqa: T201


if __name__ == "__main__":
    main()
