"""Wakes workers of the same process when a build is queued, so that they need not poll."""

import threading


class Wakeups:
    """Counts notifications. A thread that reads `count` before it checks for work misses none."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """Number of notifications so far."""
        return self._count

    def notify(self) -> None:
        """Wake all waiting threads."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, *, seconds: float) -> None:
        """Wait until `count` differs from `seen`, at most `seconds`."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, timeout=seconds)
