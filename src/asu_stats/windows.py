"""Time ranges in UTC days, and their buckets (docs/reference/figures.md, Time ranges)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal, Self, TypeAlias, get_args

from asu_stats.exceptions import InvalidParameterError
from asu_stats.times import midnight

MAX_DAYS: Final = 3650
MAX_HOURS: Final = 168
MAX_BUCKETS: Final = 10_000
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(9998, 12, 31)

Interval: TypeAlias = Literal["hour", "day", "week", "month"]
INTERVALS: Final[tuple[Interval, ...]] = get_args(Interval)

_DIGITS = re.compile(r"[0-9]{1,9}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Window:
    """UTC days from `start` to `end`, both inclusive."""

    start: date
    end: date

    @classmethod
    def last(cls, days: int, *, today: date) -> Self:
        """Return the `days` days that end with `today`."""
        return cls(today - timedelta(days=days - 1), today)

    @classmethod
    def parse(
        cls,
        *,
        days: str | None,
        start: str | None,
        end: str | None,
        default_days: int,
        today: date,
    ) -> Self:
        """Return the time range of query parameters.

        `days` ends today. `start` and `end` select any other range: `start` alone ends
        today, `end` alone selects the default number of days. Raises `InvalidParameterError`.
        """
        if start is None and end is None:
            return cls.last(default_days if days is None else _parse_days(days), today=today)
        if days is not None:
            expected = "either days, or start and end"
            raise InvalidParameterError("days", got=days, expected=expected)
        last = today if end is None else parse_date("end", end)
        if start is None:
            first = max(FIRST_DAY, last - timedelta(days=default_days - 1))
        else:
            first = parse_date("start", start)
        if first > last:
            raise InvalidParameterError(
                "start", got=first.isoformat(), expected=f"a day not after {last.isoformat()}"
            )
        return cls(first, last)

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1

    def buckets(self, interval: Interval) -> int:
        """Return the number of buckets in the range."""
        match interval:
            case "hour":
                return self.days * 24
            case "day":
                return self.days
            case "week":
                return (_monday(self.end) - _monday(self.start)).days // 7 + 1
            case "month":
                months = (self.end.year - self.start.year) * 12
                return months + self.end.month - self.start.month + 1

    def timestamps(self, interval: Interval) -> Iterator[str]:
        """Yield the timestamp of every bucket, in order."""
        if interval == "hour":
            first = midnight(self.start)
            yield from (
                bucket_of_hour(first + timedelta(hours=hour)) for hour in range(self.days * 24)
            )
            return
        if interval == "day":
            yield from (day.isoformat() for day in self)
            return
        before = ""
        step = {"week": 7, "month": 28}[interval]
        for number in range(0, self.days + step - 1, step):
            day = min(self.start + timedelta(days=number), self.end)
            timestamp = bucket_of_day(day, interval)
            if timestamp != before:
                yield timestamp
            before = timestamp

    def before(self) -> "Window | None":
        """Return the previous range of the same length, `None` if it would start before 1970."""
        if (self.start - FIRST_DAY).days < self.days:
            return None
        end = self.start - timedelta(days=1)
        return Window(end - timedelta(days=self.days - 1), end)

    def parts(self, interval: Interval) -> Iterator[tuple[str, "Window"]]:
        """Yield the timestamp of every bucket, in order, and its days in this window."""
        first = self.start
        for number, day in enumerate(self):
            stamp = bucket_of_day(day, interval)
            if number + 1 == self.days or bucket_of_day(day + timedelta(1), interval) != stamp:
                yield stamp, Window(first, day)
                first = day + timedelta(days=1)

    def __iter__(self) -> Iterator[date]:
        return map(date.fromordinal, range(self.start.toordinal(), self.end.toordinal() + 1))


def bucket_of_day(day: date, interval: Interval) -> str:
    """Return the timestamp of the bucket that `day` falls into; hours need `bucket_of_hour`."""
    match interval:
        case "week":
            return _monday(day).isoformat()
        case "month":
            return day.isoformat()[:7]
        case _:
            return day.isoformat()


def bucket_of_hour(hour: datetime) -> str:
    """Return the timestamp of an hour."""
    return hour.strftime("%Y-%m-%dT%H:00:00Z")


def parse_date(parameter: str, value: str) -> date:
    """Return the day that `YYYY-MM-DD` names. Raises `InvalidParameterError`."""
    try:
        day = date.fromisoformat(value) if _DATE.fullmatch(value) else None
    except ValueError:
        day = None
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        expected = "a day as YYYY-MM-DD, from 1970-01-01 to 9998-12-31"
        raise InvalidParameterError(parameter, got=value, expected=expected)
    return day


def parse_number(parameter: str, value: str, *, minimum: int, maximum: int) -> int:
    """Return the number that plain decimal digits name. Raises `InvalidParameterError`."""
    number = int(value) if _DIGITS.fullmatch(value) else -1
    if not minimum <= number <= maximum:
        expected = f"a whole number from {minimum} to {maximum}"
        raise InvalidParameterError(parameter, got=value, expected=expected)
    return number


def _parse_days(value: str) -> int:
    return parse_number("days", value, minimum=1, maximum=MAX_DAYS)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
