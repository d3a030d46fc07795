"""Insight pages: every value is the field of the API in its heading."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from asu_stats.dashboard.contents.insights import ROWS
from asu_stats.dashboard.contents.sections import SECTIONS, List
from asu_stats.dashboard.view import PATHS, TOPICS
from asu_stats.reports.endpoints import REPORTS
from tests.insights import test_regressions as regressions
from tests.support import NOW, Stats, build, request

HOUR = timedelta(hours=1)
PHASES = {"container_setup": 3.25, "building_image": 50}
TOO_BIG = "ERROR: images are too big by 65536 bytes"


def fill(stats: Stats) -> None:
    for number in range(40):
        end = NOW - number * 12 * HOUR
        version = "24.10.2" if number < 12 else "23.05.5"
        names = {"version": version, "client": "luci", "client_version": "1.0"}
        failed: Any = {"error_message": TOO_BIG} if number < 12 else {"phases": PHASES}
        status = "failure" if number < 12 else "success"
        stats.record(
            request(f"h{number}", end - HOUR / 60, **names, packages=["vim"]),
            build(f"h{number}", status, end=end, **failed),
            request(f"h{number}", end + HOUR, **names, outcome="cache_hit")
            if status == "success"
            else [],
        )


def rows(text: str, name: str) -> list[list[str]]:
    """Return the cells of a table of a page, as text without units."""
    body = text.partition(f'data-live="{name}-rows">')[2].partition("</tbody>")[0]
    cells = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body.split("</tr>")
    ]
    return [[plain(cell) for cell in row] for row in cells if row]


def plain(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", markup)).split())


def shown(value: Any) -> str:
    """Return how a page shows a field, if that needs no rule of its own."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def pairs(shown_list: List, found: Sequence[Mapping[str, Any]], cells: list[list[str]]) -> Any:
    for row, texts in zip(found, cells, strict=True):
        for column, text in zip(shown_list.columns, texts, strict=True):
            if column.field != "p_value" and column.kind in {"name", "text", "count", "share"}:
                yield (row[column.field], text)


@pytest.mark.parametrize("topic", [name for name, _ in TOPICS])
def test_a_page_shows_what_the_api_says(sqlite_stats: Stats, topic: str) -> None:
    fill(sqlite_stats)
    page = sqlite_stats.client.get(f"{PATHS[topic]}?days=30", headers={"accept": "text/html"})
    assert page.status_code == 200
    compared = 0
    for section in SECTIONS[topic]:
        found = sqlite_stats.get(f"insights/{section.report}", days=30)
        for each in section.lists:
            cells = rows(page.text, f"{section.report}-{each.within or each.member}")
            listed = found[each.member]
            if each.within:
                listed = [{**row, **inner} for row in listed for inner in row[each.within]]
            for value, text in pairs(each, listed[: each.most or ROWS], cells):
                compared += 1
                expected = "–" if value is None else shown(value)  # noqa: RUF001 - as pages do
                assert text.replace(",", "") == expected.replace(",", "")
    assert compared or topic == "insights/queue"


def test_every_insight_is_on_a_page() -> None:
    shown_reports = {f"insights/{each.report}" for of in SECTIONS.values() for each in of}
    of_errors = {"insights/fingerprints", "insights/fingerprints/{fingerprint}"}
    listed = {report.name for report in REPORTS if report.name.startswith("insights/")}
    assert listed - of_errors == shown_reports
    assert set(SECTIONS) == {name for name, _ in TOPICS}


def test_what_stands_out_leads_inside(sqlite_stats: Stats) -> None:
    fill(sqlite_stats)
    page = sqlite_stats.client.get("/insights?days=30", headers={"accept": "text/html"}).text
    (link,) = re.findall(r'<a href="(/insights\?days=30&amp;version=24.10.2)">', page)
    inside = sqlite_stats.client.get(unescape(link), headers={"accept": "text/html"}).text
    assert 'aria-label="Remove the filter version"' in inside
    assert rows(inside, "failures-by_culprit")[0][:2] == ["user", "12"]


@pytest.mark.parametrize("measure", ["success_rate", "duration"])
def test_a_change_is_shown_in_the_unit_of_its_measure(sqlite_stats: Stats, measure: str) -> None:
    worse: Any = regressions.FULL if measure == "success_rate" else 4.0

    def spoil(day: int, names: dict[str, str]) -> Any:
        return worse if day < 3 and names["target"] == "x86/64" else None

    sqlite_stats.record(regressions.history(spoil))
    (row,) = sqlite_stats.get("insights/regressions")["regressions"]
    text = sqlite_stats.client.get("/insights/regressions?days=30").text
    (cells,) = rows(text, "regressions-regressions")
    what, before = cells[2], cells[4]
    assert what == measure.replace("_", " ")
    minutes, seconds = divmod(round(row["before"]), 60)
    in_seconds = f"{minutes} min {seconds:02} s"
    assert before == (f"{round(row['before'])}%" if measure == "success_rate" else in_seconds)


def test_too_little_data_is_said(sqlite_stats: Stats) -> None:
    kind = {"error_category": "validation", "error_type": "unsupported_profile"}
    sqlite_stats.record(request("h1", outcome="rejected", **kind))
    page = sqlite_stats.client.get("/insights/cache?days=30", headers={"accept": "text/html"}).text
    assert "Too little data in this time range: 0 builds. " in page


def test_insights_have_30_days_unless_the_reader_chose(sqlite_stats: Stats) -> None:
    def links(path: str) -> tuple[str, list[str]]:
        page = sqlite_stats.client.get(path, headers={"accept": "text/html"}).text
        (chosen,) = re.findall(r'days=(\d+)[^>]* aria-current="true"', page)
        return chosen, re.findall(r'href="(/versions[^"]*|/insights/queue[^"]*)"', page)

    assert links("/insights/capacity") == ("30", ["/versions", "/insights/queue"])
    assert links("/targets")[0] == "7"
    wanted = ("90", ["/versions?days=90", "/insights/queue?days=90"])
    assert links("/insights/capacity?days=90") == wanted
    short = sqlite_stats.client.get("/insights/capacity?days=7", headers={"accept": "text/html"})
    assert '<a href="/insights/capacity?days=30">Show 30 days</a>' in short.text
