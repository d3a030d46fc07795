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
    "environment: ASU_STATS_LEFT$": lambda: os.environ.update(ASU_STATS_LEFT="secret"),
    "environment: HOME$": lambda: os.environ.pop("HOME"),
    "directory: / instead": lambda: os.chdir("/"),
    "temporary directory: /nowhere instead": another_place,
    "signals: .*SIG_IGN": no_signal,
}


@pytest.mark.parametrize("message", LEFT)
def test_what_a_test_leaves_is_named_and_removed(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/root")
    before = leftovers._state()
    with pytest.raises(AssertionError, match=message), leftovers.none():
        LEFT[message]()
    assert leftovers._state() == before
    assert before["directory"] == str(Path.cwd())


def test_levels_of_logging_are_restored() -> None:
    logger = logging.getLogger("asu_stats")
    level = logger.level
    with leftovers.none():
        logger.setLevel(level + 7)
    assert logger.level == level


def test_every_test_is_watched(request: pytest.FixtureRequest) -> None:
    assert "nothing_left" in request.fixturenames
