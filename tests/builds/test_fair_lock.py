"""A fair lock: first come, first served."""

import threading

import pytest

from asu_stats.builds.fair_lock import FairLock
from asu_stats.exceptions import StoreUnavailableError

from .support import eventually


def test_who_comes_first_goes_first() -> None:
    turns, order = FairLock(), list[int]()

    def one(number: int) -> None:
        with turns.wait(seconds=30):
            order.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    with turns.wait(seconds=0):
        for count, thread in enumerate(threads, 1):
            thread.start()
            eventually(lambda: len(turns._waiting) == count)  # noqa: B023 - asked at once
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_who_waits_too_long_goes_away_and_blocks_nobody() -> None:
    turns = FairLock()
    with turns.wait(seconds=0), pytest.raises(StoreUnavailableError), turns.wait(seconds=0.01):
        pass
    with turns.wait(seconds=0):
        pass


def test_an_error_ends_a_turn() -> None:
    turns = FairLock()
    with pytest.raises(KeyError), turns.wait(seconds=0):
        raise KeyError
    with turns.wait(seconds=0):
        pass
