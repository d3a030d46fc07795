"""Pages: links, security policies, sizes, errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from asu_stats.dashboard.view import PATHS as PATH_OF
from asu_stats.exceptions import StoreUnavailableError
from tests.support import Stats, build, request

HTML = {"accept": "text/html,application/xhtml+xml"}
PATHS = [*PATH_OF.values()]
MOST_BYTES = 400_000
ODD = (
    "q=%ff%00%ed%a0%80",
    "sort=-no_such",
    "sort=top_targets",
    "page=999",
    "version=%00",
    "days=7&days=30",
    "q=%3Cscript%3E",
    "type=%F0%9F%98%80&category=%27%22",
)
NO_FILES = ("none.css", "", "../pages.py", "%2e%2e/pages.py", "vendor", f"{'x' * 12}/style.css")


def fill(stats: Stats) -> None:
    for number in range(60):
        status = "failure" if number % 7 == 0 else "success"
        names = {"profile": f"profile-{number:02}", "packages": [f"package-{number}"]}
        stats.record(request(f"h{number}", **names), build(f"h{number}", status))


@pytest.mark.parametrize("path", [*PATHS, "/clients?client=luci", "/docs"])
def test_nothing_is_inline_and_every_link_is_behind_the_prefix(
    sqlite_prefixed: Stats, path: str
) -> None:
    fill(sqlite_prefixed)
    text = sqlite_prefixed.client.get(f"/stats{path}", headers=HTML).text
    assert "<script>" not in text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    links = re.findall(r'(?:href|src|action|data-source)="([^"]*)"', text)
    assert links
    assert [link for link in links if not link.startswith(("/stats/", "#", "/api/v1/"))] == []
    if not path.startswith("/docs"):
        assert [link for link in links if link.startswith("/api/v1/")] == []


@pytest.mark.usefixtures("manual_pages")
def test_links_lead_to_answers(sqlite_stats: Stats) -> None:
    fill(sqlite_stats)
    seen = set()
    for path in PATHS:
        text = sqlite_stats.client.get(f"{path}?days=30", headers=HTML).text
        for link in re.findall(r'(?:href|data-source)="(/[^"]*)"', text):
            kind = re.sub(r"=[^&]*", "", link)
            if kind not in seen:
                seen.add(kind)
                answer = sqlite_stats.client.get(link.replace("&amp;", "&"), headers=HTML)
                assert answer.status_code == 200, link
    assert len(seen) > 40


@contextmanager
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the database be away."""

    def refuse(*_: Any) -> None:
        raise StoreUnavailableError("database: no route to 10.0.0.7")

    with monkeypatch.context() as patch:
        patch.setattr("asu_stats.store.database.engine.read", refuse)
        yield


