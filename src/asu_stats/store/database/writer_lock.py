"""Mutual exclusion of the writers of one SQLite file, between threads and processes.

A writer holds a `flock` on a side file. That is fair, and the kernel releases it with the process.
"""

import contextlib
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.ownership import PRIVATE, Owner

_LONGEST_PAUSE: Final = 0.001
_PATIENT_PAUSE: Final = 0.2


class WriterLock:
    """Lets one writer in at a time.

    A process that waits for the lock holds the turn, and the lock is never taken without the turn.
    A process that writes repeatedly therefore cannot overtake a waiting one.
    """

    def __init__(self, database: Path, seconds: float) -> None:
        self._database = database.resolve()  # a link to the same file is the same database
        self._turn = self._database.with_name(f"{self._database.name}.turn")
        self._lock = self._database.with_name(f"{self._database.name}.lock")
        self._threads = threading.Lock()
        self._seconds = seconds

    @contextlib.contextmanager
    def held(self, waiting: Callable[[], object] | None = None) -> Iterator[None]:
        """Hold the lock in a block.

        Without `waiting` this raises `StoreUnavailableError` if the lock is not free in time. With
        it, that function is called once if the lock is not free, and this waits as long as needed.
        """
        deadline = None if waiting else time.monotonic() + self._seconds
        if not self._threads.acquire(timeout=-1 if waiting else self._seconds):
            raise StoreUnavailableError("database: another thread has been writing for too long")
        try:
            with contextlib.ExitStack() as held:
                late = _Once(waiting)
                with self._locked(self._turn, deadline, late):
                    held.enter_context(self._locked(self._lock, deadline, late))
                yield
        finally:
            self._threads.release()

    @contextlib.contextmanager
    def _locked(self, path: Path, deadline: float | None, late: "_Once") -> Iterator[None]:
        """Hold a lock on a side file; the kernel drops it with the process."""
        try:
            file = self._opened(path)
        except OSError as error:
            raise StoreUnavailableError(f"{path}: {error.strerror or error}") from None
        pause, since = 0.0002, time.monotonic()
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if deadline is not None and time.monotonic() > deadline:
                        raise StoreUnavailableError(
                            "database: another process has been writing for too long"
                        ) from None
                    patient = deadline is None and time.monotonic() > since + 1
                    if patient:
                        late.tell()
                    most = _PATIENT_PAUSE if patient else _LONGEST_PAUSE
                    time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the waiters
                    pause = min(pause * 1.5, most)
                except OSError as error:
                    raise StoreUnavailableError(f"{path}: {error.strerror or error}") from None
            yield
        finally:
            os.close(file)

    def _opened(self, path: Path) -> int:
        """Open or create a side file. Read access is enough to lock it."""
        owner = Owner.of(self._database, self._database.parent)
        try:
            return owner.open(path, os.O_RDWR, PRIVATE)
        except PermissionError:
            if not path.is_file():
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class _Once:
    """Calls something at most once."""

    def __init__(self, call: Callable[[], object] | None) -> None:
        self._call = call

    def tell(self) -> None:
        if self._call:
            self._call()
            self._call = None
