"""The order of tests: the longest first, shared out among all workers."""

from itertools import chain
from pathlib import Path

import pytest

from tests import order


@pytest.mark.parametrize("workers", [1, 3, 4, 7])
def test_each_worker_begins_with_some_of_the_longest(workers: int) -> None:
    long = [f"{name}[{kind}]" for name in order.LONGEST for kind in ("sqlite", "postgresql")]
    names = [f"tests/test_some.py::test_{number}" for number in range(401)]
    for place, name in enumerate(long):
        names.insert(place * 11, name)
    found = order.dealt(names, names, workers)
    assert sorted(found) == sorted(names)
    begin, left = 0, len(names)
    heads = []
    for worker in range(workers):  # as `--dist worksteal` deals them out
        length = left // (workers - worker)
        heads.append([name for name in found[begin : begin + length] if name in long])
        assert found[begin : begin + len(heads[-1])] == heads[-1]
        begin, left = begin + length, left - length
    assert max(map(len, heads)) - min(map(len, heads)) <= 1
    assert sorted(chain.from_iterable(heads)) == sorted(long)
    assert heads[0][0] == long[0]
    others = [name for name in found if name not in long]
    assert others == sorted(others, key=names.index)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_few_tests_are_all_run(count: int) -> None:
    names = list(order.LONGEST[:count])
    assert sorted(order.dealt(names, names, 4)) == sorted(names)


def test_all_of_them_are_there() -> None:
    assert order.missing(Path(__file__).parents[1]) == []