def test_what_failed_is_said_to_people_and_to_programs(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sqlite_stats.client
    for path, status, words in (
        ("/versions?days=x", 422, "days=x: expected"),
        ("/versions?page=0", 422, "page=0: expected"),
        (f"/versions?q={'x' * 256}", 422, "q="),
        (f"/targets?version={'x' * 256}", 422, "version="),
        ("/clients?client=nobody", 404, "no request of this client"),
    ):
        answer = client.get(path, headers=HTML)
        assert (answer.status_code, answer.headers["content-type"][:9]) == (status, "text/html")
        assert words in answer.text
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    with away(monkeypatch):
        answer = client.get("/errors", headers=HTML)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "Statistics are unavailable" in answer.text
        assert "10.0.0.7" not in answer.text


def test_odd_queries_are_no_trouble(sqlite_stats: Stats) -> None:
    fill(sqlite_stats)
    for query in ODD:
        for path in PATHS:
            answer = sqlite_stats.client.get(f"{path}?{query}", headers=HTML)
            assert answer.status_code == 200, (path, query, answer.text)
            assert "<script>" not in answer.text


def test_files_are_kept_for_ever_under_their_digest(sqlite_stats: Stats) -> None:
    text = sqlite_stats.client.get("/", headers=HTML).text
    found = re.search(r'"(/static/[0-9a-f]{12}/style.css)"', text)
    assert found
    answer = sqlite_stats.client.get(found[1], headers={"accept-encoding": "gzip"})
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    plain = sqlite_stats.client.get("/static/style.css", headers={"accept-encoding": "identity"})
    assert plain.headers["cache-control"] == "no-cache"
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text
    etag = {"if-none-match": plain.headers["etag"]}
    assert sqlite_stats.client.get("/static/style.css", headers=etag).status_code == 304
    for name in (
        "none.css",
        "",
        "../pages.py",
        "%2e%2e/pages.py",
        "vendor",
        "x" * 12 + "/style.css",
    ):
        assert sqlite_stats.client.get(f"/static/{name}").status_code == 404


def test_the_first_view_is_light(sqlite_stats: Stats) -> None:
    fill(sqlite_stats)
    text = sqlite_stats.client.get("/?days=365", headers=HTML).text
    (static,) = set(re.findall(r'"(/static/[0-9a-f]{12})/', text))
    names = ("style.css", "theme.js", "dashboard.js", "local.js", "live.js", "refresh.js")
    files = (*names, "search.js", "charts.js", "vendor/chart.js", "icon.svg")
    total = 0
    for path in ("/?days=365", *(f"{static}/{name}" for name in files)):
        with sqlite_stats.client.stream("GET", path, headers=HTML) as answer:
            total += sum(len(part) for part in answer.iter_raw())
    assert total < MOST_BYTES / 3


@pytest.mark.parametrize(
    ("library", "licence", "named"),
    [
        ("chart", "chart.LICENSE.md", "The MIT License"),
        ("swagger-ui", "swagger-ui.LICENSE.txt", "Apache License"),
    ],
)
def test_libraries_come_with_their_licences(
    sqlite_stats: Stats, library: str, licence: str, named: str
) -> None:
    assert named in sqlite_stats.client.get(f"/static/vendor/{licence}").text
    assert "sourceMappingURL" not in sqlite_stats.client.get(f"/static/vendor/{library}.js").text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("asked", ["start=1970-01-01&end=9998-12-31", "start=1970-01-01"])
def test_a_time_range_of_millennia_is_refused(sqlite_stats: Stats, path: str, asked: str) -> None:
    answer = sqlite_stats.client.get(f"{path}?{asked}", headers=HTML)
    assert answer.status_code == 422
    assert "a time range of at most 3650 days" in answer.text
    assert len(answer.content) < 20_000


def test_a_browser_gets_a_page_where_there_is_none_and_a_program_a_problem(
    sqlite_stats: Stats,
) -> None:
    page = sqlite_stats.client.get("/no-such-page", headers=HTML)
    assert page.status_code == 404
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "There is no page at this address." in page.text
    for path, headers in (("/no-such-page", {}), ("/api/v1/stats/no-such", HTML)):
        problem = sqlite_stats.client.get(path, headers=headers)
        assert problem.status_code == 404
        assert problem.json()["status"] == 404


def test_crawlers_and_browsers_find_their_files(sqlite_stats: Stats) -> None:
    robots = sqlite_stats.client.get("/robots.txt")
    assert robots.text == "User-agent: *\nDisallow: /api/\nDisallow: /*?\n"
    icon = sqlite_stats.client.get("/favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert icon.content.startswith(b"<svg")


def test_titles_name_what_a_page_shows(sqlite_stats: Stats) -> None:
    fill(sqlite_stats)
    path = "/profiles?days=30&profile=profile-07&version=24.10.2"
    text = sqlite_stats.client.get(path, headers=HTML).text
    title = "24.10.2, profile-07 · Profiles, last 30 days · asu-stats"
    assert f"<title>{title}</title>" in text
    assert "<h1>24.10.2, profile-07 <small>Profiles, last 30 days</small></h1>" in text


def test_days_before_the_data_are_not_drawn_as_zeros(sqlite_stats: Stats) -> None:
    fill(sqlite_stats)
    day = sqlite_stats.client.get("/api/v1/stats/overview").json()["period"]["data_since"]
    for path in ("/?days=90", "/embed/requests?days=90"):
        text = sqlite_stats.client.get(path, headers=HTML).text
        assert f'data-first-day="{day}"' in text
        assert f"The data starts on {day}." in text
    text = sqlite_stats.client.get(f"/?start={day}&end={day}", headers=HTML).text
    assert "data-first-day" not in text
    assert "The data starts on" not in text


def test_only_changes_beyond_chance_are_coloured(sqlite_stats: Stats) -> None:
    now = sqlite_stats.now
    sqlite_stats.record(
        [
            request(
                f"{days_ago}-{number}",
                now - timedelta(days=days_ago),
                outcome="cache_hit" if number < hits else "queued",
            )
            for days_ago, hits in ((1, 50), (2, 45), (9, 50), (10, 5))
            for number in range(100)
        ]
    )

    def delta(first: int, last: int) -> str:
        start, end = (now.date() - timedelta(days=days) for days in (first, last))
        text = sqlite_stats.client.get(f"/?start={start}&end={end}", headers=HTML).text
        tile = text[text.index('data-figure="cache_hit_rate"') :]
        found = re.search(r'class="delta([^"]*)"', tile)
        assert found
        return found[1].strip()

    assert delta(1, 1) == "", "50 of 100 after 45 of 100 can be chance"
    assert delta(9, 9) == "good", "50 of 100 after 5 of 100 can not"


def test_a_missing_page_says_what_is_missing_and_data_stays_data_behind_a_prefix(
    sqlite_prefixed: Stats,
) -> None:
    page = sqlite_prefixed.client.get("/stats/embed/no-such", headers=HTML)
    assert page.status_code == 404
    assert "unknown chart: expected one of requests, versions, errors, durations." in page.text
    data = sqlite_prefixed.client.get("/stats/api/v1/stats/no-such", headers=HTML)
    assert data.json()["status"] == 404
