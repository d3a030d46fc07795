"""Old browsers, wrong clocks and print: charts stay readable."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, Watched
from tests.support import build, request

pytestmark = pytest.mark.browser
Watch = Callable[..., Watched]

STATIC = Path(__file__).parent.parent.parent / "src" / "asu_stats" / "dashboard" / "static"
SETS = """figure => Chart.getChart(figure.querySelector("canvas")).data.datasets.map(set => ({
    label: set.label, data: set.data, dash: set.borderDash, point: set.pointStyle,
    colour: set.type === "line" ? set.borderColor : set.backgroundColor,
    hatched: set.backgroundColor instanceof CanvasPattern}))"""


def sets(page: Page, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.locator(f"figure#{name}").evaluate(SETS)
    return found


def can_be_told_apart(found: list[dict[str, Any]]) -> bool:
    return len(found) > 1 and len({one["colour"] for one in found}) == len(found)


# Languages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("languages", "thousand"),
    [
        ('["en-US@posix"]', "1,600"),
        ('["C"]', "1,600"),
        ('["C", "de_DE.UTF-8"]', "1.600"),
        ('["", "*", "x", "-", null, 7]', "1,600"),
        ("[]", "1,600"),
        ("undefined", "1,600"),
    ],
)
def test_languages_that_are_none(
    watch: Watch, server: Server, languages: str, thousand: str
) -> None:
    server.record([request(f"h{n}", datetime.now(UTC), outcome="cache_hit") for n in range(1600)])
    watched = watch(server.url, locale="en-US")
    found = f"Object.defineProperty(navigator, 'languages', {{get: () => {languages}}})"
    watched.page.add_init_script(found)
    page = watched.go("/")
    expect(page.locator("[data-figure=requests] .value")).to_have_text(thousand)
    assert can_be_told_apart(sets(page, "over-time"))
    expect(page.locator(".live")).to_have_attribute("data-state", "live")
    assert watched.complaints == []


def test_an_engine_that_knows_no_formats(watch: Watch, demo: str) -> None:
    watched = watch(demo)
    broken = "Intl.NumberFormat = Intl.DateTimeFormat = function () { throw new RangeError('no'); }"
    watched.page.add_init_script(broken)
    assert can_be_told_apart(sets(watched.go("/"), "over-time"))
    assert watched.complaints == []


# Clocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-26, -5, 5, 26])
@pytest.mark.usefixtures("same_day")
def test_the_time_is_that_of_the_server(watch: Watch, server: Server, wrong: int) -> None:
    now = datetime.now(UTC)
    begun = build("running", end=now + timedelta(seconds=20), seconds=140)[0]
    server.record(request("h", now), request("running", now), begun)
    watched = watch(server.url)
    watched.page.clock.set_fixed_time(now + timedelta(hours=wrong))
    page = watched.go("/?days=1")
    (hours,) = [one["data"] for one in sets(page, "over-time") if one["label"] == "Requests"]
    counted = [
        row["requests"] for row in server.get("/api/v1/stats/timeseries?days=1&interval=hour")
    ]
    assert hours[: now.hour + 1] == counted[: now.hour + 1]
    assert hours[now.hour] == 2
    assert set(hours[now.hour + 2 :]) <= {None}  # the hour may just have turned
    expect(page.locator("time[data-since]")).to_have_text(re.compile(r"^2 min [0-5]\d s$"))
    server.record(request("another", now))
    expect(page.locator("[data-figure=requests] .value")).to_have_text("3")
    (hours,) = [one["data"] for one in sets(page, "over-time") if one["label"] == "Requests"]
    assert set(hours[now.hour + 2 :]) <= {None}
    expect(page.locator("time[data-since]")).to_have_text(re.compile(r"^2 min [0-5]\d s$"))


# Parts that fail --------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["local.js", "search.js", "live.js", "refresh.js", "theme.js"])
@pytest.mark.parametrize("how", ["absent", "throws", "unreadable"])
def test_charts_do_without_the_other_scripts(watch: Watch, demo: str, part: str, how: str) -> None:
    watched = watch(demo)
    body = {"throws": "throw new Error('broken')", "unreadable": "let = = ;"}.get(how)
    watched.page.route(
        f"**/{part}",
        lambda route: (
            route.fulfill(body=body, content_type="text/javascript") if body else route.abort()
        ),
    )
    page = watched.go("/versions?days=16")
    assert can_be_told_apart(sets(page, "adoption"))
    expect(page.locator("figure#adoption .plot")).to_be_visible()


@pytest.mark.parametrize("part", ["charts.js", "vendor/chart.js"])
def test_the_others_do_without_charts(watch: Watch, demo: str, part: str) -> None:
    watched = watch(demo, locale="de-DE")
    watched.page.route(f"**/{part}", lambda route: route.abort())
    page = watched.go("/versions?days=16", drawn=False)
    expect(page.locator("figure#adoption .failed")).to_contain_text("cannot be drawn")
    expect(page.locator(".live")).to_have_attribute("data-state", "live")
    page.locator("input[type=search]").fill("24.10")
    expect(page.locator(".found")).to_contain_text(" of ")
    page.locator("figure#adoption summary").click()
    assert page.locator("figure#adoption tbody tr").count() > 1


@pytest.mark.parametrize("part", ["dashboard.js"])
def test_a_page_is_complete_where_no_script_works(watch: Watch, demo: str, part: str) -> None:
    watched = watch(demo)
    watched.page.route(f"**/{part}", lambda route: route.abort())
    page = watched.go("/versions?days=16", drawn=False)
    expect(page.locator("figure#adoption .plot")).to_be_hidden()
    page.locator("figure#adoption summary").click()
    assert page.locator("figure#adoption tbody tr").count() > 1


# Old browsers -----------------------------------------------------------------------------------

RECENT = """
    for (const name of ["at", "findLast", "findLastIndex"]) delete Array.prototype[name];
    for (const name of ["replaceChildren", "checkVisibility"]) delete Element.prototype[name];
    for (const name of ["replaceAll", "at"]) delete String.prototype[name];
    delete Object.groupBy;
    delete window.WebSocket;
    delete window.structuredClone;
    delete window.ResizeObserver;
    MediaQueryList.prototype.addEventListener = undefined;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_without_recent_scripts(watch: Watch, demo: str, scheme: str) -> None:
    watched = watch(demo, color_scheme=scheme)
    watched.page.add_init_script(RECENT)
    for path, name in (("/", "over-time"), ("/versions?days=16", "adoption")):
        page = watched.go(path)
        assert can_be_told_apart(sets(page, name))
        expect(page.locator(".live")).to_have_attribute("data-state", "polling")
    assert watched.complaints == []


