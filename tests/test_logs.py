"""Repeated lines of the log are counted, not repeated."""

import logging

import pytest

from asu_stats import logs


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that the handler of the program writes."""
    written: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(logs.RepetitionFilter())
    handler.set_name("asu-stats")
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    return written


def refuse(times: int, name: str = "asu_stats.tests.a") -> None:
    for number in range(times):
        logging.getLogger(name).warning("refused number=%d", number)


def test_five_of_a_kind_are_written_and_the_rest_is_counted(lines: list[str]) -> None:
    refuse(4)
    assert logs.omitted() == 0
    refuse(10)
    refuse(7, "asu_stats.tests.b")
    assert len(lines) == 5 + 5
    assert logs.omitted() == 9 + 2


def test_what_a_line_reported_is_not_reported_again(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    refuse(12)
    assert logs.omitted() == 7
    now += 61
    refuse(1)
    assert lines[-1] == "refused number=0 suppressed=7"
    assert logs.omitted() == 0
