"""Rates are shown with the decimals that their sample carries (docs/dashboard.md, Decimals)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.dashboard import formats
from asu_stats.monitor import texts
from asu_stats.reports import decimals, figures
from tests.decimals import as_shown


@st.composite
def shares(draw: st.DrawFn) -> tuple[int, int]:
    whole = draw(st.one_of(*(st.integers(1, most) for most in (120, 12_000, 10**7))))
    return draw(st.integers(0, whole)), whole


def row_of(part: int, whole: int) -> dict[str, Any]:
    return {
        "successful_builds": part,
        "failed_builds": whole - part,
        "success_rate": figures.rate(part, whole),
    }


@given(shares())
def test_a_rate_is_rounded_once_with_the_decimals_of_its_sample(share: tuple[int, int]) -> None:
    part, whole = share
    row = row_of(part, whole)
    assert decimals.sample_of(row, "success_rate") == whole
    text = decimals.shown(row["success_rate"], whole)
    assert float(text) == float(as_shown(part, whole))
    if text not in {"0", "100"}:
        assert text == as_shown(part, whole)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (2, 3, "67"),
        (98, 99, "99"),
        (99, 100, "99.0"),
        (1, 800, "0.1"),  # 0.125, which is 0.13 with two decimals
        (1, 5000, "0.02"),  # not 0.0
        (4998, 5000, "99.96"),  # not 100.0
        (9_999, 9_999, "100.0"),
        (1_234, 10_000, "12.34"),
        (0, 7, "0"),
    ],
)
def test_decimals_at_the_limits(part: int, whole: int, text: str) -> None:
    assert decimals.shown(row_of(part, whole)["success_rate"], whole) == text


@given(shares())
def test_the_sample_of_a_share_is_on_the_right_side(share: tuple[int, int]) -> None:
    part, whole = share
    found = decimals.sample_of(
        {"count": part, "percentage": figures.rate(part, whole)}, "percentage"
    )
    if found and (part >= 10 or not 5_000 < whole < 10_000):
        assert decimals.decimals_of(found) == decimals.decimals_of(whole)


def test_a_rate_without_a_known_sample_has_one_decimal() -> None:
    assert (
        decimals.shown(12.34, decimals.sample_of({"utilisation": 12.34}, "utilisation")) == "12.3"
    )
    basis = {"builds": 20_000, "requests": 50}
    assert decimals.shown(12.34, decimals.sample_of({}, "utilisation", basis)) == "12.34"
    assert decimals.shown(12.34, decimals.sample_of({}, "hit_rate", basis)) == "12"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (122.5, "2 min 03 s"),
        (121.5, "2 min 02 s"),
        (0.25, "0.3 s"),
        (9.96, "10.0 s"),
        (10.4, "10 s"),
    ],
)
def test_durations_are_rounded_half_up(seconds: float, text: str) -> None:
    assert formats.duration(seconds).striptags() == text


def test_values_in_messages_are_rounded_half_up() -> None:
    assert [texts.number(value) for value in (85.25, 85.15, 0.05, 85.0)] == [
        "85.3",
        "85.2",
        "0.1",
        "85",
    ]
