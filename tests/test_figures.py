"""Figures equal exact fractions, rounded half up: at every half, and with counts of any size."""

from collections.abc import Callable
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asu_stats.reports import figures

COUNTS = st.one_of(st.integers(0, 5), st.integers(0, 10**12), st.integers(2**60, 2**62))
STEPS = st.integers(-(10**9), 10**9)


def rounded(value: Fraction, decimals: int) -> float:
    """Round half up, as on paper."""
    scale: int = 10**decimals
    return floor(value * scale + Fraction(1, 2)) / scale


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(COUNTS, COUNTS), max_size=20))
def test_rates_and_averages_of_columns_are_those_of_single_values(
    pairs: list[tuple[int, int]],
) -> None:
    parts, wholes = [part for part, _ in pairs], [whole for _, whole in pairs]
    assert figures.rates(parts, wholes) == [figures.quotient(100 * p, w, 2) for p, w in pairs]
    assert figures.averages(parts, wholes) == [figures.quotient(t, n, 1) for t, n in pairs]
    assert [figures.rate(*pair) for pair in pairs] == figures.rates(parts, wholes)
    assert [figures.average(*pair) for pair in pairs] == figures.averages(parts, wholes)


@pytest.mark.parametrize("columns", [figures.rates, figures.averages])
@pytest.mark.parametrize("lengths", [(1, 2), (2, 1)])
def test_columns_of_different_lengths_are_refused(
    columns: Callable[..., object], lengths: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="zip"):
        columns([1] * lengths[0], [1] * lengths[1])


@settings(deadline=None)
@given(
    step=STEPS,
    beside=st.sampled_from((-1, 0, 1)),
    decimals=st.integers(0, 3),
    factor=st.integers(1, 10**6),
)
def test_a_quotient_at_a_half_is_rounded_up(
    step: int, beside: int, decimals: int, factor: int
) -> None:
    """The numerator is an odd number of halves of the last decimal, or one beside that."""
    denominator = 2 * 10**decimals * factor
    numerator = (2 * step + 1) * factor + beside
    exact = Fraction(numerator, denominator)
    found = figures.quotient(numerator, denominator, decimals)
    assert found == rounded(exact, decimals)
    if not beside:
        assert found == (step + 1) / 10**decimals


@settings(deadline=None)
@given(whole=st.integers(1, 400).map(lambda number: 20_000 * number), step=st.integers(0, 10**4))
def test_a_rate_at_a_half_is_rounded_up(whole: int, step: int) -> None:
    half = (2 * step + 1) * whole // 20_000  # of a hundredth of a percent
    for part in (half - 1, half, half + 1):
        assert figures.rate(part, whole) == rounded(Fraction(100 * part, whole), 2)
    assert figures.rate(half, whole) == (step + 1) / 100


@settings(deadline=None)
@given(count=st.integers(1, 10**6).map(lambda number: 20 * number), step=st.integers(0, 10**6))
def test_an_average_at_a_half_is_rounded_up(count: int, step: int) -> None:
    half = (2 * step + 1) * count // 20  # of a tenth
    for total in (half - 1, half, half + 1):
        assert figures.average(total, count) == rounded(Fraction(total, count), 1)
    assert figures.average(half, count) == (step + 1) / 10


def test_nothing_of_nothing_has_no_figure() -> None:
    assert figures.quotient(0, 0, 2) is None
    assert figures.rate(0, 0) is None
    assert figures.average(0, 0) is None
    assert figures.growth(5.0, 0.0) is None
    assert figures.rate(1, 1) == 100
    assert figures.average(1, 1) == 1


@settings(deadline=None)
@given(now=st.integers(0, 10**7), before=st.integers(1, 10**7))
def test_changes_are_those_of_the_figures_that_are_shown(now: int, before: int) -> None:
    """Both figures have two decimals, as a reader sees them."""
    expected = rounded(Fraction(100 * (now - before), before), 2)
    assert figures.growth(now / 100, before / 100) == expected
    assert figures.points(now / 100, before / 100) == (now - before) / 100


def test_changes_of_figures_with_more_decimals() -> None:
    assert figures.points(0.124, 0.116) == 0.0
    assert figures.points(0.126, 0.114) == 0.02
    assert figures.growth(1.004, 0.996) == 0.0
    assert figures.growth(1.006, 0.994) == 2.02


@settings(deadline=None)
@given(thousandths=st.integers(0, 10**9))
def test_hundredths_are_rounded_half_up(thousandths: int) -> None:
    expected = rounded(Fraction(thousandths, 1000), 2)
    assert figures.hundredths(thousandths / 1000) == expected


def test_hundredths_of_other_values() -> None:
    assert figures.hundredths(2 / 3) == 0.67
    assert figures.hundredths(0.0049994) == 0.0
    assert figures.hundredths(123_456.785) == 123_456.79
    assert str(figures.hundredths(0.0)) == "0.0"


@settings(deadline=None)
@given(hours=st.integers(0, 10**5), seconds=st.sampled_from((0, 17, 18, 19, 53, 54, 3599)))
def test_hours_are_rounded_half_up(hours: int, seconds: int) -> None:
    given = 3600 * hours + seconds
    assert figures.hours(given) == rounded(Fraction(given, 3600), 2)
    assert str(figures.hours(0)) == "0.0"


@settings(deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(0, 3), max_size=12),
    places=st.integers(1, 6),
    order=st.sampled_from((None, lambda name: chr(200 - ord(name)), lambda _: "")),
    as_pairs=st.booleans(),
)
def test_the_top_names_by_count_and_then_by_name(
    counts: dict[str, int],
    places: int,
    order: Callable[[str], str] | None,
    as_pairs: bool,
) -> None:
    def rank(name: str) -> tuple[int, str, str]:
        return -counts[name], order(name) if order else name, name

    names = sorted((name for name in counts if counts[name]), key=rank)[:places]
    found = figures.top(iter(counts.items()) if as_pairs else counts, places, order)
    assert found == [(name, counts[name]) for name in names]
