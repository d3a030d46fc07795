"""The lists of one client: cut by the database, and equal to naive counting."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection

from asu_stats.releases import order_of
from asu_stats.reports import client, floor
from asu_stats.reports.listing import ALL, Page
from asu_stats.store.database import statements
from asu_stats.store.database.engine import read_snapshot
from asu_stats.windows import Window
from tests.support import NOW, CloudEvent, Stats, request

NAMES = 60
WINDOW = Window(NOW.date(), NOW.date())
LISTS = {
    "client_versions": "client_version",
    "top_versions": "version",
    "top_targets": "target",
    "top_profiles": "profile",
}


def names_of(number: int) -> dict[str, str]:
    """Return names of which some differ in order as text and by release, and one is `other`."""
    version = ("24.10.", "9.", "24.10.2-rc", "")[number % 4] + str(number) or "SNAPSHOT"
    other = "other" if number == 5 else f"t{number:03}"
    return {
        "version": version,
        "target": f"{other}/generic" if other != "other" else other,
        "profile": f"P{number}" if number % 2 else f"p{number}",
        "client": f"luci/{version}",
    }


def request_count(number: int) -> int:
    """Return how many requests have these names: many have the same number."""
    return 1 + (number * 7) % 4


def sample_events() -> list[CloudEvent]:
    events = []
    for number in range(NAMES):
        names = names_of(number)
        for again in range(request_count(number)):
            events.append(request(f"h{number}", outcome="cache_hit", **names))
            kind = {"error_category": f"c{number % 3}", "error_type": f"e{number:02}"}
            events.append(request(f"r{again}", outcome="rejected", **names, **kind))
        events.append(request(f"x{number}", outcome="cache_hit", **names | {"client": "owut/1"}))
    return events


@pytest.fixture
def filled(stats: Stats) -> Iterator[Stats]:
    stats.record(*sample_events())
    yield stats
    stats.clear()


def naive(column: str, least: int) -> list[tuple[str, int]]:
    """Return the names of a column and their requests, ranked."""
    counts: Counter[str] = Counter()
    for number in range(NAMES):
        name = names_of(number)["client"][5:] if column == "client_version" else ""
        counts[name or names_of(number)[column]] += request_count(number)
    if least:
        rare = {name for name, n in counts.items() if n < least or name == "other"}
        rest = sum(counts.pop(name) for name in rare)
        counts |= Counter({"other": rest} if rest else {})
    order = order_of(column)
    return sorted(counts.items(), key=lambda pair: (-pair[1], order(pair[0])))


def read(stats: Stats, page: Page, least: int) -> Mapping[str, Any]:
    with read_snapshot(stats.engine) as connection, floor.applied(least):
        return client.read(connection, WINDOW, "luci", page)


@pytest.mark.parametrize("least", [0, 3])
@pytest.mark.parametrize("page", [ALL, Page(1), Page(3, 2), Page(17, 11), Page(5, 70), Page(500)])
def test_lists_are_those_of_naive_counting(filled: Stats, page: Page, least: int) -> None:
    found = read(filled, page, least)
    for name, column in LISTS.items():
        ranked = naive(column, least)
        cut = ranked[page.places] if name == "client_versions" else ranked[: page.most(5)]
        assert [(row[column], row["requests"]) for row in found[name]] == cut, name
        assert found[f"{name}_total"] == len(ranked), name
    errors = sorted((-request_count(n), f"c{n % 3}", f"e{n:02}") for n in range(NAMES))
    rows = [(-row["count"], row["category"], row["type"]) for row in found["errors"]]
    assert rows == errors[page.places]
    assert found["errors_total"] == NAMES
    total = sum(request_count(number) for number in range(NAMES))
    shares = [round(-count / total * 100, 2) for count, _, _ in rows]
    assert [row["percentage"] for row in found["errors"]] == pytest.approx(shares, abs=0.01)


def test_only_rows_of_the_page_are_read(filled: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that tie with the last one are sorted by release outside of the database."""
    read_rows: dict[str, int] = {}
    send = statements.send

    def noted(connection: Connection, statement: Any, /, **given: object) -> statements.Sent:
        sent = send(connection, statement, **given)

        def rows() -> list[Any]:
            found = sent()
            read_rows[",".join(statement.exported_columns.keys()[:-4])] = len(found)
            return found

        return rows

    monkeypatch.setattr(statements, "send", noted)
    read(filled, Page(2), 0)
    ties = sum(request_count(number) == 4 for number in range(NAMES))
    errors = "error_category,error_type"
    exact = {"target": 2, "profile": 2, errors: 2}
    assert exact.items() <= read_rows.items()
    assert read_rows["version"] == read_rows["client_version"] == ties
