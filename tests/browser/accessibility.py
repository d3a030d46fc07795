"""`make a11y`: every page at three widths in two themes, and what each costs to load.

Pages of a demo, of an empty server, of an operator, and of the manual. Prints accessibility
violations (axe-core), pages that scroll sideways and complaints of the console, and per page the
first paint, requests and transferred bytes without a cache. Exits with status 1 if it finds any.
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Page

from asu_stats.api import tokens
from asu_stats.dashboard import manual
from asu_stats.dashboard.view import PATHS
from asu_stats.store.database import engine as engines
from tests import processes
from tests.browser import chromium
from tests.browser.conftest import PATIENCE_MS, Watched
from tests.browser.test_pages import PAGES, violations

WIDTHS: Final = (1440, 768, 360)
THEMES: Final = ("light", "dark")
ERRORS: Final = ("/nothing", "/versions?days=0", "/clients?client=nobody", "/manual/nothing.html")
_EMPTY: Final = tuple(PATHS.values())
_NOTES: Final = ("[PST]", "Set focus on search field")  # of the theme of the manual
_COST: Final = """() => {
    const all = performance.getEntriesByType("navigation")
        .concat(performance.getEntriesByType("resource"));
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return {paint: paint ? paint.startTime : null, requests: all.length,
        bytes: all.reduce((sum, each) => sum + each.transferSize, 0)};
}"""


@dataclass
class Findings:
    """What was looked at, and what was found."""

    pages: int = 0
    views: int = 0
    problems: list[str] = field(default_factory=list)
    costs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def look(self, browser: Browser, site: "Site", path: str) -> None:
        """Look at a page in every theme and width."""
        self.pages += 1
        for theme in THEMES:
            with site.context(browser, theme) as context:
                watched = Watched(context.new_page(), site.url)
                status = 404 if path in ERRORS else 200
                page = _opened(watched, path, status)
                where = f"{site.name} {path}, {theme}"
                if theme == THEMES[0]:
                    self.costs.append((f"{site.name} {path}", page.evaluate(_COST)))
                for width in WIDTHS:
                    self.views += 1
                    page.set_viewport_size({"width": width, "height": 900})
                    # The manual makes wide code focusable a while after the width changed.
                    page.wait_for_timeout(600 if "/manual" in path else 50)
                    found = violations(page)
                    found += ["scrolls sideways"] if watched.is_wide() else []
                    self.problems += [f"{where}, {width}: {each}" for each in found]
                self.problems += [
                    f"{where}: console: {text}"
                    for text in watched.complaints
                    if not text.startswith(_NOTES) and not (path in ERRORS and "status of" in text)
                ]


@dataclass(frozen=True)
class Site:
    """A server to look at, with a token to sign in with."""

    name: str
    url: str
    paths: Sequence[str]
    token: str = ""

    @contextlib.contextmanager
    def context(self, browser: Browser, theme: str) -> Iterator[BrowserContext]:
        """A context with an empty cache, signed in if there is a token."""
        options: Any = {"viewport": {"width": WIDTHS[0], "height": 900}, "color_scheme": theme}
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        if self.token:
            form: Any = {"token": self.token, "next": "/alerts"}
            context.request.post(f"{self.url}/sign-in", form=form, headers={"origin": self.url})
        yield context
        context.close()


def _opened(watched: Watched, path: str, status: int) -> Page:
    answer = watched.page.goto(f"{watched.url}{path}")
    assert answer is not None
    assert answer.status in {200, 404, 422}, (path, answer.status)
    assert (answer.status == 200) == (status == 200), (path, answer.status)
    if watched.page.locator("figure.chart").count():
        watched.page.locator("html[data-drawn]").wait_for(state="attached")
    watched.page.wait_for_timeout(500)  # of code, the manual makes what is wide focusable
    return watched.page


def demo_paths() -> list[str]:
    """Return every page, with and without filters, error pages, and the API reference."""
    others = [path for path in PATHS.values() if path not in PAGES]
    return [*PAGES, *others, "/sign-in", *ERRORS]


def manual_paths() -> list[str]:
    """Return every page of the manual, if it was built."""
    found = sorted(manual.DIRECTORY.rglob("*.html"))
    return [f"/manual/{page.relative_to(manual.DIRECTORY).as_posix()}" for page in found]


@contextlib.contextmanager
def sites(directory: Path) -> Iterator[list[Site]]:
    """Run a demo and an empty server."""
    demo, empty = processes.free_port(), processes.free_port()
    arguments = ("demo", "--port", str(demo), "--days", "16", "--requests", "1600")
    (directory / "empty").mkdir()
    nothing = ("serve", "--port", str(empty), "--builder", "none")
    with (
        processes.running(directory, "sqlite:///unused.db", *arguments),
        processes.running(directory / "empty", f"sqlite:///{directory}/empty/e.db", *nothing),
    ):
        processes.wait_ready(demo, 120)
        processes.wait_ready(empty, 120)
        engine = engines.create(f"sqlite:///{next(directory.rglob('demo.db'))}")
        token = tokens.create(engine, "operator", "operator")
        engine.dispose()
        url = f"http://127.0.0.1:{demo}"
        yield [
            Site("demo", url, [*demo_paths(), *manual_paths()]),
            Site("operator", url, ["/alerts"], token),
            Site("empty", f"http://127.0.0.1:{empty}", _EMPTY),
        ]


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main() -> None:
    """Look at every page, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the paths to look at")
    only = parser.parse_args().only
    findings = Findings()
    with (
        tempfile.TemporaryDirectory(prefix="asu-stats-a11y-") as name,
        sites(Path(name)) as every,
        chromium.started(chromium.find()) as browser,
    ):
        for site in every:
            for path in site.paths:
                if only in path:
                    findings.look(browser, site, path)
    say(f"{'page':50} {'first paint, ms':>15} {'requests':>8} {'kB':>6}")
    for where, cost in findings.costs:
        paint = "-" if cost["paint"] is None else f"{cost['paint']:.0f}"
        say(f"{where:50} {paint:>15} {cost['requests']:>8} {cost['bytes'] / 1000:>6.0f}")
    say(
        f"\n{findings.pages} pages x {len(WIDTHS)} widths x {len(THEMES)} themes = "
        f"{findings.views} views: {len(findings.problems)} problems"
    )
    say(*findings.problems)
    sys.exit(1 if findings.problems else 0)


if __name__ == "__main__":
    main()
