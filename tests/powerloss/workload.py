"""A process that writes everything that must survive a power failure, and says what is safe.

    python -m tests.powerloss.workload DIRECTORY ROUNDS

The directory has a database. `tests.acknowledged` explains the lines of `acknowledged.txt`.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from asu_stats.backup import taking
from asu_stats.builds.images import ImageStore
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
from tests.acknowledged import IMAGES, events_of, image
from tests.support import NOW

LOG = "acknowledged.txt"


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

    def build(self, number: int) -> None:
        """Publish images, as a worker does before the database knows of them."""
        images = ImageStore(self._directory / "store")
        directory = images.stage(f"build-{number}")
        for name in IMAGES:
            (directory / name).write_bytes(image(number))
        images.sync(directory)
        images.publish(directory, f"hash-{number}")
        self.say("images", number)


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
            this.build(number)
    this.engine.dispose()


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
