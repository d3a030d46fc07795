"""Responses: body, headers, pages and conditions of HTTP, and the bytes of the result cache."""

import gzip
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from asu_stats.api import answering
from asu_stats.api.answering import Answer, Lists, ResultCache
from asu_stats.reports.listing import Listing
from tests.conftest import sqlite_database
from tests.support import NOW, Stats, request

VERSIONS = "/api/v1/stats/versions"
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def few(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    """A service with seven versions."""
    directory = tmp_path_factory.mktemp("few")
    with Stats.on(sqlite_database(request, directory), directory / "spool") as stats:
        fill(stats)
        yield stats


def fill(stats: Stats) -> None:
    for number in range(7):
        stats.record(*(request(f"h{number}-{n}", version=f"é{number}") for n in range(9 - number)))


def get(stats: Stats, path: str, **headers: str) -> Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    response = stats.client.get(path, headers={**PLAIN, **given})
    assert response.status_code in {200, 304}, response.text
    return response


def test_json_is_compact_and_not_escaped(few: Stats) -> None:
    response = get(few, f"{VERSIONS}?limit=1")
    assert response.headers["content-type"] == "application/json"
    assert response.text.startswith('[{"version":"é0","requests":9,"unique_targets":1,')
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "Accept, Accept-Encoding"
    assert re.fullmatch(r'W/"\d+-[0-9a-f]{16}"', response.headers["etag"])
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("at_a_time", [2, 1000])  # streamed, or at once
def test_csv_is_a_download_in_utf_8(
    few: Stats, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(answering, "ROWS_AT_A_TIME", at_a_time)
    response = get(few, f"{VERSIONS}?format=csv&days={20 + at_a_time % 7}")
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert re.fullmatch(
        r'attachment; filename="[\w.-]+\.csv"', response.headers["content-disposition"]
    )
    lines = response.content.decode().splitlines()
    assert lines[0].startswith("version,requests,")
    assert [line.split(",")[:2] for line in lines[1:]] == [
        [f"é{number}", str(9 - number)] for number in range(7)
    ]
    assert response.headers["x-total-count"] == "7"


def pages(stats: Stats, query: str) -> tuple[list[str], dict[str, str]]:
    response = get(stats, f"{VERSIONS}?{query}")
    assert response.headers["x-total-count"] == "7"
    links = re.findall(r'<([^>]*)>; rel="(\w+)"', response.headers["link"])
    assert response.headers["link"].count(", <") == len(links) - 1
    return [row["version"] for row in response.json()], {name: url for url, name in links}


def of(limit: int, offset: int, more: str = "") -> str:
    return f"{VERSIONS}?{more}limit={limit}&offset={offset}"


@pytest.mark.parametrize(
    ("limit", "offset", "expected"),
    [
        (3, 0, {"next": 3, "first": 0, "last": 6}),
        (3, 3, {"next": 6, "prev": 0, "first": 0, "last": 6}),
        (3, 4, {"prev": 1, "first": 0, "last": 6}),
        (3, 6, {"prev": 3, "first": 0, "last": 6}),
        (3, 1, {"next": 4, "prev": 0, "first": 0, "last": 6}),
        (3, 90, {"prev": 6, "first": 0, "last": 6}),
        (7, 0, {"first": 0, "last": 0}),
        (6, 0, {"next": 6, "first": 0, "last": 6}),
        (1, 6, {"prev": 5, "first": 0, "last": 6}),
    ],
)
def test_links_lead_to_the_other_pages(
    few: Stats, limit: int, offset: int, expected: dict[str, int]
) -> None:
    names, links = pages(few, f"limit={limit}&offset={offset}")
    assert names == [f"é{number}" for number in range(7)][offset : offset + limit]
    assert links == {name: of(limit, to) for name, to in expected.items()}
    assert list(links) == [each for each in ("next", "prev", "first", "last") if each in links]


def test_links_keep_the_other_parameters(few: Stats) -> None:
    _, links = pages(few, "days=30&limit=3")
    assert links["next"] == of(3, 3, "days=30&")
    response = few.client.get("/api/v1/stats/targets?limit=1&version=%C3%A90%20%2B", headers=PLAIN)
    assert response.headers["link"].startswith(
        "</api/v1/stats/targets?version=%C3%A90%20%2B&limit=1&offset=0>"
    )


def test_a_prefix_of_a_proxy_is_in_the_links(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = sqlite_database(request)
    with Stats.on(url, tmp_path / "spool", root_path="/stats") as stats:
        fill(stats)
        response = stats.client.get("/stats/api/v1/stats/versions?limit=6", headers=PLAIN)
    assert f'</stats{VERSIONS}?limit=6&offset=6>; rel="next"' in response.headers["link"]


def test_a_state_that_is_named_is_not_sent_again(few: Stats) -> None:
    response = get(few, VERSIONS)
    etag = response.headers["etag"]
    for known in (etag, etag.removeprefix("W/"), "*", f'"x", {etag} ', f'W/"x",{etag}'):
        again = get(few, VERSIONS, If_None_Match=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "no-cache"
        assert again.headers["vary"] == "Accept, Accept-Encoding"
    for other in (f"{etag}x", '"*"', '"x"', etag.replace("-", "1-")):
        assert get(few, VERSIONS, If_None_Match=other).status_code == 200
    assert get(few, f"{VERSIONS}?days=29").headers["etag"] != etag
    few.record(request("later", NOW - timedelta(days=300)))
    assert get(few, VERSIONS, If_None_Match=etag).status_code == 200


def _addresses(stats: Stats) -> Iterator[str]:
    """Yield an address of each endpoint of the statistics, of a badge and of a script."""
    for endpoint in stats.client.get("/api/v1/stats/").json()["endpoints"]:
        path = endpoint["path"].replace("{client}", "luci")
        if endpoint["method"] == "GET" and not re.search(r"silences|\{", path):
            yield path
    yield from ("/api/v1/stats", "/api/v1/stats/overview?hours=24")
    yield from ("/badge/requests.svg", "/static/charts.js")


def test_every_response_has_an_etag(few: Stats) -> None:
    addresses = list(_addresses(few))
    assert len(addresses) > 35
    for address in addresses:
        response = few.client.get(address)
        etag = response.headers["etag"]
        assert response.headers["cache-control"] == "no-cache", address
        for named in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
            again = few.client.get(address, headers={"If-None-Match": named})
            assert (again.status_code, again.content) == (304, b""), (address, named)
            for name in ("etag", "cache-control", "vary"):
                assert again.headers.get(name) == response.headers.get(name), address
        other = few.client.get(address, headers={"If-None-Match": 'W/"x"'})
        assert (other.status_code, other.content) == (200, response.content)


def test_an_etag_changes_with_the_clock_too(few: Stats) -> None:
    address = "/api/v1/stats/overview?hours=24"
    before = few.client.get(address).headers["etag"]
    few.now += timedelta(hours=1)
    response = few.client.get(address, headers={"If-None-Match": before})
    few.now -= timedelta(hours=1)
    assert (response.status_code, response.headers["etag"] == before) == (200, False)


def test_long_responses_are_compressed_and_short_ones_are_not(few: Stats) -> None:
    long = get(few, f"{VERSIONS}?days=28", Accept_Encoding="gzip")
    assert long.headers["content-encoding"] == "gzip"
    assert long.headers["content-type"] == "application/json"
    assert "content-encoding" not in get(few, "/api/v1/stats", Accept_Encoding="gzip").headers
    short = get(few, f"{VERSIONS}?days=28&limit=1", Accept_Encoding="gzip")
    assert "content-encoding" not in short.headers


# What is kept in memory --------------------------------------------------------------------------


def test_a_result_counts_with_its_body_headers_and_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_CACHED_BYTES", 100)
    cache = ResultCache()

    def kept(*keys: str) -> list[bool]:
        return [cache.get((key,), 1) is not None for key in keys]

    cache.put(
        ("a", "x" * 9), 1, Answer(b"b" * 20, "text/plain", {"one": "h" * 10, "two": "i" * 10})
    )
    assert cache.get(("a", "x" * 9), 1)
    cache.put(("c",), 1, Answer(b"b" * 49, "text/plain", {}))  # 50 and 50 bytes
    assert cache.get(("a", "x" * 9), 1)
    cache.put(("d",), 1, Answer(b"", "text/plain", {}))  # one byte more: the oldest goes
    assert kept("c", "d") == [False, True]
    assert cache.get(("a", "x" * 9), 1)
    assert cache.get(("d",), 2) is None
    assert cache.get(("d",), 0) is None
    cache.put(("e",), 1, Answer(b"b" * 100, "text/plain", {}))  # too long for the cache
    assert kept("e") == [False]


def test_the_number_of_results_and_lists_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_CACHED_ANSWERS", 2)
    monkeypatch.setattr(answering, "_CACHED_LISTS", 2)
    monkeypatch.setattr(answering, "ROWS_AT_A_TIME", 5)
    results, lists = ResultCache(), Lists()
    short, long = (Listing[Any](size, lambda *_: [], "") for size in (5, 6))
    for key in ("a", "b", "c"):
        results.put((key,), 3, Answer(b"", "", {}))
        lists.put((key,), 3, long)
    assert [results.get((key,), 3) is not None for key in "abc"] == [False, True, True]
    assert [lists.get((key,), 3) is not None for key in "abc"] == [False, True, True]
    assert lists.get(("c",), 4) is None
    lists.put(("d",), 3, short)  # it is computed again as fast
    assert lists.get(("d",), 3) is None


def test_gzip_holds_the_same_text(few: Stats) -> None:
    plain = get(few, f"{VERSIONS}?days=27").content
    with few.client.stream("GET", f"{VERSIONS}?days=27", headers={"Accept-Encoding": "gzip"}) as it:
        assert gzip.decompress(b"".join(it.iter_raw())) == plain
