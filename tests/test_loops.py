"""Loops continue after an error, and stop when asked to."""

import logging
import threading

import pytest

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.loops import Loop


def test_errors_are_reported_and_do_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = iter([ValueError("odd"), StoreUnavailableError("away"), ValueError("odd"), None])
    done = threading.Event()

    def do() -> None:
        outcome = next(outcomes, None)
        if outcome is not None:
            raise outcome
        done.set()

    with caplog.at_level(logging.INFO), Loop("work", do, seconds=0.001, at_once=True):
        assert done.wait(120)
    said = [record.getMessage() for record in caplog.records]
    assert "work: unexpected error" in said
    assert not any("away" in line for line in said)


def test_one_that_waits_does_nothing_before_and_stops_at_once() -> None:
    loop = Loop("work", pytest.fail, seconds=lambda: 3600.0)
    with loop:
        pass
    assert loop.join(0)
    assert loop.is_stopping


def test_join_tells_whether_it_has_ended() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def do() -> None:
        begun.set()
        go_on.wait(120)

    loop = Loop("work", do, seconds=3600, at_once=True)
    assert loop.join(0)  # never started
    loop = Loop("work", do, seconds=3600, at_once=True)
    loop.start()
    assert begun.wait(120)
    assert not loop.join(0.01)
    go_on.set()
    assert loop.join(10)
