"""Columns of rates and averages equal single ones, with counts of any size."""

from hypothesis import given
from hypothesis import strategies as st

from asu_stats.reports import figures

COUNTS = st.one_of(st.integers(0, 5), st.integers(0, 10**12), st.integers(2**60, 2**62))


@given(pairs=st.lists(st.tuples(COUNTS, COUNTS), max_size=20))
def test_rates_and_averages_of_columns_are_those_of_single_values(
    pairs: list[tuple[int, int]],
) -> None:
    parts, wholes = [part for part, _ in pairs], [whole for _, whole in pairs]
    assert figures.rates(parts, wholes) == [figures.quotient(100 * p, w, 2) for p, w in pairs]
    assert figures.averages(parts, wholes) == [figures.quotient(t, n, 1) for t, n in pairs]
    assert [figures.rate(*pair) for pair in pairs] == figures.rates(parts, wholes)
    assert [figures.average(*pair) for pair in pairs] == figures.averages(parts, wholes)
