"""Fixtures of the demo: one history, created once."""

from datetime import UTC, datetime

import pytest

from asu_stats.demo.history import history
from asu_stats.events import Event

NOW = datetime(2026, 11, 24, 18, 20, 12, tzinfo=UTC)
DAYS = 30
REQUESTS = 6000


@pytest.fixture(scope="session")
def events() -> list[Event]:
    """Thirty days that end at `NOW`, long after the newest version."""
    return list(history(days=DAYS, requests=REQUESTS, now=NOW))
