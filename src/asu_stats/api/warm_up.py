"""Warm-up: what the first requests of a process would wait for is computed at its start."""

import threading
import time
from collections.abc import Callable
from typing import Final, Self

MAX_SECONDS: Final = 10.0


class WarmUp:
    """Calls `compute` once, in a thread, so that the start takes no longer."""

    def __init__(self, compute: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=compute, name="warm-up", daemon=True)
        self._end = 0.0

    def wait(self) -> None:
        """Wait until it has ended, for at most ten seconds from its start."""
        seconds = self._end - time.monotonic()
        if seconds > 0 and self._thread.is_alive():
            self._thread.join(seconds)

    def __enter__(self) -> Self:
        self._end = time.monotonic() + MAX_SECONDS
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(MAX_SECONDS)
