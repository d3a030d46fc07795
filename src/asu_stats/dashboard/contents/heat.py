"""Heat maps: a figure by hour of the week, in UTC."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from asu_stats.reports.week import WEEKDAYS

LEVELS: Final = 8


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of a weekday: its colour from 0 to `LEVELS`, and its figure in words.

    The level is `None` if the figure is not known.
    """

    hour: int
    level: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Heat:
    """A heat map: weekdays with their hours, and the largest figure in words.

    Without days, there is nothing to show. `note` says what the figures do not cover.
    """

    name: str
    title: str
    days: Sequence[tuple[str, Sequence[Hour]]]
    most: str
    api: str
    csv: str = ""
    note: str = ""


def days(
    values: Sequence[float | None], words: Callable[[int], str]
) -> list[tuple[str, list[Hour]]]:
    """Return the weekdays of 168 hours, the first of which is Monday 00:00.

    `words` returns the figure of an hour in words.
    """
    largest = max((value for value in values if value is not None), default=0)

    def hour_of(place: int) -> Hour:
        value, hour = values[place], place % 24
        level = None if value is None else -int(-LEVELS * value // largest) if largest else 0
        return Hour(hour, level, f"{WEEKDAYS[place // 24]} {hour:02}:00 UTC: {words(place)}")

    return [
        (name, [hour_of(24 * day + hour) for hour in range(24)])
        for day, name in enumerate(WEEKDAYS)
    ]
