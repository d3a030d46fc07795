"""A process that writes everything that must survive a power failure, and says what is safe.

    python -m tests.powerloss.workload DIRECTORY ROUNDS

The directory has a database. Lines in `acknowledged.txt` name what was sent (`sent 7`) and what was
acknowledged (`safe 7`): events of this number, a run of retention, or a backup.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from asu_stats.backup import taking
from asu_stats.cloudevents import from_cloudevent
from asu_stats.events import Event
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.store.apply import Applied, apply_batch
from asu_stats.store.archive import retention, segments
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import checkpoint
from asu_stats.store.dry_run import probe
from tests.support import NOW, SOURCE

LOG = "acknowledged.txt"
_DAYS = 100  # events of so many days: most are older than retention keeps them


@cache
def events_of(number: int) -> list[Event]:
    """Return the events of a call: one to four requests and a build, always the same."""
    moment = NOW - timedelta(days=number * 37 % _DAYS, hours=1)
    made: list[tuple[str, str, datetime, dict[str, Any]]] = []
    for each in range(1 + number % 4):
        data = {
            "request_hash": f"hash-{number}-{each}",
            "outcome": "queued",
            "version": "24.10.2",
            "target": "ath79/generic",
            "profile": f"device-{number % 7}",
            "diff_packages": True,
            "packages": ["luci", f"package-{number % 5}"],
        }
        made.append(("request.received", f"{number}-{each}", moment, data))
    build = {"request_hash": f"hash-{number}-0", "build_id": f"build-{number}"}
    made.append(("build.started", f"{number}-started", moment, build))
    ended = {**build, "status": "failure", "error_message": "No space left on device"}
    made.append(("build.finished", f"{number}-ended", moment + timedelta(seconds=90), ended))
    return [
        from_cloudevent(
            {
                "specversion": "1.0",
                "id": name,
                "source": SOURCE,
                "type": f"asu.{kind}",
                "time": time.isoformat(),
                "data": data,
            },
            now=None,
            imported=True,
        )
        for kind, name, time, data in made
    ]


class Workload:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._numbers: Iterator[int] = iter(range(1 << 30))
        self._away = False
        self.engine = engines.create(f"sqlite:///{directory / 'stats.db'}")
        segments.keep_in(self.engine, directory / "archive")

    def say(self, *words: object) -> None:
        os.write(self._log, f"{' '.join(map(str, words))}\n".encode())

    def recorder(self) -> Recorder:
        spool = Spool(self._directory / "spool", limit_bytes=1 << 22, reserve_bytes=1 << 16)
        return Recorder(self._sink, spool, probe=self._probe, longest_pause=0.01)

    def _sink(self, events: Sequence[Event]) -> Applied:
        if self._away:
            raise StoreUnavailableError("database: unreachable")
        return apply_batch(self.engine, events)

    def _probe(self) -> None:
        if self._away:
            raise StoreUnavailableError("database: unreachable")
        probe(self.engine)

    def send(self, how: Callable[[Sequence[Event]], object], times: int) -> None:
        for number in (next(self._numbers) for _ in range(times)):
            self.say("sent", number)
            how(events_of(number))
            self.say("safe", number)

    def outage(self, recorder: Recorder, times: int) -> None:
        self._away = True
        self.send(recorder.record, times)
        self._away = False
        while recorder.spooled:
            recorder.flush(1)

    def retain(self, days: int) -> None:
        where = ArchiveDirectory(self._directory / "archive", "csv.gz")
        retention.run(
            self.engine,
            Policy(days, days, days, days, latest=1),
            NOW.date(),
            archive_directory=where,
        )

    def back_up(self, number: int) -> None:
        file = self._directory / f"backup-{number}.zip"
        source = taking.Source(self.engine, self._directory / "archive", self._directory / "spool")
        taking.take(source, file, lambda _: None)
        self.say("backup", file.name)


def run(directory: Path, rounds: int) -> None:
    this = Workload(directory)
    for number in range(rounds):
        with this.recorder() as recorder:
            this.send(recorder.commit, 4)
            this.outage(recorder, 3)
            checkpoint(this.engine)
            this.retain(60 - 10 * (number % 5))
            this.send(recorder.commit, 3)
            this.outage(recorder, 1)
            this.back_up(number)
    this.engine.dispose()


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
