"""A bell that calls workers of the same process, so that they need not ask all the time."""

import threading


class Bell:
    """Remembers that it was rung: whoever looks at `rings` first misses no ring."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        """How often it was rung so far."""
        return self._rings

    def ring(self) -> None:
        """Call everybody who waits."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, heard: int, *, seconds: float) -> None:
        """Wait until it has been rung more often than `heard`, at most so long."""
        with self._condition:
            self._condition.wait_for(lambda: self._rings != heard, timeout=seconds)
