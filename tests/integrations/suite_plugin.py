"""A pytest plug-in for upstream's own test suite: its app observed, and how each test ended.

Settings in the environment: `SUITE_RESULTS` is the file to write, `SUITE_OBSERVED` says whether the
suite gets our app, `SUITE_BUILDS` whether a stand-in replaces upstream's build function.
"""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

found: dict[str, list[str]] = {}


def pytest_configure() -> None:
    if os.environ.get("SUITE_BUILDS"):
        import asu.build

        asu.build._build = import_module("stand_in").fake_build


@pytest.fixture(autouse=True)
def observed(request: pytest.FixtureRequest) -> None:
    """Observe the app of a test. Upstream's fixture imports it once its download site is up."""
    if os.environ.get("SUITE_OBSERVED") and "app" in request.fixturenames:
        theirs = request.getfixturevalue("app")
        from asu_stats.integrations.upstream import app

        assert app is theirs
        assert app.state.asu_stats


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" or report.outcome != "passed":
        found.setdefault(report.nodeid, []).append(report.outcome)


def pytest_sessionfinish() -> None:
    from asu_stats.integrations.reporting import emitter

    events = emitter()
    if events is not None:
        events.flush(30)
    result = {"tests": found, "events": events.stats() if events is not None else None}
    Path(os.environ["SUITE_RESULTS"]).write_text(json.dumps(result))
