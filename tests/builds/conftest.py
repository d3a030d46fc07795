"""A build service on a new database of each kind, with a clock that tests control."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from asu_stats.builds import outbox
from asu_stats.builds.service import BuildService
from asu_stats.settings import Settings

from .support import PATIENCE, Clock, Recorder, settings_for


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def service(
    engine: Engine,
    settings: Settings,
    recorder: Recorder,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> BuildService:
    monkeypatch.setattr(outbox, "BUSY_SECONDS", PATIENCE)  # many threads wait for one another
    return BuildService(engine, settings, recorder, clock=clock)
