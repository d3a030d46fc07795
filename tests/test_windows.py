"""Time ranges and their buckets equal what a walk through every day says."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asu_stats.exceptions import InvalidParameterError
from asu_stats.windows import (
    FIRST_DAY,
    INTERVALS,
    LAST_DAY,
    MAX_DAYS,
    Interval,
    Window,
    bucket_of_day,
    bucket_of_hour,
    parse_date,
    parse_number,
)

TODAY = date(2026, 9, 30)
STARTS = st.one_of(
    st.dates(FIRST_DAY, date(9990, 1, 1)),
    st.dates(date(2023, 12, 20), date(2024, 3, 5)),  # a leap day and a change of year
)


def stamp(moment: datetime, interval: Interval) -> str:
    """Return the timestamp of the bucket of an hour, by words of the calendar alone."""
    if interval == "hour":
        return moment.strftime("%Y-%m-%dT%H:00:00Z")
    if interval == "week":
        year, week, _ = moment.isocalendar()
        return date.fromisocalendar(year, week, 1).isoformat()
    return moment.strftime("%Y-%m-%d" if interval == "day" else "%Y-%m")


def days_of(window: Window) -> list[date]:
    found, day = [], window.start
    while day <= window.end:
        found.append(day)
        day += timedelta(days=1)
    return found


@settings(deadline=None)
@given(start=STARTS, length=st.integers(1, 100), interval=st.sampled_from(INTERVALS))
@example(start=date(2024, 2, 29), length=1, interval="month")
@example(start=date(2024, 1, 31), length=30, interval="month")
@example(start=date(2023, 1, 31), length=29, interval="month")
@example(start=date(2023, 1, 31), length=60, interval="month")
@example(start=date(2024, 12, 30), length=3, interval="week")
@example(start=date(2024, 12, 29), length=9, interval="week")
def test_buckets_are_those_of_every_hour(start: date, length: int, interval: Interval) -> None:
    window = Window(start, start + timedelta(days=length - 1))
    days = days_of(window)
    assert list(window) == days
    assert window.days == len(days) == length
    hours = range(24) if interval == "hour" else range(1)
    moments = [datetime(d.year, d.month, d.day, hour, tzinfo=UTC) for d in days for hour in hours]
    expected = list(dict.fromkeys(stamp(moment, interval) for moment in moments))
    assert list(window.timestamps(interval)) == expected
    assert window.buckets(interval) == len(expected)
    if interval != "hour":
        assert [bucket_of_day(day, interval) for day in days] == [
            stamp(moment, interval) for moment in moments
        ]
        parts = list(window.parts(interval))
        assert [name for name, _ in parts] == expected
        assert [day for _, part in parts for day in part] == days
        assert all(stamp(m, interval) == name for name, part in parts for m in at_midnight(part))
    else:
        assert [bucket_of_hour(moment) for moment in moments] == expected


def at_midnight(window: Window) -> list[datetime]:
    return [datetime(d.year, d.month, d.day, tzinfo=UTC) for d in window]


@settings(deadline=None)
@given(days=st.integers(1, MAX_DAYS))
def test_the_last_days_end_today(days: int) -> None:
    window = Window.last(days, today=TODAY)
    assert (window.end, window.days) == (TODAY, days)


@settings(deadline=None)
@given(start=st.dates(FIRST_DAY, date(1971, 1, 1)), length=st.integers(1, 400))
def test_the_range_before_has_the_same_length_and_ends_the_day_before(
    start: date, length: int
) -> None:
    window = Window(start, start + timedelta(days=length - 1))
    before = window.before()
    if start - timedelta(days=length) < FIRST_DAY:
        assert before is None
    else:
        assert before == Window(start - timedelta(days=length), start - timedelta(days=1))


def parsed(days: str | None = None, start: str | None = None, end: str | None = None) -> Window:
    return Window.parse(days=days, start=start, end=end, default_days=30, today=TODAY)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Window(date(2026, 9, 1), TODAY)),
        ({"days": "1"}, Window(TODAY, TODAY)),
        ({"days": "3650"}, Window(TODAY - timedelta(days=3649), TODAY)),
        ({"start": "2026-09-30"}, Window(TODAY, TODAY)),
        ({"start": "2026-01-01", "end": "2026-01-01"}, Window(date(2026, 1, 1), date(2026, 1, 1))),
        ({"end": "2026-08-30"}, Window(date(2026, 8, 1), date(2026, 8, 30))),
        ({"end": "1970-01-10"}, Window(FIRST_DAY, date(1970, 1, 10))),
        ({"end": "1970-01-30"}, Window(FIRST_DAY, date(1970, 1, 30))),
        ({"end": "1970-01-31"}, Window(date(1970, 1, 2), date(1970, 1, 31))),
        ({"start": "9998-12-31", "end": "9998-12-31"}, Window(LAST_DAY, LAST_DAY)),
    ],
)
def test_parameters_select_a_range(given: dict[str, Any], expected: Window) -> None:
    assert parsed(**given) == expected


NUMBER = "a whole number from 1 to 3650"
DAY = "a day as YYYY-MM-DD, from 1970-01-01 to 9998-12-31"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"days": "0"}, f"days=0: expected {NUMBER}"),
        ({"days": "3651"}, f"days=3651: expected {NUMBER}"),
        ({"days": "-1"}, f"days=-1: expected {NUMBER}"),
        ({"days": "1 "}, f"expected {NUMBER}"),
        ({"days": "1", "start": "2026-01-01"}, "days=1: expected either days, or start and end"),
        ({"days": "1", "end": "2026-01-01"}, "days=1: expected either days, or start and end"),
        (
            {"start": "2026-10-01"},
            "start=2026-10-01: expected a day not after 2026-09-30",
        ),
        (
            {"start": "2026-01-02", "end": "2026-01-01"},
            "start=2026-01-02: expected a day not after 2026-01-01",
        ),
        ({"start": "1969-12-31"}, f"start=1969-12-31: expected {DAY}"),
        ({"end": "9999-01-01"}, f"end=9999-01-01: expected {DAY}"),
        ({"end": "2023-02-29"}, f"end=2023-02-29: expected {DAY}"),
        ({"end": "20230228"}, f"end=20230228: expected {DAY}"),
    ],
)
def test_other_parameters_are_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        parsed(**given)
    assert message in str(refused.value)


def test_numbers_have_bounds_and_plain_digits() -> None:
    assert parse_number("n", "0", minimum=0, maximum=0) == 0
    assert parse_number("n", "999999999", minimum=1, maximum=10**9) == 999_999_999
    for value in ("", "1000000000", "0x1", "1_0", "+1", "٣", "1.0"):
        with pytest.raises(InvalidParameterError):
            parse_number("n", value, minimum=0, maximum=10**10)


def test_days_have_bounds() -> None:
    assert parse_date("start", "1970-01-01") == FIRST_DAY
    assert parse_date("start", "9998-12-31") == LAST_DAY
