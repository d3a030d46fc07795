"""Durations of the phases of a build, as they are counted.

Durations have four significant digits and at most three decimals, rounded half up: to a
millisecond below 10 seconds, to a hundredth below 100, to a tenth below 1,000, and to a second
above. So a phase has a few thousand different durations, whatever the number of builds.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

_STEPS: Final = ((10, 1), (100, 10), (1_000, 100))  # below seconds: multiples of milliseconds
_LONGEST_STEP: Final = 1_000
_ONE: Final = Decimal(1)


def milliseconds(seconds: float) -> int:
    """Return a duration in milliseconds, rounded as it is counted."""
    step = next((step for below, step in _STEPS if seconds < below), _LONGEST_STEP)
    steps = Decimal(repr(seconds)) * 1_000 / step
    return int(steps.quantize(_ONE, ROUND_HALF_UP)) * step


def counted(phases: Mapping[str, float] | None) -> tuple[tuple[str, int], ...]:
    """Return the phases of a build, by name, with their rounded milliseconds."""
    return tuple((name, milliseconds(seconds)) for name, seconds in sorted((phases or {}).items()))
