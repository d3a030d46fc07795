"""`make screenshots`: pictures of a running demo for README and docs."""

import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, sync_playwright

from tests import processes

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
DESKTOP: Final = {"viewport": {"width": 1280, "height": 860}, "locale": "en-US"}
PHONE: Final = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "locale": "en-US",
}

PICTURES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "overview": ("/?days=30", DESKTOP),
    "overview-dark": ("/?days=30", {**DESKTOP, "color_scheme": "dark"}),
    "versions": ("/versions?days=30", DESKTOP),
    "errors": ("/errors?days=30", {**DESKTOP, "color_scheme": "dark"}),
    "performance": ("/performance?days=30", DESKTOP),
    "phone": ("/?days=30", {**PHONE, "color_scheme": "dark"}),
}


def take(browser: Browser, url: str) -> None:
    """Take every picture."""
    for name, (path, options) in PICTURES.items():
        context = browser.new_context(**options)
        page = context.new_page()
        page.goto(url + path)
        page.locator("html[data-drawn]").wait_for(state="attached")
        page.locator('.live[data-state="live"]').wait_for()
        page.screenshot(path=IMAGES / f"{name}.png")
        context.close()


def wait_evaluated(port: int) -> None:
    """Wait until builds are going on and the alert rules were evaluated."""
    time.sleep(15)
    for _ in range(90):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/stats/alerts") as answer:
            if json.load(answer)["evaluated_at"]:
                return
        time.sleep(1)


def main() -> None:
    """Run a demo until builds are going on, and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="asu-stats-screenshots-") as name:
        directory, port = Path(name), processes.free_port()
        demo = ("demo", "--port", str(port), "--days", "62", "--requests", "60000")
        environment = {"ASU_STATS_DEMO_SECONDS": "9"}
        with (
            processes.running(directory, "sqlite:///unused.db", *demo, **environment),
            sync_playwright() as playwright,
        ):
            processes.wait_ready(port, 120)
            wait_evaluated(port)
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            take(browser, f"http://127.0.0.1:{port}")
            browser.close()


if __name__ == "__main__":
    main()
