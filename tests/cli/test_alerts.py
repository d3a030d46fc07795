"""`asu-stats alerts`, with the real time."""

import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from asu_stats.cli import main
from tests import processes
from tests.conftest import sqlite_database
from tests.support import Stats, build, request


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, database_url: str, *arguments: str) -> Done: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, as the program would."""

    def run(database_url: str, *arguments: str) -> Done:
        for name, value in processes.environment(tmp_path, database_url).items():
            if name.startswith("ASU_STATS_"):
                monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["asu-stats", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database in which half of the builds of the last hour failed."""
    url = sqlite_database(request)
    end = datetime.now(UTC) - timedelta(minutes=2)
    with Stats.on(url, tmp_path / "spool") as stats:
        stats.now = datetime.now(UTC)
        for number in range(30):
            status = "failure" if number % 2 else "success"
            stats.record(asked(f"h{number}", end), build(f"h{number}", status, end=end))
    return url


def asked(name: str, end: datetime) -> list[dict[str, object]]:
    start = end - timedelta(minutes=1)
    return [request(name, start), request(name, end, outcome="cache_hit")]


def test_check_says_what_is_wrong(failing: str, run: Run) -> None:
    done = run(failing, "alerts", "check")

    assert done.returncode == 1
    first, *more = done.stdout.splitlines()
    assert more == []
    assert first.startswith("ASU-STATS WARNING - Low success rate: 50% of 30 builds")
    assert first.endswith("| firing=1 pending=0")

    shown = run(failing, "alerts", "check", "--json")
    assert shown.returncode == 1
    states = {row["rule"]: row["state"] for row in json.loads(shown.stdout)["rules"]}
    assert states["success_rate_low"] == "firing"
    assert states["builds_slow"] == "ok"


def test_check_with_nothing_wrong(request: pytest.FixtureRequest, run: Run) -> None:
    done = run(sqlite_database(request), "alerts", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ASU-STATS OK - 14 rules, none firing")


def test_the_job_remembers_and_list_shows(failing: str, run: Run) -> None:
    assert run(failing, "jobs", "run", "alerts").returncode == 0
    shown = json.loads(run(failing, "alerts", "list", "--json").stdout)
    (row,) = [row for row in shown["rules"] if row["rule"] == "success_rate_low"]
    assert (row["state"], row["value"]) == ("pending", 50)
    assert "pending" in run(failing, "alerts", "list").stdout
    # Somebody looks regularly, so it is known that this is new.
    assert run(failing, "alerts", "check").returncode == 0


def test_silences(failing: str, run: Run) -> None:
    about = ("--subject", "version=24.10.2", "--hours", "2", "--comment", "known")
    done = run(failing, "alerts", "silence", *about)
    assert done.stdout.startswith("silence 1: until 20")
    listed = run(failing, "alerts", "list").stdout
    assert re.search(
        r"^1 +all +version=24\.10\.2 +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", listed, re.MULTILINE
    )
    assert re.search(r"^success_rate_low .* < 85%", listed, re.MULTILINE)
    assert not re.search(r"\dT\d\d:", listed)
    shown = json.loads(run(failing, "alerts", "list", "--json").stdout)
    assert shown["silences"][0]["subject"] == {"version": "24.10.2"}
    assert run(failing, "alerts", "unsilence", "1").returncode == 0
    assert run(failing, "alerts", "unsilence", "1").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("silence",), "expected --rule or --subject"),
        (("silence", "--rule", "x"), "--rule x: expected one of success_rate_low"),
        (("silence", "--subject", "colour=red"), "--subject colour=red: expected NAME=VALUE, "),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], words: str) -> None:
    done = run("sqlite:///x.db", "alerts", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_message_can_be_tried(request: pytest.FixtureRequest, run: Run) -> None:
    done = run(sqlite_database(request), "alerts", "test")
    assert done.returncode == 1
    assert "set notify or webhooks" in done.stderr


def test_rules_in_the_file(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> None:
    url = sqlite_database(request)
    rules = '[[alerts]]\nname = "queue_long"\nabove = 50\n[[alerts]]\nname = "mine"\n'
    config = tmp_path / "asu-stats.toml"
    config.write_text(rules + 'watch = "success_rate"\nbelow = 92\n')
    shown = json.loads(run(url, "alerts", "check", "--json").stdout)
    rows = {row["rule"]: row for row in shown["rules"]}
    assert len(rows) == 15
    assert (rows["queue_long"]["above"], rows["queue_long"]["for_minutes"]) == (50, 60)
    assert rows["mine"]["below"] == 92

    config.write_text('[[alerts]]\nname = "mine"\nwatch = "weather"\nbelow = 1\n')
    done = run(url, "alerts", "check")
    assert done.returncode == 1
    assert done.stderr.startswith("asu-stats: settings: alerts.14.watch: ")
