"""Lists are limited in responses and pages; CSV has all rows."""

import csv
import io
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from asu_stats.api import csv_rows
from asu_stats.dashboard.view import PAGES
from asu_stats.reports import clients, sums
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.listing import Listing
from asu_stats.reports.versions import VersionRow
from tests.support import NOW, Stats, build, request

NAMES = 1_100
HOUR = timedelta(hours=1)
NESTED = ("errors", "diff-packages", "performance", "clients/luci")
PAGED = ("versions", "targets", "profiles", "clients", "packages", "errors/types")
OVER_TIME = {"trend", "timeseries"}  # every bucket of the window is there


@pytest.fixture
def crowded(stats: Stats) -> Iterator[Stats]:
    """Everything that strangers name, each under many names."""
    events: list[Any] = []
    for n in range(NAMES):
        names = {"version": f"v{n:04}", "target": f"t{n:04}", "profile": f"p{n:04}"}
        kind: dict[str, Any] = {"error_category": f"c{n % 40}", "error_type": f"e{n:04}"}
        packages = {"packages": [f"k{n:04}"]}
        events += [
            request(f"h{n}", client=f"luci/{n}", **packages, **names),
            *build(f"h{n}", "success" if n % 2 else "failure", **({} if n % 2 else kind)),
            request(f"r{n}", client=f"client{n:04}/1", outcome="rejected", **names, **kind),
            request(f"o{n}", client="luci/1", outcome="rejected", **names, **kind),
        ]
    for first in range(0, len(events), 5_000):
        stats.record(*events[first : first + 5_000])
    yield stats
    stats.clear()


def _lists(value: object, path: str = "") -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
    """Yield the lists in an answer, each with its name and what it is a member of."""
    if isinstance(value, dict):
        for name, member in value.items():
            if isinstance(member, list):
                yield name, member, value
            yield from _lists(member, name)
    elif isinstance(value, list):
        for item in value:
            yield from _lists(item, path)


# These have a fixed length, so `limit` does not cut them.
FIXED = {"incomplete", "by_culprit", "what_if", "by_hour_of_week", "supported_branches"}
FIXED |= {"share_by_day", "arrivals_by_hour_of_week", "forecast", *OVER_TIME}
WITHOUT_TOTAL = {"examples", "backtest"}  # at most 20, and at most 3


def test_lists_of_insights_are_bounded_and_state_their_length(stats: Stats) -> None:
    events: list[Any] = []
    for n in range(30):
        version = ("24.10.1", "24.10.2", "SNAPSHOT")[n % 3]
        named: dict[str, Any] = {"version": version, "profile": f"p{n % 5}", "packages": ["luci"]}
        phases = {"setup": n, "building_image": 60, "upload": 3}
        failed: dict[str, Any] = {
            "error_message": f"Impossible package selection: missing (vim{n % 4})"
        }
        events += [
            request(f"h{n}", NOW - HOUR, **named),
            request(f"h{n}", NOW - HOUR / 2, outcome="cache_hit", **named),
            build(f"h{n}", end=NOW - HOUR / 2, phases=phases, worker_id=f"w{n % 3}"),
            request(f"f{n}", NOW - HOUR, **named),
            build(f"f{n}", "failure", end=NOW, **(failed if n % 2 else {})),
            *(request(f"r{n % 3}", NOW, outcome="rejected", **named) for _ in range(2)),
        ]
    stats.record(*events)
    one = stats.get("insights/fingerprints")["fingerprints"][0]["fingerprint"]
    names = [each.name.replace("{fingerprint}", one) for each in REPORTS]
    totals = {}
    for name in filter(lambda name: name.startswith("insights/"), names):
        if name == "insights/capacity":  # all lists have a fixed length
            continue
        whole, cut = stats.get(name), stats.get(name, limit=1)
        for member, found, parent in _lists(cut):
            if member in FIXED:
                continue
            assert len(found) <= 1, (name, member)
            if member not in WITHOUT_TOTAL:
                totals[member] = parent[f"{member}_total"]
        for member, found, parent in _lists(whole):
            if member not in FIXED | WITHOUT_TOTAL and not member.startswith("top_"):
                assert parent[f"{member}_total"] == len(found), (name, member)
    assert (totals["phases"], totals["storms"], totals["images"]) == (3, 3, 5)
    assert totals["worth_keeping"] == 30
    assert stats.get("insights/warmup", images=3)["images_total"] == 3


