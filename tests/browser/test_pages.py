"""Every page in Chromium: rendering, no external requests, widths, accessibility."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize, expect

from tests.browser.conftest import PATIENCE_MS, Server, Watched
from tests.support import build, request

pytestmark = pytest.mark.browser
Watch = Callable[..., Watched]

PAGES = (
    "/",
    "/?days=1",
    "/versions?days=16",
    "/targets?version=SNAPSHOT",
    "/profiles",
    "/profiles?profile=generic",
    "/clients",
    "/clients?client=luci",
    "/packages",
    "/packages?days=16&version=SNAPSHOT",
    "/errors?days=30",
    "/errors?days=30&category=validation&type=unsupported_profile",
    "/insights?days=30&version=25.12.5",
    "/insights/queue?days=30",
    "/insights/capacity?days=30",
    "/performance",
    "/alerts",
    "/jobs",
    "/embed/versions?days=16",
    "/docs",
)
CHECKED: set[str] = set()  # CSV links, many of which are on several pages
EVIL = "<img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("evil.example","x")'


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong, as text."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    only = {"resultTypes": ["violations"], "preload": False}  # a quarter less time
    found = page.evaluate("async options => (await axe.run(options)).violations", only)
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


@pytest.fixture(scope="module")
def visitor(browser: Browser, demo: str) -> Iterator[Watched]:
    """A page that goes from path to path: a new one takes 0.25 s of processor time."""
    yield from visiting(browser, demo)


@pytest.fixture(scope="module")
def visitor_without_scripts(browser: Browser, demo: str) -> Iterator[Watched]:
    yield from visiting(browser, demo, java_script_enabled=False)


def visiting(browser: Browser, url: str, **options: Any) -> Iterator[Watched]:
    viewport = ViewportSize(width=1440, height=900)
    with browser.new_context(viewport=viewport, **options) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield Watched(context.new_page(), url)


# A script colours the API reference once the browser tells it of the change, and slowly.
_COLOURED = """dark => !document.querySelector(".swagger-ui")
    || document.documentElement.classList.contains("dark-mode") === dark
    && document.getAnimations().every((each) => each.playState !== "running")"""


# Tables of narrow screens leave out columns: a column that is cut looks like a mistake.
_CUT = """tables => tables.filter(each => each.checkVisibility()
    && each.scrollWidth > each.clientWidth + 1).map(each => each.ariaLabel)"""


@pytest.mark.parametrize("path", PAGES)
def test_every_page_at_every_width_in_both_schemes(visitor: Watched, path: str) -> None:
    watched = visitor
    watched.complaints.clear()
    watched.page.emulate_media(color_scheme="light")
    watched.page.set_viewport_size({"width": 1440, "height": 900})
    page = watched.go(path)
    assert page.locator("h1").inner_text()
    # Whether a table is wider than the screen depends on its data.
    assert page.locator("table:not(.heat, .scroll *)").count() == 0, "this table scrolls the page"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.wait_for_function(_COLOURED, arg=scheme == "dark")
        for width in (1440, 768, 360):
            page.set_viewport_size({"width": width, "height": 900})
            assert not watched.is_wide(), f"{path} scrolls sideways at {width}"
            if (scheme, width) in {("light", 1440), ("dark", 360)}:
                assert violations(page) == [], f"{path} at {width}, {scheme}"
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.locator("main .scroll").evaluate_all(_CUT) == []
    assert watched.complaints == []


def test_long_names_of_insights_fit_a_phone(watch: Watch, server: Server) -> None:
    now = datetime.now(UTC) - timedelta(minutes=1)
    for number in range(60):
        broken: dict[str, Any] = {"profile": "vendor_model-with-a-long-name"} if number % 2 else {}
        status = "failure" if broken else "success"
        server.record(
            request(f"h{number}", now, **broken),
            build(f"h{number}", status, end=now, error_message=f"No rule for {number}", **broken),
        )
    page = watch(server.url, viewport={"width": 390, "height": 900}).go("/insights")
    assert page.get_by_role("region", name="What stands out, as a table").is_visible()
    assert page.locator("main .scroll").evaluate_all(_CUT) == []


@pytest.mark.parametrize("path", [path for path in PAGES if not path.startswith("/docs")])
def test_pages_are_complete_without_scripts(
    visitor_without_scripts: Watched, demo: str, path: str
) -> None:
    page = visitor_without_scripts.go(path, drawn=False)
    assert page.locator("h1").inner_text()
    for canvas in page.locator("canvas").all():
        expect(canvas).to_be_hidden()
    for link in page.locator("a[download]").all():
        source = link.get_attribute("href") or ""
        if source not in CHECKED:
            CHECKED.add(source)
            answer = page.request.get(demo + source)
            assert answer.headers["content-type"].startswith("text/csv"), source


def test_the_legend_of_the_heat_map_has_its_colours(watch: Watch, demo: str) -> None:
    page = watch(demo).go("/performance")
    painted = "all => new Set(all.map(each => getComputedStyle(each, '::before').opacity)).size"
    assert page.locator(".heat .swatch:not(.level-0)").evaluate_all(painted) == 8


def test_an_empty_database_says_what_to_do_next(watch: Watch, server: Server) -> None:
    watched = watch(server.url, viewport={"width": 360, "height": 800})
    for path in ("/", "/versions", "/clients", "/errors", "/performance", "/packages"):
        page = watched.go(path)
        expect(page.get_by_role("heading", name="No data yet")).to_be_visible()
        assert violations(page) == []
        assert not watched.is_wide()
    assert watched.complaints == []


def test_what_strangers_write_is_only_ever_text(watch: Watch, server: Server) -> None:
    for name in (EVIL, FORMULA):
        names = {"version": name, "target": name, "profile": name, "client": name}
        server.record(
            request(f"{name} 1", outcome="cache_hit", **names),
            request(name, **names, packages=[name]),
            build(name, "failure", error_message=f"{name} is missing", error_type=name),
        )
    watched = watch(server.url)
    days = "days=365"
    for path in (
        "/",
        "/versions",
        "/targets",
        "/profiles",
        "/clients",
        "/packages",
        "/errors",
        "/performance",
    ):
        page = watched.go(f"{path}?{days}")
        assert page.locator("img[onerror]").count() == 0
        assert EVIL in page.locator("main").inner_text() or path == "/performance"
        if path != "/":
            page.goto(f"{server.url}{path}?{days}&q=%3Cimg%20src%3Dx%20onerror%3Dalert(2)%3E")
    watched.go(f"/clients?{days}")
    watched.page.get_by_role("link", name=FORMULA).click()
    expect(watched.page.locator(".chip")).to_contain_text(FORMULA)
    watched.page.mouse.move(700, 500)  # a tooltip of the chart
    assert watched.complaints == []


def test_what_is_wrong_is_said(watch: Watch, demo: str) -> None:
    page = watch(demo).page
    answer = page.goto(f"{demo}/versions?days=0")
    assert answer is not None
    assert answer.status == 422
    expect(page.locator("main")).to_contain_text("days=0: expected a whole number from 1 to 3650")
    answer = page.goto(f"{demo}/clients?client=nobody")
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("main")).to_contain_text("no request of this client is known")
    assert violations(page) == []
