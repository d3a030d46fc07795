"""Filters of pages: charts apply them, or the page states that it ignores them."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from html import unescape
from itertools import combinations, product
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from asu_stats.dashboard.view import FILTERS, PATHS
from tests.conftest import sqlite_database
from tests.support import NOW, CloudEvent, Stats, build, request

HTML = {"accept": "text/html"}
Names = Mapping[str, str]
VERSIONS = ("24.10.2", "23.05.5")
DEVICES = (("ath79/generic", "tplink_archer-c7-v5"), ("x86/64", "generic"))
CLIENTS = ("luci", "owut")
ERRORS = (("build", "image_too_big"), ("network", "tls_failed"), None)
# One value of each filter that some of the history has.
GIVEN = {
    "version": VERSIONS[0],
    "target": DEVICES[0][0],
    "profile": DEVICES[0][1],
    "client": CLIENTS[0],
    "category": "build",
    "type": "image_too_big",
}
# What the fields of a chart's rows count, by the start of its query.
# The pages on which these events have charts.
WITH_CHARTS = {
    *("/", "/versions", "/targets", "/profiles", "/clients", "/packages", "/errors"),
    *("/performance", "/insights/adoption"),
}
COUNTED = {
    "timeseries": ("requests",),
    "errors/timeseries": ("errors",),
    "performance/": ("builds",),
    "diff-packages": ("enabled", "disabled"),
    "insights/fingerprints/": ("count",),
}


def history() -> Iterator[tuple[Names, list[CloudEvent]]]:
    """Yield a request and its build for every combination, with the names that both have."""
    number = 0
    for version, (target, profile), client, error in product(VERSIONS, DEVICES, CLIENTS, ERRORS):
        names = {"version": version, "target": target, "profile": profile}
        kind: Names = {"error_category": error[0], "error_type": error[1]} if error else {}
        for _ in range(1 + number % 3):
            number += 1
            end = NOW - timedelta(hours=number)
            said: dict[str, Any] = dict(kind)
            if error:
                said["error_message"] = f"{error[1]} of h{number}"
            status = "failure" if error else "success"
            asked = request(f"h{number}", end, **names, client=client, packages=["vim"])
            ended = build(f"h{number}", status, end=end, **said)
            of = {"category": error[0], "type": error[1]} if error else {}
            yield names | {"client": client} | of, [asked, *ended]


HISTORY = list(history())


def naive(question: str, filters: Names) -> int:
    """Return what the chart of a query counts, from the events."""
    mine = [
        names
        for names, _ in HISTORY
        if all(names.get(name) == value for name, value in filters.items())
    ]
    if question.startswith("performance/"):
        return sum("type" not in names for names in mine)
    if question.startswith(("errors/", "insights/")):
        return sum("type" in names for names in mine)
    return len(mine)


@pytest.fixture(scope="module")
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    directory = tmp_path_factory.mktemp("filled")
    with Stats.on(sqlite_database(request, directory), directory / "spool") as stats:
        stats.record(*(events for _, events in HISTORY))
        yield stats


def queries(path: str) -> list[Names]:
    """Return filters one by one; on pages with charts also in pairs, and the names of a device."""
    sizes = (0, 1) if path.startswith("/insights/") else (0, 1, 2)
    pairs = [names for size in sizes for names in combinations(GIVEN, size)]
    return [{name: GIVEN[name] for name in names} for names in (*pairs, tuple(GIVEN)[:3])]


def charts(page: str) -> Iterator[str]:
    for figure in re.findall(r"<figure [^>]*>", page):
        (source,) = re.findall(r'data-source="([^"]*)"', figure)
        yield unescape(source)


def left_out(page: str) -> set[str]:
    found = re.search(r"This page has no figures by ([a-z ]+):", page)
    return set(found[1].split(" or ")) if found else set()


def kept(page: str) -> set[str]:
    return set(re.findall(r'aria-label="Remove the filter (\w+)"', page))


@pytest.mark.parametrize("path", PATHS.values())
def test_charts_are_of_the_filters_that_a_page_shows(filled: Stats, path: str) -> None:
    drawn = set()
    for filters in queries(path):
        answer = filled.client.get(f"{path}?{urlencode({'days': '30', **filters})}", headers=HTML)
        assert answer.status_code == 200, answer.text
        page = answer.text
        if path in {"/alerts", "/jobs"}:
            assert not list(charts(page))
            continue
        assert kept(page) | left_out(page) == set(filters)
        assert not kept(page) & left_out(page)
        applied = {name: filters[name] for name in kept(page)}
        for source in charts(page):
            url = urlsplit(source)
            asked = dict(parse_qsl(url.query))
            question = url.path.removeprefix("/api/v1/stats/")
            assert {name: asked[name] for name in FILTERS if name in asked} == applied, source
            found = filled.client.get(source)
            assert found.status_code == 200, source
            drawn.add(question)
            rows = found.json()
            rows = rows.get("trend", rows) if isinstance(rows, dict) else rows
            fields = next((of for name, of in COUNTED.items() if question.startswith(name)), None)
            if fields and "from_seconds" not in rows[0]:
                total = sum(row[field] for row in rows for field in fields)
                assert total == naive(question, applied), source
    assert bool(drawn) == (path in WITH_CHARTS)


def test_tables_of_filtered_pages_are_filtered(filled: Stats) -> None:
    """A type without errors is an empty table, and the slowest builds are of the version."""
    page = filled.client.get("/errors?days=30&type=nothing", headers=HTML).text
    assert "image_too_big" not in page
    page = filled.client.get("/performance?days=30&version=23.05.5", headers=HTML).text
    assert '<td class="text">24.10.2</td>' not in page
    (heat,) = re.findall(r'"([^"]*timeseries/week[^"]*end=[^"&]*&amp;version=[^"&]*)"', page)
    rows = filled.client.get(unescape(heat)).json()
    assert sum(row["requests"] for row in rows) == naive("timeseries", {"version": "23.05.5"})
    page = filled.client.get("/profiles?days=30&profile=generic&version=23.05.5", headers=HTML).text
    assert "24.10.2" not in page


def test_a_fingerprint_has_its_days(filled: Stats) -> None:
    (first, *_) = filled.get("insights/fingerprints", days=30)["fingerprints"]
    address = f"/errors?days=30&fingerprint={first['fingerprint']}&version=24.10.2"
    page = filled.client.get(address, headers=HTML).text
    assert (kept(page), left_out(page)) == ({"fingerprint"}, {"version"})
    (source,) = charts(page)
    rows = filled.client.get(source).json()["timeseries"]
    assert sum(row["count"] for row in rows) == first["count"]
    table = page.partition('data-live="over-time-figures"')[2].partition("</table>")[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table, re.DOTALL)
    shown = [int(re.sub(r"<[^>]*>|\s", "", cell)) for cell in cells]
    assert shown == [row["count"] for row in rows]
    assert "format=csv" not in page


def test_lists_that_a_filter_does_not_reach_are_not_shown(filled: Stats) -> None:
    page = filled.client.get("/insights?days=30&version=24.10.2", headers=HTML).text
    assert "These figures are not known by version." in page
    assert "failures-by_culprit-rows" in page
    assert "packages-packages" not in page


REFUSED = (
    ("client=luci&version=24.10.2", "version"),
    ("target=x86%2F64&client=luci", "target"),
    ("client=luci&version=24.10.2&profile=generic&interval=hour&days=1", "profile"),
)


@pytest.mark.parametrize(("query", "named"), REFUSED)
def test_what_no_sum_has_is_refused_with_what_can_be_asked(
    filled: Stats, query: str, named: str
) -> None:
    for path in ("/api/v1/stats/timeseries", "/embed/requests"):
        asked = query if "embed" not in path else query.replace("&interval=hour&days=1", "&days=1")
        answer = filled.client.get(f"{path}?{asked}")
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(f"{named}=")
        assert "any of version, target and profile together" in answer.json()["detail"]
    hours = filled.get("timeseries", client="luci", version="24.10.2", interval="hour", days=1)
    assert len(hours) == 24
