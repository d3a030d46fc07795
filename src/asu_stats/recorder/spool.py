"""The spool: events that wait on disk for the store, in append-only files that are fsynced.

A file belongs to the process that holds a lock on it; a file whose process is gone belongs to
whoever takes its lock next, so each event is replayed once. A record is one line, the CRC-32 of the
payload and the payload (a CloudEvent in JSON), so a damaged record costs nothing but itself. Space
is reserved at the start: a full disk does not stop an event from being kept.
"""

import contextlib
import fcntl
import json
import logging
import os
import threading
import uuid
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from asu_stats.cloudevents import from_cloudevent, parse_json, to_cloudevent
from asu_stats.events import Event
from asu_stats.exceptions import InvalidEventError

log = logging.getLogger(__name__)

_CHUNK: Final = 1 << 20


def encode(event: Event) -> bytes:
    """Return the record of an event: one line."""
    payload = json.dumps(to_cloudevent(event), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def decode(line: bytes) -> Event:
    """Return the event of a record. Raises `ValueError` where it is damaged."""
    checksum, _, payload = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(payload):
        raise ValueError("wrong checksum")
    try:
        return from_cloudevent(parse_json(payload), now=None, imported=True)
    except InvalidEventError as error:
        raise ValueError(str(error)) from None


class Spool:
    """The spool files of one directory. Safe to use from several threads and processes.

    `events` counts what waits in the file of this process; `damaged` the records that could not be
    read and were kept aside in `damaged.ndjson`.
    """

    def __init__(self, directory: Path, *, limit_bytes: int, reserve_bytes: int) -> None:
        self.events = 0
        self.damaged = 0
        self._directory = directory
        self._limit = limit_bytes
        self._reserve = reserve_bytes
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"{uuid.uuid4().hex}.spool"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0  # where the next record goes
        self._closed = False
        self._taken = 0  # up to where records have been replayed
        if reserve_bytes:
            with contextlib.suppress(OSError):  # without the space it works until the disk is full
                os.posix_fallocate(self._file, 0, min(reserve_bytes, limit_bytes) or 1)
        os.fsync(self._file)
        _fsync_directory(directory)

    def put(self, events: Sequence[Event]) -> int:
        """Keep `events` on disk; return how many fit. What fits is safe when this returns."""
        with self._lock:
            size, kept = self._size, []
            for event in events:
                record = encode(event)
                if size + len(record) > self._limit:
                    break
                kept.append(record)
                size += len(record)
            # A NUL ends the file: what stands behind it was replayed before.
            if not kept or not self._write(b"".join(kept) + b"\0", self._size):
                return 0
            self._size = size
            self.events += len(kept)
            return len(kept)

    def replay(self, take: Callable[[list[Event]], bool], batch_events: int) -> bool:
        """Hand what waits to `take` in order, batch by batch, until it returns false.

        Files of dead processes follow. Returns whether all was taken. A crash on the way replays
        a file from its start: that is harmless, events have identity.
        """
        while True:
            with self._lock:
                lines = self._lines(self._file, self._taken, self._size, batch_events)
                if not lines:
                    if self._size:
                        self._write(b"\0", 0)
                    self._size = self._taken = self.events = 0
                    break
            if not take(self._decode(lines)):
                return False
            with self._lock:
                self._taken += sum(map(len, lines))
                self.events -= len(lines)
        orphans = (path for path in sorted(self._directory.glob("*.spool")) if path != self._path)
        return all(self._replay_orphan(path, take, batch_events) for path in orphans)

    def set_aside(self, event: Event, reason: str) -> None:
        """Keep an event that the store refuses for good in `dead-letter.ndjson`."""
        line = json.dumps({"reason": reason, "event": to_cloudevent(event)}) + "\n"
        self._append("dead-letter.ndjson", line.encode())

    def close(self) -> None:
        """Give the file up; remove it when nothing waits in it."""
        with self._lock:
            self._closed = True
            if self._size == 0:
                self._path.unlink(missing_ok=True)
            os.close(self._file)

    def _write(self, data: bytes, offset: int) -> bool:
        if self._closed:
            return False
        try:
            written = os.pwrite(self._file, data, offset)
            os.fsync(self._file)
        except OSError:
            log.exception("spool: can't write %s", self._path)
            return False
        return written == len(data)

    def _replay_orphan(
        self, path: Path, take: Callable[[list[Event]], bool], batch_events: int
    ) -> bool:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken, size = 0, os.fstat(file).st_size
            while lines := self._lines(file, taken, size, batch_events):
                if not take(self._decode(lines)):
                    return False
                taken += sum(map(len, lines))
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its process is alive
        finally:
            os.close(file)
        return True

    @staticmethod
    def _lines(file: int, offset: int, end: int, most: int) -> list[bytes]:
        """Return at most `most` records from `offset` on, up to the first NUL."""
        data = b""
        while offset + len(data) < end and b"\0" not in data and data.count(b"\n") < most:
            chunk = os.pread(file, min(_CHUNK, end - offset - len(data)), offset + len(data))
            if not chunk:
                break
            data += chunk
        return data.partition(b"\0")[0].splitlines(keepends=True)[:most]

    def _decode(self, lines: Sequence[bytes]) -> list[Event]:
        """Return the events of records; damaged ones are kept aside."""
        events = []
        for line in lines:
            try:
                events.append(decode(line.rstrip(b"\n")))
            except ValueError as error:
                self.damaged += 1
                log.warning("spool: a record is damaged (%s) and kept aside", error)
                self._append("damaged.ndjson", line)
        return events

    def _append(self, name: str, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            file = os.open(self._directory / name, flags, 0o600)
            try:
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError:
            log.exception("spool: can't write %s", name)


def _fsync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
