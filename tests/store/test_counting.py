"""`COUNTS` is complete: every sum has a source, every property exists."""

from typing import get_args

from asu_stats.store.rollups import facts
from asu_stats.store.rollups.counting import COUNTS, FIELDS
from asu_stats.store.rollups.definitions import (
    CLIENT_UNIQUE_REJECTED,
    CLIENT_UNIQUE_REQUESTS,
    DISTINCT,
    GAPS,
    ROLLUPS,
    UNIQUE_REJECTED,
    UNIQUE_REQUESTS,
)

# Sums of distinct things, which `request_days` and `definitions.DISTINCT` keep, and of gaps.
_DISTINCT = {
    (UNIQUE_REQUESTS.name, "requests"),
    (CLIENT_UNIQUE_REQUESTS.name, "requests"),
    (UNIQUE_REJECTED.name, "requests"),
    (CLIENT_UNIQUE_REJECTED.name, "requests"),
    ("stats_daily", "unique_requests"),
    (GAPS.name, "requests"),
    *((distinct.into.name, distinct.add) for distinct in DISTINCT),
}


def test_every_sum_is_added_to_by_some_fact() -> None:
    counted = {
        (count.rollup.name, column)
        for counts in COUNTS.values()
        for count in counts
        for column in count.sums
    }

    assert counted | _DISTINCT == {(rollup.name, add) for rollup in ROLLUPS for add in rollup.adds}
    assert not counted & _DISTINCT


def test_every_property_and_field_that_the_table_names_exists() -> None:
    assert set(COUNTS) == set(FIELDS) == set(get_args(facts.Fact))
    for kind, counts in COUNTS.items():
        for count in counts:
            assert count.rollup.key[1:] or not count.key
            assert len(count.key) == len(count.rollup.key) - 1
            assert set(count.key) <= set(FIELDS[kind])
            for name in count.sums.values():
                assert name in kind._fields or isinstance(getattr(kind, name), property)
