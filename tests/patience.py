"""Time limits that hold on a busy machine."""

import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 120.0  # until a test gives up waiting for what must happen


def within(seconds: float, attempt: Callable[[], object], *, tries: int = 10) -> None:
    """Check that `attempt` can take less than `seconds`: other processes may delay some tries."""
    for _ in range(tries):
        began = time.monotonic()
        attempt()
        if time.monotonic() - began < seconds:
            return
    raise AssertionError(f"each of {tries} tries took {seconds} s or more")
