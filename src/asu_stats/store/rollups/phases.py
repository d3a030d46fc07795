"""How long the phases of a build took, as they are counted.

Seconds have four digits that matter and at most three decimals: half up to a millisecond below 10
seconds, to a hundredth below 100, to a tenth below 1,000, and to a second above. So a phase has
few thousand different durations, however many builds there are.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

_STEPS: Final = ((10, 1), (100, 10), (1_000, 100))  # below seconds: multiples of milliseconds
_LONGEST_STEP: Final = 1_000
_ONE: Final = Decimal(1)


def milliseconds(seconds: float) -> int:
    """Return the milliseconds as which a duration counts."""
    step = next((step for below, step in _STEPS if seconds < below), _LONGEST_STEP)
    steps = Decimal(repr(seconds)) * 1_000 / step
    return int(steps.quantize(_ONE, ROUND_HALF_UP)) * step


def counted(phases: Mapping[str, float] | None) -> tuple[tuple[str, int], ...]:
    """Return the phases of a build, by name, with the milliseconds as which each counts."""
    return tuple((name, milliseconds(seconds)) for name, seconds in sorted((phases or {}).items()))
