"""Chromium, and servers for it."""

import json
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import processes
from tests.browser import chromium
from tests.conftest import sqlite_database
from tests.support import TOKEN

PATIENCE_MS = 60_000  # until a test gives up; a busy machine may need much
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def same_day() -> None:
    """Let a test begin and end on one day in UTC: shortly before midnight, wait for the next."""
    now = datetime.now(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
    if midnight - now < timedelta(minutes=2):
        sleep((midnight - now).total_seconds() + 1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of the system; without one these tests are skipped, unless they are required."""
    path = chromium.find()
    if path is None:
        if os.environ.get("ASU_STATS_REQUIRE_BROWSER"):
            pytest.fail("no Chromium: install it (apt-get install chromium)")
        pytest.skip("no Chromium on this machine")
    with chromium.started(path) as browser:
        yield browser


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo server with a history of sixteen days."""
    directory: Path = tmp_path_factory.mktemp("demo")
    port = processes.free_port()
    arguments = ("demo", "--port", str(port), "--days", "16", "--requests", "1600")
    with processes.running(directory, "sqlite:///unused.db", *arguments):
        processes.wait_ready(port)
        yield f"http://127.0.0.1:{port}"


@dataclass(slots=True)
class Server:
    """A server where nothing happens but what a test sends."""

    url: str

    def record(self, *events: Any) -> None:
        """Post events, or lists of them."""
        flat = [e for item in events for e in (item if isinstance(item, list) else [item])]
        request = urllib.request.Request(
            f"{self.url}/api/v1/stats/events",
            json.dumps(flat).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200

    def get(self, path: str) -> Any:
        """Return what the API says."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            return json.load(answer)


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server with an empty database."""
    port = processes.free_port()
    arguments = ("serve", "--port", str(port), "--builder", "none")
    with processes.running(tmp_path, sqlite_database(request), *arguments):
        processes.wait_ready(port)
        yield Server(f"http://127.0.0.1:{port}")


@dataclass(slots=True)
class Watched:
    """A page of which every complaint is noted: the console's, and requests to other hosts."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self._look_at(request.url))
        self.page.on("websocket", lambda socket: self._look_at(socket.url))

    def _look_at(self, url: str) -> None:
        if not url.split("://")[1].startswith(self.url.split("://")[1]):
            self.complaints.append(f"asks {url}")

    def go(self, path: str, *, drawn: bool = True) -> Page:
        """Open a path and wait until its charts are drawn."""
        answer = self.page.goto(f"{self.url}{path}")
        assert answer is not None
        assert answer.status == 200
        if drawn and self.page.locator("figure.chart").count():
            self.page.locator("html[data-drawn]").wait_for(state="attached")
        return self.page

    def is_wide(self) -> bool:
        """Tell whether the page can be scrolled sideways."""
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(wide))


@pytest.fixture
def watch(browser: Browser) -> Iterator[Any]:
    """Return a function that opens a watched page in a context of its own."""
    contexts = []

    def open_page(url: str, **options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        return Watched(context.new_page(), url)

    yield open_page
    for context in contexts:
        context.close()
