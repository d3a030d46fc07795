"""What the plug-in costs the upstream server: `python -m benchmarks.plugin UPSTREAM`.

Cache hits of `POST /api/v1/build` on three API processes that take turns: without the plug-in, with
it, and with it while no statistics server answers. Processor time is that of the API process, all
threads. `UPSTREAM` is a checkout of openwrt/asu.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Results, Table, Target
from benchmarks.servers import TOKEN, free_port, helper, start_together
from tests.integrations.campaign import (
    PROFILES,
    ROOT,
    VERSIONS,
    WorkerPool,
    answers,
    call,
    downloads,
    environment,
    until,
)

CONNECTIONS: Final = 8
Turns = dict[str, list[dict[str, Any]]]
_STAND_IN: Final = ROOT / "tests" / "integrations" / "stand_in.py"
_PACKAGES: Final = 40
_IMAGES: Final = 20
_COMPARED: Final = ("per_second", "cpu_us", "p99_ms")
_BARE, _SERVED, _ALONE = "without plug-in", "with plug-in", "with plug-in, server down"


def bodies() -> list[bytes]:
    """Return build requests as clients send them, one per image."""
    packages = [f"luci-app-example-{number}" for number in range(_PACKAGES)]
    return [
        json.dumps(
            {
                "version": "25.12.5",
                "target": "ath79/generic",
                "profile": PROFILES[number % len(PROFILES)],
                "packages": [*packages, f"extra-{number}"],
                "diff_packages": True,
                "client": "luci/25.168.50434~d6b13f6",
            }
        ).encode()
        for number in range(_IMAGES)
    ]


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, with all its threads: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


class Sides:
    """The API processes, and what they need."""

    def __init__(self, farm: WorkerPool, upstream: Path, python: Path, site: int) -> None:
        scratch = farm.scratch
        redis, stats = free_port(), free_port()
        shared = {
            **os.environ,
            "PYTHONPATH": f"{upstream}:{ROOT / 'src'}",
            "REDIS_URL": f"redis://127.0.0.1:{redis}",
            "RQ_REDIS_URL": f"redis://127.0.0.1:{redis}",
            "UPSTREAM_URL": f"http://127.0.0.1:{site}",
            "PUBLIC_PATH": str(scratch / "public"),
            "LOG_LEVEL": "WARNING",
        }
        farm.start("redis", "redis-server", "--port", str(redis), "--save", "")
        ours = [sys.executable, "-c", "from asu_stats.cli import main; main()"]
        serve = ("serve", "--port", str(stats), "--builder", "none", "--database", "sqlite:///s.db")
        farm.start("stats", *ours, *serve, env={**os.environ, "ASU_STATS_INGEST_TOKEN": TOKEN})
        self.stats = f"http://127.0.0.1:{stats}"
        until(lambda: answers(f"{self.stats}/readyz"), "asu-stats")
        self.running: dict[str, tuple[int, subprocess.Popen[str]]] = {}
        for number, (name, app, url) in enumerate(
            (
                (_BARE, "asu.main:app", ""),
                (_SERVED, "asu_stats.integrations.upstream:app", self.stats),
                (_ALONE, "asu_stats.integrations.upstream:app", "http://127.0.0.1:9"),
            )
        ):
            port = free_port()
            own = {
                "ASU_STATS_REMOTE_URL": url,
                "ASU_STATS_TOKEN": TOKEN,
                "ASU_STATS_SPOOL_DIRECTORY": str(scratch / f"spool-{number}"),
            }
            uvicorn = (str(python), "-m", "uvicorn", "--no-access-log", "--port", str(port), app)
            process = farm.start(f"api-{number}", *uvicorn, env=shared | own)
            self.running[name] = port, process
        farm.start("worker", str(python), str(_STAND_IN), "worker", env=shared)
        for port, _ in self.running.values():
            until(lambda port=port: answers(f"http://127.0.0.1:{port}/api/v1/stats"), "upstream")

    def build(self, content: list[bytes]) -> None:
        """Build the images, so that every further request is a cache hit."""
        port, _ = self.running[_BARE]
        url = f"http://127.0.0.1:{port}/api/v1/build"
        kind = {"Content-Type": "application/json"}
        for body in content:
            until(lambda body=body: call(url, body, **kind)[0] == 200, "an image")

    def turn(
        self, name: str, load: "subprocess.Popen[str]", content: list[bytes], seconds: float
    ) -> dict[str, Any]:
        """Send requests to one side as fast as it answers; return what that took."""
        port, process = self.running[name]
        options = {
            "port": port,
            "paths": ["/api/v1/build"],
            "send": [body.decode() for body in content],
            "seconds": seconds,
            "connections": CONNECTIONS,
        }
        before = cpu_seconds(process.pid)
        (found,) = start_together([load], [options])
        time.sleep(0.5)  # what it does later for these requests counts too
        found["cpu_us"] = 1e6 * (cpu_seconds(process.pid) - before) / found["requests"]
        return found


def measure(upstream: Path, version: str, rounds: int, seconds: float) -> Turns:
    """Let the sides take turns; return the figures of each round by side."""
    python = environment(upstream, version)
    scratch = ROOT / "build" / "upstream" / "cost"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "public").mkdir(parents=True)
    farm = WorkerPool(scratch)
    content = bodies()
    found: Turns = defaultdict(list)
    try:
        with downloads() as site, helper("load") as load:
            sides = Sides(farm, upstream, python, site)
            sides.build(content)
            names = list(sides.running)
            for number in range(rounds + 1):
                for name in names[number % 3 :] + names[: number % 3]:
                    turn = sides.turn(name, load, content, seconds)
                    if number:  # the first warms up
                        found[name].append(turn)
    finally:
        farm.stop()
    return found


def changes(found: Turns, name: str, figure: str) -> list[float]:
    """Return by how many percent a side differs from the bare one: quartiles of the rounds."""
    pairs = zip(found[name], found[_BARE], strict=True)
    ratios = [ours[figure] / bare[figure] for ours, bare in pairs]
    return [100 * (ratio - 1) for ratio in statistics.quantiles(ratios, n=4)]


def change(found: Turns, name: str, figure: str) -> float:
    """Return the median of these changes."""
    return changes(found, name, figure)[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("upstream", type=Path)
    parser.add_argument("--rq", default=VERSIONS[-1])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    found = measure(options.upstream.resolve(), options.rq, options.rounds, options.seconds)
    figures = ("per_second", "cpu_us", "p50_ms", "p99_ms")
    rows = [
        (name, *(statistics.median(turn[figure] for turn in turns) for figure in figures))
        for name, turns in found.items()
    ]
    targets = [
        Target("plugin", f"{name}: {words}", value, "at most", bound)
        for name in (_SERVED, _ALONE)
        for words, value, bound in (
            ("fewer requests per second, %", -change(found, name, "per_second"), 3.0),
            ("longer p99, %", change(found, name, "p99_ms"), 5.0),
            ("more processor time per request, %", change(found, name, "cpu_us"), 3.0),
        )
    ]
    title = f"Cache hits of upstream, {CONNECTIONS} connections, RQ {options.rq}"
    table = Table(title, ("API process", "requests/s", "CPU µs", "p50 ms", "p99 ms"), list(rows))
    spread = Table(
        "Changes in percent, quartiles of the rounds",
        ("API process", "requests/s", "CPU", "p99"),
        [
            (name, *(_range(changes(found, name, figure)) for figure in _COMPARED))
            for name in (_SERVED, _ALONE)
        ],
    )
    Results(0).add("plugin", dict(found), [table, spread], targets)


def _range(quartiles: list[float]) -> str:
    return " / ".join(f"{value:+.1f}" for value in quartiles)


if __name__ == "__main__":
    main()
