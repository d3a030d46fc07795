"""`kill -9` of everything that writes, and of PostgreSQL: nothing is lost or counted twice.

`make crash` takes the number of rounds (KILLS=60): all of them on SQLite, a fifth on PostgreSQL.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine

from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from tests import servers
from tests.acknowledged import Said, problems
from tests.crash.writer import CALLS, KINDS, LOG

KILLS = int(os.environ.get("KILLS", "0"))
ROUNDS = {"sqlite": KILLS or len(KINDS), "postgresql": KILLS // 5 or 2}
_FRESH = 25  # rounds on a database, then comes the next
ROOT = Path(__file__).parents[2]


@dataclass
class Campaign:
    """Rounds on databases; `crash` is what happens besides the kill of a child."""

    directory: Path
    url: str
    rng: random.Random
    server: servers.Server | None = None
    said: Said = field(default_factory=Said)
    kills: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    unsure: int = 0

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        engine = engines.create(self.url)
        segments.keep_in(engine, self.directory / "archive")
        yield engine
        engine.dispose()

    def run(self, rounds: int, first: int) -> None:
        command = [sys.executable, "-m", "tests.crash.writer", self.url, str(self.directory)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as launcher:
            assert launcher.stdin
            assert launcher.stdout
            for number in range(first, first + rounds):
                said = self._acknowledged()
                kind = KINDS[number % len(KINDS)]
                print(kind, number * CALLS, number, file=launcher.stdin, flush=True)
                child = int(launcher.stdout.readline())
                try:
                    self._wait_for_a_call(said)
                    time.sleep(self.rng.uniform(0, 0.6))
                    how = self._crash(kind)
                finally:
                    os.kill(child, signal.SIGKILL)
                assert launcher.stdout.readline() == "killed\n", "it ended by itself"
                self.kills[how] += 1
                self._check(f"round {number}, {how}")

    def _acknowledged(self) -> int:
        log = self.directory / LOG
        return log.read_text().count("safe ") if log.exists() else 0

    def _wait_for_a_call(self, before: int) -> None:
        """Wait until a call of the child is acknowledged: a kill before that shows little."""
        deadline = time.monotonic() + 120
        while self._acknowledged() == before:
            assert time.monotonic() < deadline, "nothing is acknowledged"
            time.sleep(0.01)

    def _crash(self, kind: str) -> str:
        """Let PostgreSQL crash in two of three rounds."""
        if self.server is None or (how := self.rng.choice(("", "immediate", "killed"))) == "":
            return kind
        if how == "immediate":
            self.server.stop("immediate")
        else:
            self.server.kill()
        time.sleep(self.rng.uniform(0, 0.3))
        self.server.start()
        time.sleep(self.rng.uniform(0, 0.5))
        return f"{kind} and PostgreSQL {how}"

    def _check(self, name: str) -> None:
        lines = (self.directory / LOG).read_text().splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):  # else it was killed in the middle of saying so
                self.said.hear(line)
        self.unsure += len(self.said.sent - self.said.safe)
        with self.engine() as engine:
            found = problems(engine, self.directory, self.said)
        self.findings += [f"{name}: {each}" for each in found]
        with (self.directory / LOG).open("a") as log:  # all were sent again
            log.writelines(f"safe {number}\n" for number in self.said.sent - self.said.safe)
        for path in self.directory.glob("backup-*"):
            if path.suffix != ".part":
                path.unlink()


@pytest.mark.crash
@pytest.mark.timeout(0)
def test_every_writer_is_killed_on_sqlite(tmp_path: Path, sqlite_template: Path) -> None:
    campaigns, done = [], 0
    while done < ROUNDS["sqlite"]:
        directory = tmp_path / str(done)
        directory.mkdir()
        shutil.copy(sqlite_template, directory / "stats.db")
        url = f"sqlite:///{directory / 'stats.db'}"
        campaigns.append(Campaign(directory, url, random.Random(done)))
        campaigns[-1].run(min(_FRESH, ROUNDS["sqlite"] - done), done)
        done += _FRESH
        shutil.rmtree(directory)
        _say("SQLite", campaigns)
    _conclude(campaigns)


@pytest.mark.crash
@pytest.mark.timeout(0)
def test_every_writer_and_postgresql_are_killed(tmp_path: Path) -> None:
    campaigns, done = [], 0
    while done < ROUNDS["postgresql"]:
        directory = tmp_path / str(done)
        directory.mkdir()
        with servers.primary() as server:
            campaign = Campaign(directory, server.url(), random.Random(done), server)
            with campaign.engine() as engine:
                migrate.upgrade(engine)
            campaigns.append(campaign)
            campaign.run(min(_FRESH, ROUNDS["postgresql"] - done), done)
        done += _FRESH
        shutil.rmtree(directory)
        _say("PostgreSQL", campaigns)
    _conclude(campaigns)


def _say(name: str, campaigns: list[Campaign]) -> None:
    """Write the figures of `make crash` so far."""
    kills = sum((each.kills for each in campaigns), Counter[str]())
    sys.stdout.write(
        f"\n{name}: {kills.total()} rounds, {sum(len(each.said.sent) for each in campaigns):,} "
        f"calls, {sum(each.unsure for each in campaigns)} cut off by a kill, "
        f"{sum(len(each.findings) for each in campaigns)} findings; "
        + ", ".join(f"{kind} {count}" for kind, count in sorted(kills.items()))
    )
    sys.stdout.flush()


def _conclude(campaigns: list[Campaign]) -> None:
    assert [finding for each in campaigns for finding in each.findings] == []
    if sum(each.kills.total() for each in campaigns) > 2 * len(KINDS):
        assert sum(each.unsure for each in campaigns), "no kill met a call: the test shows nothing"
