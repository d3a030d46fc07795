"""Detects steps of the wall clock by comparing it with a monotonic clock."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from asu_stats.event_times import format_time

STEP_SECONDS: Final = 30.0  # less is a correction by NTP
SHOWN_SECONDS: Final = 3_600.0


def steady() -> float:
    """Return seconds of a monotonic clock; it includes time asleep if the system supports it."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@dataclass(frozen=True, slots=True)
class Step:
    """A jump of the wall clock: seconds, positive for forward, and the time after it."""

    seconds: float
    at: datetime

    def __str__(self) -> str:
        direction = "forward" if self.seconds > 0 else "back"
        return f"jumped {direction} by {abs(self.seconds):.0f} seconds at {format_time(self.at)}"


class ClockWatch:
    """Counts the steps of the wall clock since the process started. Safe from any thread."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady,
    ) -> None:
        self.steps = 0
        self.last: Step | None = None
        self._wall = wall
        self._steady = steady
        self._guard = threading.Lock()
        self._offset = wall() - steady()
        self._seen = 0.0

    def check(self) -> int:
        """Compare the clocks. Return the number of steps so far."""
        with self._guard:
            now, steady = self._wall(), self._steady()
            seconds = now - steady - self._offset
            self._offset += seconds
            if abs(seconds) >= STEP_SECONDS:
                self.steps += 1
                self.last = Step(seconds, datetime.fromtimestamp(round(now), UTC))
                self._seen = steady
            return self.steps

    def recent(self) -> Step | None:
        """Return the last step if it was within the last hour."""
        self.check()
        is_recent = self.last and self._steady() - self._seen <= SHOWN_SECONDS
        return self.last if is_recent else None
