"""A fair lock for threads."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from asu_stats.exceptions import StoreUnavailableError


class FairLock:
    """A lock that threads get in the order in which they asked for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    @contextlib.contextmanager
    def wait(self, *, seconds: float) -> Iterator[None]:
        """Hold the lock in a block. Raises `StoreUnavailableError` after `seconds` of waiting."""
        if not self._acquire(seconds):
            raise StoreUnavailableError("database: other requests have been writing for too long")
        try:
            yield
        finally:
            self._release()

    def _acquire(self, seconds: float) -> bool:
        turn = threading.Event()
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            self._waiting.append(turn)
        if turn.wait(seconds):
            return True
        with self._guard:
            if turn.is_set():  # released just now
                return True
            self._waiting.remove(turn)
            return False

    def _release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
