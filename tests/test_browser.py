"""The pages in a real Chromium: they render, ask nobody else, and fit the screen."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from tests import processes

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system; without one these tests are skipped, unless they are required."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("ASU_STATS_REQUIRE_BROWSER"):
            pytest.fail("no Chromium: install it (apt-get install chromium)")
        pytest.skip("no Chromium on this machine")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo server with a short history."""
    directory: Path = tmp_path_factory.mktemp("demo")
    port = processes.free_port()
    arguments = ("demo", "--port", str(port), "--days", "3", "--requests", "300")
    with processes.running(directory, "sqlite:///unused.db", *arguments):
        processes.wait_ready(port)
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages(browser: Browser, url: str, path: str, width: int, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(url) else problems.append(request.url),
    )
    try:
        answer = page.goto(url + path)
    except Error as error:  # pragma: no cover - says why
        pytest.fail(str(error))
    assert answer is not None
    assert answer.status == 200
    assert page.locator("h1").inner_text()
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide), f"{path} scrolls sideways at {width}"
    assert problems == []
    context.close()


def test_index_shows_the_figures_of_the_api(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    shown = page.locator("dt:text-is('Cache hit rate') + dd").inner_text()
    assert shown.endswith("%")
    page.get_by_role("link", name="API", exact=True).click()
    assert page.locator("article").count() > 10
    page.close()
