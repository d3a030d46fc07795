"""Edges that random histories rarely hit: exact halves, and the first and last of a day."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.histories import examples
from tests.support import NOW, Stats, build, request

DAY = NOW - timedelta(days=1)
ALONE = {"start": DAY.date(), "end": DAY.date()}


def test_exact_halves_are_rounded_up_everywhere(stats: Stats) -> None:
    """One of 32 is 3.125%, 31 are 96.875%; 125 seconds of 4 builds are 31.25 each."""
    for number in range(32):
        outcome = "cache_hit" if number == 0 else "queued"
        stats.record(request(f"h{number}", DAY, outcome=outcome))
        # Of all 32 builds one fails, and four have a known duration.
        ids: dict[str, Any] = (
            {"duration_seconds": 31 + (number == 3)} if number in {0, 1, 2, 3} else {}
        )
        _, finished = build(f"h{number}", "failure" if number == 31 else "success", end=DAY, **ids)
        stats.record(finished)
    totals = stats.get("overview", **ALONE)["totals"]
    assert (totals["success_rate"], totals["cache_hit_rate"]) == (96.88, 3.13)
    for name in ("versions", "targets", "profiles"):
        (row,) = stats.get(name, **ALONE)
        assert (row["success_rate"], row["cache_hit_rate"]) == (96.88, 3.13), name
        assert row["avg_build_duration"] == 31.3, name
    (hour,) = [r for r in stats.get("timeseries", interval="day", **ALONE) if r["requests"]]
    assert (hour["success_rate"], hour["cache_hit_rate"]) == (96.88, 3.13)
    (client,) = stats.get("clients", **ALONE)
    assert client["cache_hit_rate"] == 3.13
    assert stats.get("performance", **ALONE)["build_duration"]["avg_seconds"] == 31.3
    compared = {row["figure"]: row["value"] for row in stats.get("comparison", **ALONE)}
    assert (compared["success_rate"], compared["cache_hit_rate"]) == (96.88, 3.13)


CHANGES = st.tuples(
    st.sampled_from(("shortest", "longest", "any")),
    st.sampled_from(("shorter", "same", "longer", "failure")),
)


@given(
    seconds=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    changes=st.lists(CHANGES, min_size=1, max_size=3),
)
@examples(10)
def test_the_shortest_or_longest_build_of_a_day_is_changed_late(
    stats: Stats, seconds: list[int], changes: list[tuple[str, str]]
) -> None:
    """An earlier end of a build, with another duration or status, takes the place of its end."""
    stats.clear()
    known: dict[str, int | None] = {}

    def finish(name: str, status: str, duration: int, earlier: int) -> None:
        end = DAY - timedelta(minutes=earlier)
        _, event = build(name, status, end=end, build_id=name, duration_seconds=duration)
        stats.record(event)
        known[name] = duration if status == "success" else None

    for number, duration in enumerate(seconds):
        finish(f"b{number}", "success", duration, 0)
    for earlier, (which, how) in enumerate(changes, 1):
        timed = {name: each for name, each in known.items() if each is not None}
        if not timed:
            break
        by = {"shortest": min, "longest": max}.get(which)
        name = by(timed, key=timed.__getitem__) if by else min(timed)
        new = max(timed[name] + {"shorter": -1, "longer": 3}.get(how, 0), 0)
        finish(name, "failure" if how == "failure" else "success", new, earlier)
        check(stats, [each for each in known.values() if each is not None])


def check(stats: Stats, durations: list[int]) -> None:
    ordered = sorted(durations)
    for window in (ALONE, {"days": 7}):
        found: dict[str, Any] = stats.get("performance", **window)["build_duration"]
        if not ordered:
            assert found["min_seconds"] is found["max_seconds"] is found["median_seconds"] is None
            continue
        assert found["min_seconds"] == ordered[0]
        assert found["max_seconds"] == ordered[-1]
        assert found["median_seconds"] == ordered[(len(ordered) - 1) // 2]
