"""The status line: the state of alerts on the overview and the alerts page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import sqlite_database
from tests.monitor.support import Play
from tests.support import Stats


@pytest.fixture
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Play]:
    with Stats.on(sqlite_database(request), tmp_path / "spool") as stats:
        yield Play(stats)


def state(play: Play, page: str = "/") -> str:
    """The words of the state, in one line."""
    text = play.stats.client.get(page).text
    found = re.search(r'<div class="state".*?</div>', text, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]+>", "", found[0]).split())


def test_from_well_to_firing_and_back(play: Play) -> None:
    assert state(play).startswith("Alert rules have not been evaluated yet")
    play.builds(100)
    play.go(2)
    assert state(play).startswith("All systems normal. 0 building, 0 waiting. ")
    play.builds(100, failed=60, version="24.10.2", error_type="image_too_big")
    play.go(20)
    for page in ("/", "/alerts"):
        assert "Low success rate: " in state(play, page)
        assert ", since 2026-09-30 12:0" in state(play, page)
    shown = state(play)
    assert shown.count("Most common: error type image_too_big (100%)") == 1
    part = "Part of the incident: Sudden rise in failures: version 24.10.2, error image_too_big"
    assert f"Details {part} Sudden rise in failures (24.10.2, image_too_big): " in shown
    assert "1 more alert. " in shown
    incident = play.alerts()["incidents"][0]
    shown = play.stats.client.get("/alerts").text
    assert incident["title"] in shown
    assert "No incidents yet" not in shown
    play.builds(900)
    play.go(20)
    assert "Low success rate" not in state(play)
