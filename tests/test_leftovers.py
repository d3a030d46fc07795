"""Tests leave nothing in their process."""

import logging
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import leftovers


def no_signal() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def another_place() -> None:
    tempfile.tempdir = "/nowhere"


LEFT: dict[str, Callable[[], object]] = {
    "a variable": lambda: os.environ.update(ASU_STATS_LEFT="1"),
    "another value": lambda: os.environ.update(HOME="/nowhere"),
    "no variable": lambda: os.environ.pop("HOME"),
    "the working directory": lambda: os.chdir("/"),
    "the temporary directory": another_place,
    "a handler of a signal": no_signal,
}


@pytest.mark.parametrize("left", LEFT)
def test_what_a_test_changes_is_restored(left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/root")
    before, directory = leftovers._state(), Path.cwd()
    with leftovers.none():
        LEFT[left]()
        assert leftovers._state() != before
    assert leftovers._state() == before
    assert (os.environ["HOME"], Path.cwd()) == ("/root", directory)
    assert "ASU_STATS_LEFT" not in os.environ


def test_levels_of_logging_are_restored() -> None:
    logger = logging.getLogger("asu_stats")
    level = logger.level
    with leftovers.none():
        logger.setLevel(level + 7)
    assert logger.level == level


def test_every_test_is_watched(request: pytest.FixtureRequest) -> None:
    assert "nothing_left" in request.fixturenames
