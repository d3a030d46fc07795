"""Time formats in files of the Go server."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.importers.go_times import micros, parse
from tests.importers.go_history import ZONES, go_time, iso, plain

FIRST, LAST = datetime(1970, 1, 2), datetime(9998, 1, 1)  # noqa: DTZ001 - Hypothesis adds it
EIGHT = datetime(2026, 1, 4, 8, 12, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2026-01-04 08:12:22.123456789 +0000 UTC m=+12.345678901", 123456),
        ("2026-01-04 09:12:22.12 +0100 CET m=+86412.000000001", 120000),
        ("2026-01-04 10:12:22 +0200 CEST", 0),
        ("2026-01-04 05:12:22.5 -0300 -03 m=-0.25", 500000),
        ("2026-01-04 08:12:22", 0),
        ("2026-01-04T08:12:22Z", 0),
        ("2026-01-04T09:12:22.5+01:00", 500000),
        ("2026-01-04 13:57:22 +0545 +0545", 0),
        ("2026-01-04 08:12:22.999999999 +0000 UTC", 999999),
    ],
)
def test_the_offset_decides(text: str, microseconds: int) -> None:
    assert parse(text) == EIGHT + timedelta(microseconds=microseconds)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "0", "now", 1767514342, b"2026-01-04 08:12:22", "2026-01-04", "08:12:22"),
        *("2026-02-30 08:12:22", "2026-01-04 24:12:22", "2026-01-04 08:12:22 CEST"),
        *("2026-01-04 08:12:22 m=+1.5", "0001-01-01 00:00:00 +0000 UTC", "2026-01-04 08:12:22 "),
        *(
            "2026-01-04 08:12:22 +0000 UTC m=",
            "2026-01-04 08:12:22 +9900 X",
            "\uff12026-01-04 08:12:22",
        ),
    ],
)
def test_what_is_no_time_is_none(text: object) -> None:
    with pytest.raises(ValueError, match=r"time|year|missing"):
        parse(text)
    assert micros(text) is None


@given(
    moment=st.datetimes(FIRST, LAST, timezones=st.just(UTC)),
    zone=st.sampled_from(ZONES),
    monotonic=st.none() | st.floats(-1e6, 1e6),
)
def test_what_is_written_is_read(
    moment: datetime, zone: tuple[int, str], monotonic: float | None
) -> None:
    assert parse(go_time(moment, *zone, monotonic)) == moment
    assert parse(iso(moment)) == moment
    assert parse(plain(moment)) == moment.replace(microsecond=0)
    found = micros(iso(moment))
    assert found is not None
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=found) == moment