RECENT_SYNTAX = {
    ".css": r"light-dark\((?!\))|color-mix|oklch|@layer|@container|scripting|\brotate:|:has\(",
    ".js": r"\?\?|\?\.[a-z(\[]|findLast|replaceAll|replaceChildren|\.at\(|^await |\d_\d",
}


def test_nothing_needs_recent_syntax() -> None:
    for file in STATIC.glob("*.*"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if file.suffix in RECENT_SYNTAX:
                found = re.search(RECENT_SYNTAX[file.suffix], line)
                assert not found, f"{file.name}:{number}: {line}"


@pytest.mark.parametrize("without", ["light-dark", "all"])
def test_lines_are_told_apart_without_the_style_sheet(
    watch: Watch, demo: str, without: str
) -> None:
    watched = watch(demo)
    css = (STATIC / "style.css").read_text()
    body = "" if without == "all" else re.sub(r"light-dark\(|color-mix\(", "unknown(", css)
    watched.page.route(
        "**/style.css", lambda route: route.fulfill(body=body, content_type="text/css")
    )
    page = watched.go("/versions?days=16")
    assert can_be_told_apart(sets(page, "adoption"))
    if without != "all":
        quiet, ground = page.evaluate(
            "['.quiet', 'body'].map(name => getComputedStyle(document.querySelector(name)))"
            ".map((style, place) => place ? style.backgroundColor : style.color)"
        )
        assert (quiet, ground) == ("rgb(85, 97, 95)", "rgb(246, 247, 247)")


# Paper ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["media", "event"])
@pytest.mark.parametrize("scheme", ["light", "dark", "chosen"])
def test_paper_is_light_and_tells_lines_apart_without_colours(
    watch: Watch, demo: str, way: str, scheme: str
) -> None:
    light = sets(watch(demo, color_scheme="light").go("/"), "over-time")
    watched = watch(demo, color_scheme="dark" if scheme == "dark" else "light")
    if scheme == "chosen":
        watched.page.add_init_script("localStorage.setItem('theme', 'dark')")
    page = watched.go("/")
    before = sets(page, "over-time")
    assert ([s["colour"] for s in before] == [s["colour"] for s in light]) == (scheme == "light")
    if way == "media":
        page.emulate_media(media="print")
    else:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = sets(page, "over-time")
    assert [s["colour"] for s in printed] == [s["colour"] for s in light]
    assert len({(str(s["dash"]), s["point"]) for s in printed}) == len(printed)
    if way == "media":
        page.emulate_media(media="screen")
    else:
        page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert sets(page, "over-time") == before

    page = watched.go("/errors?days=16")
    assert not any(one["hatched"] for one in sets(page, "by-category"))
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    bars = sets(page, "by-category")
    assert [one["hatched"] for one in bars] == [False] + [True] * (len(bars) - 1)
    assert watched.complaints == []


def test_a_printed_page_holds_its_charts(watch: Watch, demo: str) -> None:
    watched = watch(demo)
    page = watched.go("/")
    page.set_viewport_size({"width": 700, "height": 900})
    page.emulate_media(media="print")
    box = page.locator("figure#over-time canvas").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 700
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert watched.complaints == []
