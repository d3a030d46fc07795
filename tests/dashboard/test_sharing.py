"""Badges, embedded charts, and the public URL in pages."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import sqlite_database
from tests.support import Stats, at, build, request


def words(stats: Stats, address: str) -> str:
    """What a badge says."""
    answer = stats.client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/svg+xml"
    root = ET.fromstring(answer.text)  # noqa: S314 - our own
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == root.attrib["aria-label"]
    return title.text or ""


def test_badges_say_the_figures_of_the_api(stats: Stats) -> None:
    assert words(stats, "/badge/requests.svg") == "firmware requests: 0"
    assert words(stats, "/badge/success-rate.svg") == "build success: no builds"
    for number in range(7):
        status = "failure" if number == 0 else "success"
        stats.record(request(f"h{number}"), build(f"h{number}", status))
    old = at("2026-09-01")
    stats.record(request("x", old, profile="rpi-4", version="23.05.5"), build("x", end=old))
    assert words(stats, "/badge/requests.svg") == "firmware requests: 7"
    assert words(stats, "/badge/requests.svg?days=30") == "firmware requests: 8"
    assert words(stats, "/badge/success-rate.svg?days=7") == "build success: 86%"
    by_profile = "days=30&profile=rpi-4"
    assert words(stats, f"/badge/requests.svg?{by_profile}") == "rpi-4 firmware requests: 1"
    assert words(stats, f"/badge/success-rate.svg?{by_profile}&label=RPi") == "RPi: 100%"
    both = f"{by_profile}&version=24.10.2&label=x"
    assert words(stats, f"/badge/requests.svg?{both}") == "x: 0"
    assert words(stats, "/badge/builds.svg?days=30&version=23.05.5&label=v") == "v: 1"


def test_a_badge_is_text_whatever_names_hold(sqlite_stats: Stats) -> None:
    evil = "</title><script>alert(1)</script>"
    shown = words(sqlite_stats, f"/badge/requests.svg?label={evil}")
    assert shown == f"{evil}: 0"
    answer = sqlite_stats.client.get(f"/badge/requests.svg?profile={evil}")
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_badge_that_did_not_change_is_not_sent_again(sqlite_stats: Stats) -> None:
    first = sqlite_stats.client.get("/badge/requests.svg")
    again = {"If-None-Match": first.headers["etag"]}
    assert sqlite_stats.client.get("/badge/requests.svg", headers=again).status_code == 304
    sqlite_stats.record(request("h1"))
    assert sqlite_stats.client.get("/badge/requests.svg", headers=again).status_code == 200


@pytest.mark.parametrize(
    ("address", "status", "detail"),
    [
        ("/badge/none.svg", 404, "unknown badge"),
        ("/badge/requests.svg?days=0", 422, "days=0"),
        ("/badge/requests.svg?client=luci", 422, "client=luci"),
        (f"/badge/requests.svg?label={'x' * 41}", 422, "label="),
        ("/embed/none", 404, "unknown chart"),
        ("/embed/requests?theme=red", 422, "theme=red"),
        ("/embed/requests?client=a&profile=b", 422, "profile=b"),
    ],
)
def test_bad_ones_are_refused(sqlite_stats: Stats, address: str, status: int, detail: str) -> None:
    answer = sqlite_stats.client.get(address)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(detail)


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """A server that one other site may show in frames."""
    options = {"embed_origins": ["https://forum.example"]}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        yield stats


@pytest.mark.parametrize("name", ["requests", "versions", "errors", "durations"])
def test_only_named_sites_may_show_charts_in_a_frame(shared: Stats, name: str) -> None:
    answer = shared.client.get(f"/embed/{name}?days=30&theme=dark")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.endswith("frame-ancestors https://forum.example")
    assert "unsafe" not in policy
    assert 'data-theme="dark"' in answer.text
    page = shared.client.get("/")
    assert page.headers["content-security-policy"].endswith("frame-ancestors 'none'")


def test_by_default_nobody_may(sqlite_stats: Stats) -> None:
    answer = sqlite_stats.client.get("/embed/requests")
    assert answer.headers["content-security-policy"].endswith("frame-ancestors 'none'")


def snippets(stats: Stats, path: str) -> list[str]:
    text = stats.client.get(path, headers={"accept": "text/html"}).text
    return [html.unescape(found) for found in re.findall(r"<pre[^>]*>(.*?)</pre>", text)]


@pytest.fixture
def known(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """A server behind a prefix that knows its address."""
    options = {"root_path": "/stats", "public_url": "https://openwrt.example/stats"}
    with Stats.on(sqlite_database(request), tmp_path / "spool", **options) as stats:
        yield stats


def test_snippets_have_the_public_address(known: Stats) -> None:
    known.record(request("h1", profile="a&b"))
    found = snippets(known, "/stats/profiles?profile=a%26b&days=30")
    assert len(found) == 5
    for text in found:
        links = re.findall(r'https?://[^)"]+', html.unescape(text))
        assert links
        for link in links:
            assert link.startswith("https://openwrt.example/stats/"), text
            answer = known.client.get(link.removeprefix("https://openwrt.example"))
            assert answer.status_code == 200, link
    assert "[![Firmware requests](https://openwrt.example/stats/badge/requests.svg?" in found[0]


def test_pages_name_one_address_of_theirs(known: Stats) -> None:
    text = known.client.get("/stats/targets?version=24.10.2&days=3&sort=requests&q=x").text
    address = "https://openwrt.example/stats/targets?version=24.10.2"
    assert f'<link rel="canonical" href="{address}">' in text


def test_without_public_address_nothing_is_taken_from_the_request(sqlite_stats: Stats) -> None:
    headers = {"host": "evil.example", "accept": "text/html"}
    text = sqlite_stats.client.get("/", headers=headers).text
    assert "evil.example" not in text
    assert "canonical" not in text
    assert 'data-unknown="https://YOUR-SERVER"' in text
    badge = "(https://YOUR-SERVER/badge/requests.svg?days=7)"
    assert [text for text in snippets(sqlite_stats, "/") if badge in text]