def test_lists_in_answers_are_bounded_and_have_pages(crowded: Stats) -> None:
    for question in NESTED:
        seen = set()
        for limit in (1, 3, None):
            answer = crowded.get(question, **({} if limit is None else {"limit": limit}))
            for name, found, parent in _lists(answer):
                if name in OVER_TIME or name == "incomplete":
                    continue
                seen.add(name)
                assert len(found) <= (limit or 100), (question, name)
                assert parent[f"{name}_total"] >= len(found)
        assert seen, question
    errors = crowded.get("errors", limit=1)
    assert (errors["by_version_total"], errors["by_category_total"]) == (NAMES, 40)
    assert errors["by_version"] == crowded.get("errors")["by_version"][:1]
    assert crowded.get("diff-packages")["by_version_total"] == NAMES
    client = crowded.get("clients/luci", limit=2)
    assert client["client_versions_total"] == client["errors_total"] == NAMES
    for question, name in (("errors", "by_version"), ("diff-packages", "by_version")):
        whole = crowded.get(question, limit=1000)[name]
        whole += crowded.get(question, limit=1000, offset=1000)[name]
        assert len({row["version"] for row in whole}) == len(whole) == NAMES
        assert crowded.get(question, limit=7, offset=5)[name] == whole[5:12]


def test_answers_and_pages_stay_small(crowded: Stats) -> None:
    few = crowded.client
    for question in (*PAGED, *NESTED, "overview", "errors/timeseries", "versions/timeseries"):
        answer = few.get(f"/api/v1/stats/{question}")
        assert len(answer.content) < 100_000, question
    paths = [path for _, _, path in PAGES]
    for path in (*paths, "/clients?client=luci", "/targets?version=v0001", "/errors?type=e0001"):
        for query in ("", "sort=-count", "q=9", "page=7", "sort=version"):
            joined = path + ("&" if "?" in path else "?") + query
            page = few.get(joined, headers={"Accept": "text/html"})
            assert page.status_code == 200
            assert len(page.content) < 200_000, joined
    rows = crowded.get("errors/timeseries", days=1)
    assert len(rows) == 21
    assert rows[-1]["category"] is None
    assert sum(row["errors"] for row in rows) == crowded.get("errors", days=1)["total_errors"]


def test_csv_has_all_rows_unless_a_page_is_asked_for(crowded: Stats) -> None:
    for question in (*PAGED, "performance"):
        _check_csv(crowded, question)
    page = crowded.client.get("/profiles", headers={"Accept": "text/html"}).text
    link = page.rpartition('"sources"><a href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "format=csv" in link
    assert len(crowded.client.get(link).text.splitlines()) == NAMES + 1


def _check_csv(crowded: Stats, question: str) -> None:
    def rows(query: str) -> list[dict[str, str]]:
        answer = crowded.client.get(f"/api/v1/stats/{question}?{query}")
        assert answer.status_code == 200
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))

    there = NAMES // 2 if question == "performance" else NAMES
    whole = rows("format=csv")
    assert len(whole) >= there
    (name, *_) = [n for n in whole[0] if n != "category"]
    assert len({row[name] for row in whole}) == len(whole)
    assert rows("format=csv&limit=1000") == whole[:1000]
    assert rows("format=csv&limit=10&offset=3") == whole[3:13]
    assert rows("format=csv&offset=3") == whole[3:]
    answer = crowded.client.get(f"/api/v1/stats/{question}", headers={"Accept": "text/csv"})
    assert len(list(csv.reader(io.StringIO(answer.text, newline="")))) == len(whole) + 1


def test_a_page_of_a_list_makes_only_its_own_rows(
    crowded: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    row_of = clients.row

    def noted(client: str, *sums: Any, **more: Any) -> clients.ClientRow:
        made.append(client)
        return row_of(client, *sums, **more)

    read: list[Any] = []
    cubes = sums.cubes

    def counted(*given: Any) -> Any:
        read.append(given)
        return cubes(*given)

    monkeypatch.setattr(clients, "row", noted)
    monkeypatch.setattr(sums, "cubes", counted)
    for offset in range(0, 50, 5):
        assert len(crowded.get("clients", limit=1, offset=offset)) == 1
    assert len(made) == 10
    assert len(read) == 1  # the order is worked out once


def test_long_csv_takes_little_memory(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("h1"))
    (row,) = sqlite_stats.get("versions", limit=1)
    many = Listing(200_000, lambda first, after: [row] * (after - first))
    tracemalloc.start()
    parts = sum(len(part) for part in csv_rows.to_csv(csv_rows.columns_of(VersionRow), many))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert parts > 5_000_000
    assert most < 2_000_000
