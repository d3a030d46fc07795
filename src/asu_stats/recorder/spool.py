"""The spool keeps events on disk while the store is unreachable, in fsynced append-only files.

A file belongs to the process that holds its lock. The file of a dead process belongs to
the process that locks it next, so each event is replayed once. Space is reserved at the
start, so events can be kept on a full disk.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asu_stats.cloudevents import to_cloudevent
from asu_stats.durability import sync_directory
from asu_stats.events import Event
from asu_stats.logs import Condition
from asu_stats.ownership import Owner
from asu_stats.recorder import records
from asu_stats.recorder.records import Batch

log = logging.getLogger(__name__)

SUFFIX: Final = ".spool"  # of events that wait
ASIDE: Final = ".ndjson"  # of what is kept aside: dead letters and damaged lines
Take = Callable[[list[Event]], bool]


@dataclass(slots=True)
class _Orphan:
    """A file of a dead process, locked, and how far it has been replayed."""

    name: str
    file: int
    taken: int = 0


class Spool:
    """The spool files of one directory. Safe to use from several threads and processes.

    `events` counts the pending events in the file of this process, `damaged` the damaged lines,
    which are kept in `damaged.ndjson`. `unreadable` has the names of unreadable files, such as
    those of another user, and the reasons.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limit_bytes: int,
        reserve_bytes: int,
        owner: Owner | None = None,
    ) -> None:
        self.events = 0
        self.damaged = 0
        self.unreadable: dict[str, str] = {}
        self._directory = directory
        self._limit = limit_bytes
        self._reserve = reserve_bytes
        self._lock = threading.Lock()
        self._owner = owner or Owner.of_directory(directory)
        self._owner.make_directory(directory)
        self._path = directory / f"{os.urandom(16).hex()}.spool"
        self._file = self._owner.create(self._path, os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0  # where the next record goes
        self._closed = False
        self._taken = 0  # up to where records have been replayed
        self._orphan: _Orphan | None = None
        self._replayed: set[str] = set()  # files that must still be removed
        self._writes = Condition(log, "spool: cannot write")
        self._damage = Condition(log, "spool")
        self._reserve_space()
        os.fsync(self._file)
        sync_directory(directory)

    def put(self, events: Sequence[Event]) -> int:
        """Write `events` to disk. Returns how many fit; those are on disk when this returns."""
        with self._lock:
            size, kept = self._size, []
            for event in events:
                record = records.encode(event)
                if size + len(record) > self._limit:
                    break
                kept.append(record)
                size += len(record)
            if not kept or not self._write(b"".join(kept), self._size):
                return 0
            self._size = size
            self.events += len(kept)
            return len(kept)

    def replay(self, take: Take, batch_events: int) -> bool:
        """Pass pending events to `take` in order, batch by batch, until it returns False.

        Files of dead processes follow. Returns whether all were taken. After a crash in between,
        a file is replayed from its start, which is harmless: duplicates change nothing.
        """
        took_all = self._replay_own(take, batch_events)
        unreadable: dict[str, str] = {}
        for name in self._others(unreadable):
            orphan = self._adopt(name, unreadable)
            if orphan is None:
                continue
            if took_all:
                took_all = self._replay_orphan(orphan, take, batch_events, unreadable)
            elif orphan is not self._orphan:
                os.close(orphan.file)
        self._log_unreadable(unreadable)
        return took_all

    def _replay_own(self, take: Take, batch_events: int) -> bool:
        while True:
            with self._lock:
                batch = records.read(self._file, self._taken, self._size, batch_events)
                if batch is None:
                    if self._size:
                        self._empty()
                    return True
            if not take(batch.events) or not self._keep_damaged(batch):
                return False
            with self._lock:
                self._taken = batch.end
                self.events -= len(batch.events)

    def _others(self, unreadable: dict[str, str]) -> list[str]:
        """Return the names of the spool files of other processes."""
        try:
            names = [path.name for path in self._directory.iterdir() if path.suffix == SUFFIX]
        except OSError as error:
            unreadable[self._directory.name] = error.strerror or str(error)
            return []
        return sorted(name for name in names if name != self._path.name and not self._removed(name))

    def _removed(self, name: str) -> bool:
        """Remove a replayed file. Returns whether that succeeded."""
        if name not in self._replayed:
            return False
        try:
            (self._directory / name).unlink(missing_ok=True)
            self._replayed.discard(name)
        except OSError as error:
            self._writes.failed(f"{name} cannot be removed: {error.strerror}")
        return True

    def _adopt(self, name: str, unreadable: dict[str, str]) -> _Orphan | None:
        """Lock a file of another process; `None` while that process is alive."""
        if self._orphan is not None and self._orphan.name == name:
            return self._orphan
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            file = os.open(self._directory / name, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            unreadable[name] = error.strerror or str(error)
            return None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                unreadable[name] = "not a regular file"
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return _Orphan(name, file)
        except BlockingIOError:
            pass  # its process is alive
        except OSError as error:
            unreadable[name] = error.strerror or str(error)
        os.close(file)
        return None

    def _replay_orphan(
        self, orphan: _Orphan, take: Take, batch_events: int, unreadable: dict[str, str]
    ) -> bool:
        """Continue to replay a file, and remove it when it is done."""
        self._orphan = orphan
        try:
            size = os.fstat(orphan.file).st_size
            while batch := records.read(orphan.file, orphan.taken, size, batch_events):
                if not take(batch.events) or not self._keep_damaged(batch):
                    return False
                orphan.taken = batch.end
            self._replayed.add(orphan.name)
            self._removed(orphan.name)
        except OSError as error:
            unreadable[orphan.name] = error.strerror or str(error)
        self._orphan = None
        os.close(orphan.file)
        return True

    def _log_unreadable(self, unreadable: dict[str, str]) -> None:
        """Log which files became unreadable or readable."""
        for name in sorted(unreadable.keys() - self.unreadable.keys()):
            words = "spool: cannot read %s, its events are not in the database: %s"
            log.warning(words, self._directory / name, unreadable[name])
        for name in sorted(self.unreadable.keys() - unreadable.keys()):
            log.info("spool: %s is readable again or removed", self._directory / name)
        self.unreadable = unreadable

    def add_dead_letter(self, event: Event, reason: str) -> bool:
        """Keep a rejected event in `dead-letter.ndjson`. Returns whether it is kept."""
        line = json.dumps({"reason": reason, "event": to_cloudevent(event)}) + "\n"
        return self._append("dead-letter", line.encode())

    def close(self) -> None:
        """Close the file, and remove it if it has no pending events."""
        with self._lock:
            self._closed = True
            if self._orphan is not None:
                os.close(self._orphan.file)
                self._orphan = None
            if self._size == 0:
                self._path.unlink(missing_ok=True)
            os.close(self._file)

    def abandon(self) -> None:
        """Abandon the file in a forked process; it stays locked by the parent."""
        self._closed = True
        os.close(self._file)

    def _reserve_space(self) -> None:
        if self._reserve:
            with contextlib.suppress(
                OSError
            ):  # without reserved space it works until the disk is full
                os.posix_fallocate(self._file, 0, min(self._reserve, self._limit) or 1)

    def _empty(self) -> None:
        """Truncate the replayed file, so that a later crash does not replay it again."""
        os.ftruncate(self._file, 0)
        self._reserve_space()
        os.fsync(self._file)
        self._size = self._taken = self.events = 0

    def _write(self, data: bytes, offset: int) -> bool:
        if self._closed:
            return False
        try:
            _complete(os.pwrite(self._file, data, offset), data)
            os.fsync(self._file)
        except OSError as error:
            self._writes.failed(f"{self._path}: {error.strerror or error}", level=logging.ERROR)
            with contextlib.suppress(OSError):  # part of a record would be reported as damaged
                os.ftruncate(self._file, offset)
            return False
        self._writes.works()
        return True

    def _keep_damaged(self, batch: Batch) -> bool:
        """Keep and count damaged bytes. Returns whether they are kept."""
        if not batch.damaged:
            return True
        if not self._append("damaged", b"".join(line + b"\n" for line in batch.damaged)):
            return False
        self.damaged += len(batch.damaged)
        words = f"damaged lines are kept in {self._directory / 'damaged.ndjson'}"
        self._damage.failed(words, count=len(batch.damaged))
        return True

    def _append(self, name: str, data: bytes) -> bool:
        """Append to a file beside the spool, or to a new one if another user owns it."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
        for full in (f"{name}{ASIDE}", f"{name}-{self._path.stem}{ASIDE}"):
            try:
                file = self._owner.open(self._directory / full, flags, 0o600)
                try:
                    _complete(os.write(file, data), data)
                    os.fsync(file)
                finally:
                    os.close(file)
            except OSError as error:
                self._writes.failed(f"{full}: {error.strerror or error}", level=logging.ERROR)
            else:
                return True
        return False


def _complete(written: int, data: bytes) -> None:
    if written < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
