"""Threads that call a function periodically until they are stopped."""

import logging
import threading
from collections.abc import Callable
from typing import Self

from asu_stats.exceptions import StoreUnavailableError, reason
from asu_stats.logs import Condition

log = logging.getLogger(__name__)


class Loop:
    """Calls `do` every `seconds` in a thread of its own; with `at_once` also at the start.

    An exception does not end it. `sound` reports the exception and the recovery from it, except
    for an unavailable store, which the recorder reports. Pauses use the monotonic clock: a clock
    that jumps delays nothing.
    """

    def __init__(
        self,
        name: str,
        do: Callable[[], object],
        *,
        seconds: float | Callable[[], float],
        sound: Condition | None = None,
        at_once: bool = False,
    ) -> None:
        self._name = name
        self._do = do
        self._seconds = seconds
        self._sound = sound or Condition(log, name)
        self._at_once = at_once
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the loop end after the current call. Does not wait."""
        self._stopping.set()

    def join(self, seconds: float | None = None) -> bool:
        """Stop the loop and wait at most `seconds`. Returns whether it has ended."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()

    def _run(self) -> None:
        if not self._at_once and self._wait():
            return
        while True:
            self._once()
            if self._wait():
                return

    def _wait(self) -> bool:
        """Pause. Returns whether the loop must end."""
        return self._stopping.wait(self._seconds() if callable(self._seconds) else self._seconds)

    def _once(self) -> None:
        try:
            self._do()
            self._sound.works()
        except StoreUnavailableError as error:
            log.debug("%s: %s", self._name, error)
        except Exception as error:  # a bug; the thread must survive it
            self._sound.failed(reason(error), level=logging.ERROR, exc_info=True)
