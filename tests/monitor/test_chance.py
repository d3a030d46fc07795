"""Fisher's exact test against its definition."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.chance import fisher, normal


@given(st.data())
def test_fisher_is_the_hypergeometric_tail(data: st.DataObject) -> None:
    builds, others = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 200))
    failures = data.draw(st.integers(0, builds))
    other_failures = data.draw(st.integers(0, others))
    failed, total = failures + other_failures, builds + others

    tail = sum(
        comb(failed, count) * comb(total - failed, builds - count)
        for count in range(failures, min(builds, failed) + 1)
    )
    expected = Fraction(tail, comb(total, builds))

    assert fisher(failures, builds, other_failures, others) == pytest.approx(
        float(expected), rel=1e-9
    )


def test_large_numbers_are_no_trouble() -> None:
    assert fisher(50_000, 100_000, 500_000, 1_000_000) == pytest.approx(0.5, abs=0.01)
    assert fisher(9_000, 10_000, 50_000, 1_000_000) == 0.0
    assert 0 < fisher(40, 100, 50_000, 1_000_000) < 1e-20


def test_normal_is_the_upper_tail() -> None:
    assert normal(0) == 0.5
    assert normal(3) == pytest.approx(0.00135, rel=0.01)
