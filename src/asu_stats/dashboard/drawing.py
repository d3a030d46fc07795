"""Sparklines, drawn on the server."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

WIDTH: Final = 120
HEIGHT: Final = 32
_MARGIN: Final = 2.5


def sparkline(values: Sequence[float | None], *, from_zero: bool = True) -> list[str]:
    """Return the polylines of a sparkline as SVG points. `None` makes a gap."""
    known = [value for value in values if value is not None]
    if len(values) < 2 or not known:
        return []
    minimum = min(0.0, *known) if from_zero else min(known)
    extent = max(known) - minimum or 1
    step = (WIDTH - 2 * _MARGIN) / (len(values) - 1)
    height = HEIGHT - 2 * _MARGIN

    def point(index: int, value: float) -> str:
        x = _MARGIN + index * step
        y = HEIGHT - _MARGIN - (value - minimum) / extent * height
        return f"{x:.1f},{y:.1f}"

    lines = []
    for is_known, group in groupby(enumerate(values), key=lambda item: item[1] is not None):
        if is_known:
            points = [point(index, value) for index, value in group if value is not None]
            lines.append(" ".join(points if len(points) > 1 else points * 2))
    return lines
