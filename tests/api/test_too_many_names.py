"""Insights refuse time ranges whose names do not fit into memory; all sums stay available."""

from bisect import bisect_left
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from asu_stats.exceptions import TooManyNamesError
from asu_stats.reports.insights.failure_rows import OF_DAY
from asu_stats.store.blocks import cached, reader
from asu_stats.store.blocks import rows as day_rows
from asu_stats.store.database.engine import read_snapshot
from tests.support import NOW, Stats, build, request

MOST = 60
TODAY, BEFORE = ({"start": f"2026-09-{day}", "end": f"2026-09-{day}"} for day in (30, 29))
BOTH = {"start": "2026-09-29", "end": "2026-09-30"}
COMPARING = ("failures", "packages", "regressions")


def made_up(name: str, time: datetime = NOW) -> list[Any]:
    """Return a request and its failed build in which every name is new."""
    of = {"version": f"v{name}", "target": f"t{name}/x", "profile": f"p{name}"}
    asked = request(f"h{name}", time, **of, client=f"c{name}/1", packages=[f"package-{name}"])
    ends = build(f"h{name}", "failure", end=time, worker_id=f"w{name}", error_type=f"e{name}")
    return [asked, *ends]


@pytest.fixture
def attacked(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> Stats:
    """A day with few names, and a day with more than are compared."""
    monkeypatch.setattr(day_rows, "MOST_NAMES", MOST)
    monkeypatch.setattr(day_rows, "_ROWS_AT_ONCE", 4)
    stats.record(made_up("before", NOW - timedelta(days=1)))
    for number in range(20):
        stats.record(made_up(str(number)))
    return stats


def answer(stats: Stats, insight: str, days: dict[str, str]) -> Any:
    return stats.client.get(f"/api/v1/stats/insights/{insight}", params=days)


@pytest.mark.parametrize("insight", COMPARING)
def test_too_many_names_are_refused(attacked: Stats, insight: str) -> None:
    for days in (TODAY, BOTH, BOTH):  # the second time from memory
        response = answer(attacked, insight, days)
        assert response.status_code == 422
        assert "2026-09-30: more than 60 distinct names" in response.json()["detail"]


@pytest.mark.parametrize("insight", COMPARING)
def test_names_of_other_days_do_not_count(attacked: Stats, insight: str) -> None:
    assert answer(attacked, insight, TODAY).status_code == 422
    response = answer(attacked, insight, BEFORE)
    assert response.status_code == 200
    assert response.json()["basis"]["builds"] == 1


def test_names_on_several_days_count_together(
    attacked: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_allowed(most: int, *days: date) -> bool:
        monkeypatch.setattr(day_rows, "MOST_NAMES", most)
        cached.forget(attacked.engine)
        try:
            rows_of_failures(attacked, *days)
        except TooManyNamesError:
            return False
        return True

    def needed(*days: date) -> int:
        return bisect_left(range(1_000), True, key=lambda most: is_allowed(most, *days))

    today, before = NOW.date(), NOW.date() - timedelta(days=1)
    together, apart = needed(before, today), needed(before, before) + needed(today, today)
    assert needed(today, today) < together < apart  # the package of all errors is ""


def test_sums_stay_exact(attacked: Stats) -> None:
    assert attacked.get("overview", **TODAY)["totals"]["failed_builds"] == 20
    assert attacked.get("errors", **TODAY)["total_errors"] == 20
    assert attacked.get("insights/fingerprints", **TODAY)["fingerprints_total"] > 0


def test_the_page_shows_why_and_the_other_sections(attacked: Stats) -> None:
    page = attacked.client.get("/insights", params=TODAY)
    assert page.status_code == 200
    assert "more than 60 distinct names" in page.text


def test_days_are_read_in_parts(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        stats.record(made_up(str(number)))
    found = []
    for size in (1, 4, 4096):
        monkeypatch.setattr(day_rows, "_ROWS_AT_ONCE", size)
        monkeypatch.setattr(reader, "_ROWS_AT_ONCE", size)
        cached.forget(stats.engine)
        found.append(rows_of_failures(stats, NOW.date(), NOW.date()))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 9


def rows_of_failures(stats: Stats, start: date, end: date) -> list[tuple[Any, ...]]:
    """Return the rows of failures of some days, with their names."""
    with read_snapshot(stats.engine) as connection:
        rows = day_rows.read(connection, start, end, OF_DAY)
        names = [rows.name(name) for name in OF_DAY.names]
        columns = [[of.values[code] for code in of.codes.tolist()] for of in names]
        columns += [rows.number(name).tolist() for name in OF_DAY.numbers]
        return sorted(zip(*columns, strict=True))
