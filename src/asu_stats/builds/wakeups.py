"""A bell that calls workers of the same process, so that they need not ask all the time."""

import threading


class Wakeups:
    """Remembers that it was rung: whoever looks at `count` first misses no ring."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """How often it was rung so far."""
        return self._count

    def notify(self) -> None:
        """Call everybody who waits."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, *, seconds: float) -> None:
        """Wait until it has been rung more often than `seen`, at most so long."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, timeout=seconds)
