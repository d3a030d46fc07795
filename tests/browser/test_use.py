"""Use of the pages: charts, sorting, search, time ranges, drill-down, live figures."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from asu_stats.dashboard.contents.default_packages import DEFAULT_PACKAGES
from tests.browser.conftest import Server, Watched
from tests.browser.test_pages import violations
from tests.decimals import as_shown
from tests.patience import within
from tests.support import build, request

pytestmark = pytest.mark.browser
Watch = Callable[..., Watched]

SETS = """figure => Chart.getChart(figure.querySelector("canvas")).data.datasets
    .map(set => ({label: set.label, data: set.data}))"""

TOOLTIPS = """figure => {
    const chart = Chart.getChart(figure.querySelector("canvas"));
    const found = {};
    for (const [datasetIndex, {label, data}] of chart.data.datasets.entries())
        found[label] = data.map((value, index) => {
            if (value === null) return null;
            chart.tooltip.setActiveElements([{datasetIndex, index}], {x: 0, y: 0});
            chart.tooltip.update(true);
            return chart.tooltip.body.flatMap(({lines}) => lines).join();
        });
    return found;
}"""


def past(days: int = 9) -> str:
    """A window of days that are over: nothing happens in them any more."""
    today = datetime.now(UTC).date()
    return f"start={today - timedelta(days=days)}&end={today - timedelta(days=2)}"


def drawn(page: Page, name: str) -> dict[str, list[Any]]:
    """What a chart shows, by the label of the series."""
    found = page.locator(f"figure#{name}").evaluate(SETS)
    return {one["label"]: one["data"] for one in found}


def ask(page: Page, url: str, question: str) -> Any:
    return page.request.get(f"{url}/api/v1/stats/{question}").json()


def test_charts_show_the_figures_of_the_api(watch: Watch, demo: str) -> None:
    watched, window = watch(demo), past()
    page = watched.go(f"/?{window}")
    days = ask(page, demo, f"timeseries?{window}")
    assert drawn(page, "over-time") == {
        label: [day[field] for day in days]
        for label, field in (
            ("Requests", "requests"),
            ("Cache hits", "cache_hits"),
            ("Failed builds", "failed_builds"),
        )
    }
    page = watched.go(f"/versions?{window}")
    shares: dict[str, list[Any]] = {}
    for row in ask(page, demo, f"versions/timeseries?{window}"):
        shares.setdefault(row["version"] or "all others", []).append(row["percentage"])
    assert drawn(page, "adoption") == shares
    page = watched.go(f"/errors?{window}")
    errors: dict[str, list[Any]] = {}
    for row in ask(page, demo, f"errors/timeseries?{window}"):
        errors.setdefault(row["category"], []).append(row["errors"])
    assert drawn(page, "by-category") == errors
    page = watched.go(f"/performance?{window}")
    bars = ask(page, demo, f"performance/distribution?{window}")
    assert drawn(page, "distribution") == {"Builds": [bar["builds"] for bar in bars]}
    page = watched.go(f"/packages?{window}")
    trend = ask(page, demo, f"diff-packages?{window}")["trend"]
    assert drawn(page, "diff")["With"] == [day["enabled"] for day in trend]
    assert watched.complaints == []


def test_the_lines_of_insights_are_the_figures_of_the_api(watch: Watch, demo: str) -> None:
    watched, window = watch(demo), past()
    page = watched.go(f"/insights/adoption?{window}")
    shares: dict[tuple[str, int], float] = {
        (version["version"], row["days_since_release"]): row["share"]
        for version in ask(page, demo, f"insights/adoption?limit=5&{window}")["versions"]
        for row in version["share_by_day"]
        if version["released_on"]
    }
    days = range(min(day for _, day in shares), max(day for _, day in shares) + 1)
    lines = {name: [shares.get((name, day)) for day in days] for name, _ in shares}
    assert len(lines) > 1
    assert any(None in line for line in lines.values())
    assert drawn(page, "adoption-curves") == lines
    tooltips = page.locator("figure#adoption-curves").evaluate(TOOLTIPS)
    assert tooltips == {
        name: [None if share is None else f"{name}: {share:g}%" for share in line]
        for name, line in lines.items()
    }
    page = watched.go(f"/insights/phases?{window}")
    rows = ask(page, demo, f"insights/phases?limit=20&{window}")["timeseries"]
    medians = {(row["phase"], row["day"]): row["p50_seconds"] for row in rows}
    known = sorted({day for _, day in medians})
    phases = {name: [medians.get((name, day)) for day in known] for name, _ in medians}
    assert len(phases) > 1
    assert drawn(page, "phases-over-time") == phases
    tooltips = page.locator("figure#phases-over-time").evaluate(TOOLTIPS)
    assert tooltips.keys() == phases.keys()
    for name, texts in tooltips.items():
        written = [None if text is None else text.removeprefix(f"{name}: ") for text in texts]
        wanted = [None if value is None else f"{value:,g} s" for value in phases[name]]
        assert written == wanted
    assert watched.complaints == []


@pytest.mark.usefixtures("same_day")
def test_hours_to_come_are_left_out(watch: Watch, demo: str) -> None:
    page = watch(demo).go("/?days=1")
    hour = datetime.now(UTC).hour
    shown = drawn(page, "over-time")["Requests"]
    counted = [bucket["requests"] for bucket in ask(page, demo, "timeseries?days=1&interval=hour")]
    assert len(shown) == 24
    assert shown[:hour] == counted[:hour]
    assert set(shown[hour + 2 :]) <= {None}  # the hour may just have turned


def test_tables_and_tiles_show_the_figures_of_the_api(watch: Watch, demo: str) -> None:
    watched, window = watch(demo, locale="en-US"), past()
    page = watched.go(f"/?{window}")
    totals = ask(page, demo, f"overview?{window}")["totals"]
    for figure in ("requests", "unique_requests"):
        tile = page.locator(f'[data-figure="{figure}"] .value')
        expect(tile).to_have_text(f"{totals[figure]:,}")
    rate = page.locator('[data-figure="success_rate"] .value')
    succeeded = totals["successful_builds"]
    expect(rate).to_have_text(f"{as_shown(succeeded, succeeded + totals['failed_builds'])}%")
    page = watched.go(f"/versions?{window}")
    rows = ask(page, demo, f"versions?{window}")
    shown = page.locator("#list tbody tr")
    expect(shown).to_have_count(len(rows))
    first = [text.strip() for text in shown.first.locator("th, td").all_inner_texts()]
    assert first[:2] == [rows[0]["version"], f"{rows[0]['requests']:,}"]
    page.locator("figure#adoption summary").click()
    behind = page.locator("figure#adoption tbody tr")
    expect(behind).to_have_count(len(ask(page, demo, f"versions/timeseries?{window}")))


def test_packages_are_those_of_the_api(watch: Watch, demo: str) -> None:
    watched, window = watch(demo), past()
    page = watched.go(f"/packages?{window}")
    rows = ask(page, demo, f"packages?{window}&limit=1000")
    added = [row["package"] for row in rows if row["package"] not in DEFAULT_PACKAGES]
    assert 0 < len(added) < len(rows)
    assert page.locator("#list tbody th").all_inner_texts() == added[:50]
    page.get_by_role("link", name="All packages").click()
    expect(page.locator("#list tbody th").first).to_have_text(rows[0]["package"])
    shown = page.locator("#list tbody th").all_inner_texts()
    assert shown == [row["package"] for row in rows[:50]]
    version = page.locator("[data-live=diff-versions] a").first.inner_text()
    page.locator("[data-live=diff-versions] a").first.click()
    expect(page.locator(".chip")).to_contain_text(version)
    rows = ask(page, demo, f"packages?{window}&limit=1000&version={version}")
    added = [row["package"] for row in rows if row["package"] not in DEFAULT_PACKAGES]
    assert page.locator("#list tbody th").all_inner_texts() == added[:50]


@pytest.mark.parametrize("path", ["targets", "profiles", "clients"])
def test_lists_show_the_names_with_the_most_requests(watch: Watch, demo: str, path: str) -> None:
    watched, window = watch(demo), past()
    page = watched.go(f"/{path}?{window}")
    rows = ask(page, demo, f"{path}?{window}&limit=10")
    requests = "total_requests" if path == "clients" else "requests"
    assert drawn(page, "most-requested") == {
        "Requests": [row[requests] for row in rows],
        "Failed builds": [row["failed_builds"] for row in rows],
    }


def test_numbers_are_written_as_the_reader_does_and_times_are_local_on_hover(
    watch: Watch, demo: str
) -> None:
    watched = watch(demo, locale="de-DE", timezone_id="Asia/Tokyo")
    page = watched.go(f"/?{past()}")
    assert re.search(r"\d,\d", page.locator('[data-figure="success_rate"] data').first.inner_text())
    page = watched.go(f"/performance?{past()}")
    ended = page.locator("tbody[data-live=slowest] time").first
    utc = datetime.fromisoformat(ended.get_attribute("datetime") or "")
    assert ended.inner_text() == utc.strftime("%Y-%m-%d %H:%M:%S")
    tokyo = utc + timedelta(hours=9)
    assert f"{tokyo:%H:%M:%S}" in (ended.get_attribute("title") or "")


def test_sorting_and_the_back_button(watch: Watch, demo: str) -> None:
    watched = watch(demo)
    page = watched.go(f"/profiles?{past()}")

    def names() -> list[str]:
        return page.locator("#list tbody th").all_inner_texts()

    by_requests = names()
    page.get_by_role("link", name="Profile", exact=True).click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text(re.compile("Profile"))
    assert names() == sorted(names())
    assert "sort=profile" in page.url
    page.get_by_role("link", name="Next").click()
    expect(page.locator(".leaves")).to_contain_text("2 of")
    page.go_back()
    page.go_back()
    assert names() == by_requests
    page.get_by_role("link", name="Success rate").click()
    rates = [
        text.split()[0] for text in page.locator("#list td.rate:nth-child(4)").all_inner_texts()
    ]
    known = [float(rate.removesuffix("%")) for rate in rates if rate != "–"]  # noqa: RUF001
    assert known == sorted(known, reverse=True)
    assert watched.complaints == []


def test_searching_as_typed_makes_a_link(watch: Watch, demo: str) -> None:
    watched = watch(demo)
    page = watched.go(f"/profiles?{past()}")
    page.get_by_role("searchbox").press_sequentially("tplink")
    expect(page).to_have_url(re.compile(r"q=tplink\b"))
    expect(page.locator(".found")).to_contain_text("of")
    assert all("tplink" in name for name in page.locator("#list tbody th").all_inner_texts())
    count = page.locator("#list tbody tr").count()
    page.reload()
    expect(page.locator("#list tbody tr")).to_have_count(count)
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.locator(".nothing")).to_contain_text("No name contains “no such thing”")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#list tbody tr").nth(3)).to_be_visible()
    assert watched.complaints == []


@pytest.mark.usefixtures("same_day")
def test_the_window_goes_along(watch: Watch, demo: str) -> None:
    watched = watch(demo)
    page = watched.go("/")
    page.get_by_role("link", name="30 days").click()
    expect(page.locator("h1")).to_contain_text("last 30 days")
    page.get_by_role("link", name="Versions", exact=True).first.click()
    assert "days=30" in page.url
    page.locator(".picker summary").click()
    today = datetime.now(UTC).date()
    page.get_by_label("From").fill(str(today - timedelta(days=4)))
    page.get_by_label("to", exact=True).fill(str(today - timedelta(days=3)))
    page.get_by_role("button", name="Show").click()
    expect(page.locator("h1")).to_contain_text(f"{today - timedelta(days=4)} to")
    assert "days=" not in page.url
    page.locator(".picker summary").click()
    page.keyboard.press("Escape")
    expect(page.get_by_label("From")).to_be_hidden()
    assert watched.complaints == []


def test_drill_down_from_version_to_device(watch: Watch, demo: str) -> None:
    watched, window = watch(demo), past(12)
    page = watched.go(f"/versions?{window}")
    version = page.locator("#list tbody th a").first.inner_text()
    page.locator("#list tbody th a").first.click()
    expect(page.locator(".chip")).to_contain_text(version)
    target = page.locator("#list tbody th a").first.inner_text()
    page.locator("#list tbody th a").first.click()
    expect(page.locator(".chip")).to_have_count(2)
    rows = ask(page, demo, f"profiles?{window}&version={version}&target={target}&limit=50")
    assert page.locator("#list tbody th").all_inner_texts() == [row["profile"] for row in rows]
    page.locator("#list tbody th a").first.click()
    expect(page.locator("h2").first).to_have_text(f"Requests for {rows[0]['profile']}")
    page.get_by_label("Remove the filter profile").click()
    assert "profile=" not in page.url
    page.go_back()
    expect(page.locator(".chip")).to_contain_text(rows[0]["profile"])
    assert watched.complaints == []


def test_csv_is_one_click_away(watch: Watch, demo: str) -> None:
    page = watch(demo).go(f"/versions?{past()}")
    with page.expect_download() as download:
        page.locator("#list").get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.startswith("asu-stats-versions-")
    assert download.value.path().read_text().startswith("version,requests,")


def test_colours_are_chosen_without_a_cookie(watch: Watch, demo: str) -> None:
    page = watch(demo, color_scheme="light").go("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name=re.compile("Theme"))
    button.click()
    button.click()
    expect(button).to_have_accessible_name("Theme: dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    assert page.context.cookies() == []


def test_the_keyboard_reaches_everything(watch: Watch, demo: str) -> None:
    page = watch(demo).go("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Today")).to_be_focused()


@pytest.mark.usefixtures("same_day")
def test_what_happens_is_seen_within_two_seconds(watch: Watch, server: Server) -> None:
    now = datetime.now(UTC)
    server.record(request("h0", now, profile="first"))
    watched = watch(server.url)
    page = watched.go("/")
    expect(page.locator(".live")).to_have_text("Live")
    time.sleep(1)
    builds: list[list[Any]] = []

    def begins() -> None:
        name = f"h{len(builds) + 1}"
        builds.append(build(name, end=datetime.now(UTC), seconds=30))
        server.record(request(name, now, profile=f"glinet_{name}"), builds[-1][0])
        requests = page.locator('[data-figure="requests"] .value')
        expect(requests).to_have_text(str(len(builds) + 1))
        expect(page.locator(".builds")).to_contain_text(f"glinet_{name}")

    def ends() -> None:
        server.record(builds.pop()[1])
        expect(page.locator(".mark.success")).to_have_count(sent - len(builds))

    within(2.5, begins)
    begins()
    sent = len(builds)
    within(3, ends, tries=sent)
    found = page.locator("figure#over-time").evaluate(SETS)
    assert found[0]["data"][-1] == sent + 1
    assert watched.complaints == []


def test_without_a_socket_the_page_asks(watch: Watch, server: Server) -> None:
    server.record(request("h0", datetime.now(UTC)))
    watched = watch(server.url)
    watched.page.clock.install()
    watched.page.route_web_socket("**/live", lambda socket: socket.close())
    page = watched.go("/")
    expect(page.locator(".live")).to_have_text("Every 10 s")
    server.record(request("h1", datetime.now(UTC)))
    page.clock.run_for(21_000)
    expect(page.locator('[data-figure="requests"] .value')).to_have_text("2")


def test_snippets_are_complete_and_copied(server: Server, watch: Watch) -> None:
    seen = watch(server.url, permissions=["clipboard-read", "clipboard-write"])
    page = seen.go("/")
    page.locator(".share summary").click()
    page.locator(".share button.copy").first.click()
    expect(page.locator(".share button.copy").first).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    badge = f"{server.url}/badge/requests.svg?days=7"
    assert copied == f"[![Firmware requests]({badge})]({server.url}/?days=7)"
    assert seen.complaints == []


def test_the_api_reference_finds_shows_and_tries_endpoints(watch: Watch, server: Server) -> None:
    server.record(request("h1", datetime.now(UTC)))
    watched = watch(server.url)
    page = watched.go("/docs")
    endpoint = page.locator("#operations-statistics-overview_api_v1_stats_overview_get")
    expect(endpoint).to_be_visible()
    every = page.locator(".opblock").count()
    assert every > 50
    page.get_by_placeholder("Filter by tag").fill("stats/overview")
    expect(page.locator(".opblock")).to_have_count(1)
    endpoint.locator(".opblock-summary-control").click()
    expect(endpoint.locator(".curl")).to_have_text(f"curl '{server.url}/api/v1/stats/overview'")
    assert "#/statistics/overview" in page.url
    endpoint.get_by_role("button", name="Execute").click()
    expect(endpoint.locator(".live-responses-table")).to_contain_text('"total_unique": 1')

    for scheme, width in (("light", 1440), ("dark", 360)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(1000)  # colours change slowly
        assert violations(page) == [], f"{scheme} at {width}"
        assert not watched.is_wide()
    page.get_by_role("button", name="Authorize").click()
    page.locator(".modal-ux input").fill("not a token")
    assert violations(page) == []
    page.locator(".modal-btn.authorize").click()
    page.locator(".close-modal").click()
    page.get_by_placeholder("Filter by tag").fill("stats/events")
    ingest = page.locator(".opblock-post")
    expect(page.locator(".opblock")).to_have_count(1)
    ingest.locator(".opblock-summary-control").click()
    expect(ingest.locator(".curl")).to_contain_text("Authorization: Bearer TOKEN")
    ingest.get_by_role("button", name="Execute").click()
    status = ingest.locator(".live-responses-table .response-col_status").last
    expect(status).to_contain_text("401")
    assert [text for text in watched.complaints if "401" not in text] == []


def test_charts_without_data_are_not_drawn(watch: Watch, demo: str) -> None:
    watched = watch(demo)
    page = watched.go("/targets?start=2005-01-01&end=2005-01-07")
    expect(page.locator("figure.chart")).to_be_hidden()
    page = watched.go("/packages?start=2005-01-01&end=2005-01-07")
    expect(page.locator("#diff .plot")).to_be_hidden()
    expect(page.locator("#diff .no-data")).to_be_visible()
    page = watched.go(f"/packages?{past()}")
    expect(page.locator("#diff .plot")).to_be_visible()
    expect(page.locator("#diff .no-data")).to_be_hidden()
    assert watched.complaints == []
