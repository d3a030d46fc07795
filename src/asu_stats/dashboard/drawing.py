"""Graphics drawn on the server: sparklines."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

WIDTH: Final = 120
HEIGHT: Final = 32
_MARGIN: Final = 2.5


def sparkline(values: Sequence[float | None], *, from_zero: bool = True) -> list[str]:
    """Return the lines of a sparkline as points of SVG, with gaps for unknown values."""
    known = [value for value in values if value is not None]
    if len(values) < 2 or not known:
        return []
    least = min(0.0, *known) if from_zero else min(known)
    spread = max(known) - least or 1
    across = (WIDTH - 2 * _MARGIN) / (len(values) - 1)
    down = HEIGHT - 2 * _MARGIN

    def point(place: int, value: float) -> str:
        x = _MARGIN + place * across
        y = HEIGHT - _MARGIN - (value - least) / spread * down
        return f"{x:.1f},{y:.1f}"

    lines = []
    for is_known, group in groupby(enumerate(values), key=lambda item: item[1] is not None):
        if is_known:
            points = [point(place, value) for place, value in group if value is not None]
            lines.append(" ".join(points if len(points) > 1 else points * 2))
    return lines
