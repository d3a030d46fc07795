"""Rankings within groups, with counts of any size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asu_stats.store.blocks import totals

COUNTS = st.one_of(st.integers(0, 5), st.integers(0, 10**12), st.integers(2**60, 2**62))


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
    ranked, found = totals.top_of_each(groups, amounts, places)
    assert [keys[place] for place in ranked.tolist()] == expected
    assert [*found.tolist(), *[0] * 10][:10] == sizes
