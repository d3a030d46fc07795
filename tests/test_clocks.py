"""Clock jumps are detected and reported; waits use the monotonic clock."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asu_stats.clocks import ClockWatch
from asu_stats.store.database import engine as engines
from asu_stats.store.database import leases
from tests import processes
from tests.conftest import sqlite_database
from tests.support import NOW, Stats, request

DAYS = int(os.environ.get("CLOCK_DAYS", "2"))  # that a clock is ahead; ten years make no difference


def test_steps_are_counted_and_shown_for_an_hour() -> None:
    wall, steady = [1_800_000_000.0], [0.0]
    clock = ClockWatch(lambda: wall[0], lambda: steady[0])

    def go(seconds: float, jump: float = 0) -> str:
        wall[0] += seconds + jump
        steady[0] += seconds
        return str(clock.recent() or "ok")

    assert go(3600) == "ok"
    assert go(60, jump=20) == "ok", "NTP corrects"
    assert go(60, jump=20) == "ok"
    assert go(1, jump=172_800).startswith("jumped forward by 172800 seconds at 2027-")
    assert go(3599).startswith("jumped forward")
    assert go(5, jump=-172_800).startswith("jumped back by 172800 seconds at 2027-")
    assert go(3601) == "ok"
    assert clock.check() == 2


def test_readiness_and_metrics_show_a_clock_that_is_behind(stats: Stats) -> None:
    assert stats.client.get("/readyz").json()["clock"] == "ok"
    stats.record(request("h"))
    stats.now = NOW - timedelta(days=2)
    answer = stats.client.get("/readyz")
    assert answer.status_code == 200
    assert (
        answer.json()["clock"]
        == "the time of the newest event is 2026-09-30T12:00:00Z, in the future"
    )
    metrics = stats.client.get("/metrics").text
    assert "asu_stats_clock_steps_total 0.0" in metrics
    assert "asu_stats_clock_last_step_seconds 0.0" in metrics


class Faked:
    """A server whose clock can be moved while it runs."""

    def __init__(self, directory: Path, url: str) -> None:
        self.file = directory / "faketime"
        self.move(0)
        self.port = processes.free_port()
        environment = processes.environment(directory, url) | {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        command = [*processes.COMMAND, "serve", "--port", str(self.port), "--builder", "demo"]
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=directory, stdout=log, stderr=log
            )

    def move(self, seconds: int) -> None:
        self.file.write_text(f"{seconds:+d}\n")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return json.load(answer)

    def wait(self, holds: Any, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if holds():
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise AssertionError("it did not happen in time")


def library() -> str:
    """Path of libfaketime, which the command `faketime` comes with."""
    command = shutil.which("faketime")
    if command is None:
        pytest.skip("faketime is not installed")
    done = subprocess.run(
        [command, "now", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip().rpartition(":")[2]


@pytest.fixture
def faked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Faked]:
    server = Faked(tmp_path, sqlite_database(request))
    yield server
    server.process.terminate()
    server.process.wait(120)


def test_a_clock_that_was_days_ahead_for_a_moment(faked: Faked, tmp_path: Path) -> None:
    def alerts() -> Any:
        rows = faked.get("/api/v1/stats/jobs")
        (row,) = [row for row in rows if row["name"] == "alerts"]
        return row

    faked.wait(lambda: faked.get("/readyz")["clock"] == "ok")
    faked.wait(lambda: alerts()["next_run_at"])
    faked.move(DAYS * 86_400)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    faked.wait(lambda: alerts()["next_run_at"] > tomorrow)
    assert faked.get("/readyz")["clock"].startswith(f"jumped forward by {DAYS * 864}")
    faked.move(0)
    faked.wait(lambda: alerts()["next_run_at"] < tomorrow)
    faked.wait(lambda: alerts()["last_finished_at"] < tomorrow)
    assert faked.get("/readyz")["clock"].startswith(f"jumped back by {DAYS * 864}")
    engine = engines.create(f"sqlite:///{tmp_path / 'stats.db'}")
    before = leases.last_success(engine, "alerts")
    faked.wait(lambda: leases.last_success(engine, "alerts") != before, 75)
    engine.dispose()
    log = (tmp_path / "log").read_text()
    assert "later than the schedule allows" in log
    assert "Traceback" not in log
