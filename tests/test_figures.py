"""Columns of figures are what each would be alone, however large the counts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.reports import figures

COUNTS = st.one_of(st.integers(0, 5), st.integers(0, 10**12), st.integers(2**60, 2**62))


@given(pairs=st.lists(st.tuples(COUNTS, COUNTS), max_size=20))
def test_rates_and_averages_of_columns_are_those_of_single_values(
    pairs: list[tuple[int, int]],
) -> None:
    parts, wholes = np.array(pairs, np.int64).reshape(-1, 2).T
    assert figures.rates(parts, wholes) == [figures.rate(*pair) for pair in pairs]
    assert figures.averages(parts, wholes) == [figures.average(*pair) for pair in pairs]


@given(
    counts=st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 99)), COUNTS, max_size=60),
    places=st.integers(1, 5),
)
def test_the_largest_of_each_group(counts: dict[tuple[int, int], int], places: int) -> None:
    keys = sorted(counts)
    expected, sizes = [], [0] * 10
    for group in range(10):
        some = [(-counts[key], key) for key in keys if key[0] == group and counts[key]]
        sizes[group] = len(some)
        expected += [key for _, key in sorted(some)[:places]]
    groups = np.array([group for group, _ in keys], np.int64)
    amounts = np.array([counts[key] for key in keys], np.int64)
    ranked, found = figures.top_of_each(groups, amounts, places)
    assert [keys[place] for place in ranked.tolist()] == expected
    assert [*found.tolist(), *[0] * 10][:10] == sizes
