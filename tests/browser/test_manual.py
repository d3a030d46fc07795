"""The manual in Chromium: search, themes, widths, accessibility."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import expect

from asu_stats import server, settings
from asu_stats.dashboard import manual
from tests.browser.conftest import Watched
from tests.browser.test_pages import violations
from tests.processes import free_port

pytestmark = pytest.mark.browser
PAGES = ("index", "operations", "configuration", "reference/figures", "CHANGELOG")


@pytest.fixture
def site(tmp_path: Path, manual_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with the manual of the pages as they are."""
    monkeypatch.setattr(manual, "DIRECTORY", manual_site)
    app = server.create(settings.load(database_url=f"sqlite:///{tmp_path}/s.db", build_api=False))
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join()


def complaints(watched: Watched) -> list[str]:
    """What the console says, but for the notes of the theme."""
    notes = ("[PST]", "Set focus on search field")
    return [text for text in watched.complaints if not text.startswith(notes)]


def test_the_manual(watch: Callable[..., Watched], site: str) -> None:
    watched = watch(site)
    for name in PAGES:
        page = watched.go(f"/manual/{name}.html")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for width in (1440, 768, 360):
                page.set_viewport_size({"width": width, "height": 900})
                assert not watched.is_wide(), f"{name} scrolls sideways at {width}"
        page.set_viewport_size({"width": 1440, "height": 900})
    assert complaints(watched) == []
    for width, scheme in ((1440, "light"), (360, "dark")):
        other: Any = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        page = watch(site, **other).go("/manual/operations.html")
        page.wait_for_timeout(500)  # code that is wider than the page becomes focusable
        assert violations(page) == [], f"{width}, {scheme}"

    watched = watch(site)
    page = watched.go("/manual")
    page.keyboard.press("Control+k")
    page.keyboard.type("retention")
    page.keyboard.press("Enter")
    first = page.locator("#search-results li a").first
    first.click()
    expect(page.locator("h1")).to_be_visible()
    page.locator("footer").get_by_role("link", name="Dashboard").click()
    expect(page.get_by_role("heading", name="No data yet")).to_be_visible()
    assert complaints(watched) == []
