"""Insights from stored sums equal the raw events, in any order of arrival."""

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asu_stats.store.verification import verify
from tests import histories
from tests.insights import sums
from tests.insights.archiving import archive
from tests.support import CloudEvent, Stats

TODAY = date(2026, 9, 30)
WINDOWS = [
    (TODAY, TODAY),
    (date(2026, 9, 27), date(2026, 9, 28)),
    (date(2026, 8, 27), TODAY + timedelta(days=3)),
]


@given(
    history=histories.histories(),
    cuts=st.lists(st.integers(0, 70), max_size=6),
    archived=st.sampled_from(("", "tables", "files")),
)
@histories.examples(8)
def test_figures_equal_the_oracle(
    stats: Stats, history: list[CloudEvent], cuts: list[int], archived: str
) -> None:
    """In batches of any order, with details archived half way."""
    stats.clear()
    for number, (first, after) in enumerate(pairwise(sorted({0, *cuts, len(history)}))):
        if number == 2 and archived:
            archive(stats, archived)
        if history[first:after]:
            stats.record(history[first:after])
    for start, end in WINDOWS:
        assert cache(stats, start, end) == sums.cache(history, start, end)
        assert queue(stats, start, end) == sums.queue(history, start, end)
        assert phases(stats, start, end) == sums.phases(history, start, end)
    assert list(verify.differences(stats.engine)) == []


def cache(stats: Stats, start: date, end: date) -> dict[str, Any]:
    found = stats.get("insights/cache", start=start, end=end)
    requests = found["basis"]["requests"]
    return {"now": found["now"], "what_if": found["what_if"], "requests": requests}


def queue(stats: Stats, start: date, end: date) -> dict[str, Any]:
    found = stats.get("insights/queue", start=start, end=end)
    return {
        "waited": found["waited"],
        "by_hour": [hour["waited_p95_seconds"] for hour in found["by_hour_of_week"]],
        "requests": found["basis"]["requests"],
        "storms": [
            (-storm["requests"], storm["request_hash"], storm["client"], storm["since"])
            for storm in found["storms"]
        ],
        "distinct_hashes": found["distinct_hashes"],
    }


def phases(stats: Stats, start: date, end: date) -> dict[str, Any]:
    found = stats.get("insights/phases", start=start, end=end)
    names = ("builds", "p50_seconds", "p95_seconds")
    rows = {}
    for phase in found["phases"]:
        rows[f"{phase['phase']}/all"] = tuple(phase[name] for name in names)
        for row in phase["by_version"]:
            key = f"{phase['phase']}/version/{row['version']}"
            rows[key] = tuple(row[name] for name in names)
    for row in found["timeseries"]:
        rows[f"{row['phase']}/day/{row['day']}"] = tuple(row[name] for name in names)
    return rows
