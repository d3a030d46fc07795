"""Children that write in every way the program writes, to be killed.

    python -m tests.crash.writer URL DIRECTORY

Each line of standard input, `KIND FIRST SEED`, makes a child that records the calls from number
`FIRST` on with several threads, and meanwhile does what `KIND` says: `retention` into archive
files, `pack` blocks, `rebuild` rollups, take a `backup`, or only `record`. The answers are the
child's process id, and `killed` or `ended`.
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from asu_stats.backup import taking
from asu_stats.exceptions import AsuStatsError
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import retention, segments
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.blocks import packer
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import checkpoint
from asu_stats.store.dry_run import probe, rehearse
from asu_stats.store.verification import verify
from tests.acknowledged import events_of
from tests.support import NOW

KINDS = ("record", "retention", "pack", "rebuild", "backup")
LOG = "acknowledged.txt"
CALLS = 30  # new ones of a child
_THREADS = 4
_TODAY = NOW.date()


class Child:
    def __init__(self, url: str, directory: Path, first: int, seed: int) -> None:
        self._directory = directory
        self._rng = random.Random(seed)
        self._log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._first = first
        self._numbers = iter(range(first, first + CALLS))
        self._lock = threading.Lock()
        self._engine: Engine = engines.create(url)
        segments.keep_in(self._engine, directory / "archive")
        spool = Spool(directory / "spool", limit_bytes=1 << 24, reserve_bytes=1 << 16)
        self._recorder = Recorder(
            partial(apply_batch, self._engine),
            spool,
            rehearse=partial(rehearse, self._engine),
            probe=partial(probe, self._engine),
            longest_pause=0.2,
        )

    def run(self, kind: str) -> None:
        for number in range(_THREADS):
            spooled = number == 0  # as those of the own build service
            threading.Thread(target=self._send, args=(spooled, number), daemon=True).start()
        works: dict[str, Callable[[], object]] = {
            "record": partial(checkpoint, self._engine),
            "retention": self._retain,
            "pack": partial(packer.pack, self._engine, _TODAY),
            "rebuild": partial(verify.rebuild, self._engine),
            "backup": self._back_up,
        }
        while True:
            self._go_on(works[kind])
            time.sleep(0.005)

    def _go_on(self, work: Callable[[], object]) -> None:
        with suppress(AsuStatsError):  # the database is away
            work()

    def _say(self, *words: object) -> None:
        os.write(self._log, f"{' '.join(map(str, words))}\n".encode())

    def _send(self, spooled: bool, seed: int) -> None:
        rng = random.Random(seed)
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                number = rng.randrange(max(0, self._first - 5 * CALLS), self._first + CALLS)
                time.sleep(0.002)
            elif rng.random() < 0.3:
                time.sleep(rng.uniform(0, 0.05))
            self._say("sent", number)
            with suppress(AsuStatsError):
                (self._recorder.record if spooled else self._recorder.commit)(events_of(number))
                self._say("safe", number)

    def _retain(self) -> None:
        days = self._rng.randint(10, 70)
        where = ArchiveDirectory(self._directory / "archive", "csv.gz")
        policy = Policy(days, days, days, days, latest=1)
        retention.run(self._engine, policy, _TODAY, archive_directory=where)

    def _back_up(self) -> None:
        file = self._directory / f"backup-{os.getpid()}.zip"
        source = taking.Source(self._engine, self._directory / "archive", self._directory / "spool")
        file.unlink(missing_ok=True)
        taking.take(source, file, lambda _: None)


def main(url: str, directory: Path) -> None:
    for line in sys.stdin:
        kind, first, seed = line.split()
        child = os.fork()
        if not child:
            os.setsid()
            try:
                Child(url, directory, int(first), int(seed)).run(kind)
            finally:
                os._exit(1)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        sys.stdout.write("killed\n" if killed else "ended\n")
        sys.stdout.flush()


if __name__ == "__main__":
    retention._ROWS = retention._MIN_BATCH = retention._MAX_BATCH = 5  # type: ignore[misc]
    main(sys.argv[1], Path(sys.argv[2]))
