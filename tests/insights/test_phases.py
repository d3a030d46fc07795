"""`insights/phases`: by worker, version and day, in any order of events."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from asu_stats.store import migrate
from asu_stats.store.blocks import cached, packer
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.verification import verify
from tests.insights.archiving import archive
from tests.store.older import back_to
from tests.support import NOW, CloudEvent, Stats, build, cloudevent, request

DAY = timedelta(days=1)


def phases(stats: Stats, **window: Any) -> dict[str, Any]:
    found: dict[str, Any] = stats.get("insights/phases", **window)
    return found


def fill(stats: Stats) -> None:
    """Record builds of two workers, one of which has a slow disk for two days."""
    for number in range(40):
        slow = number % 2 and number < 8
        stats.record(
            build(
                f"h{number}",
                end=NOW - number // 4 * DAY,
                worker_id=f"w{number % 2}",
                version="24.10.2" if number % 4 else "SNAPSHOT",
                phases={"building_image": 300.5 if slow else 60.25, "setup": 2 + number / 1000},
            )
        )
    stats.record(build("bad", "failure", phases={"building_image": 9}))
    stats.record(build("silent"))


def test_a_slow_disk_is_one_phase_of_one_worker(stats: Stats) -> None:
    fill(stats)
    found = phases(stats, days=2)
    image, setup = found["phases"]
    assert (image["phase"], image["builds"], image["p95_seconds"]) == ("building_image", 8, 300.5)
    assert image["by_worker"] == [
        {"worker": "w0", "builds": 4, "p50_seconds": 60.25, "p95_seconds": 60.25},
        {"worker": "w1", "builds": 4, "p50_seconds": 300.5, "p95_seconds": 300.5},
    ]
    assert [row["version"] for row in image["by_version"]] == ["24.10.2", "SNAPSHOT"]
    assert (setup["p50_seconds"], setup["p95_seconds"]) == (2.003, 2.007)
    assert found["basis"] | {"method": ""} == {
        "builds": 8,
        "requests": 0,
        "method": "",
        "enough": True,
    }
    days = [row for row in phases(stats)["timeseries"] if row["phase"] == "building_image"]
    assert [row["p95_seconds"] for row in days] == [60.25] * 8 + [300.5] * 2
    limited = phases(stats, limit=1)["phases"]
    assert (len(limited), len(limited[0]["by_worker"]), limited[0]["by_worker_total"]) == (1, 1, 2)
    assert list(verify.differences(stats.engine)) == []


def test_phases_of_most_builds_come_first_with_their_percentiles(sqlite_stats: Stats) -> None:
    for number in range(1, 101):
        times = {"setup": number} | ({"check": 1} if number <= 10 else {})
        sqlite_stats.record(build(f"h{number}", end=NOW, phases=times))
    setup, check = phases(sqlite_stats)["phases"]
    assert (setup["phase"], check["phase"]) == ("setup", "check")
    assert (setup["p50_seconds"], setup["p95_seconds"]) == (50, 95)


def test_corrections_change_the_phases(stats: Stats) -> None:
    started, finished = build("h", end=NOW, build_id="b", phases={"setup": 1})
    stats.record(finished)
    assert phases(stats)["phases"][0]["by_worker"][0]["worker"] == "unknown"
    started["data"]["worker_id"] = "w1"
    stats.record(started, request("h", NOW - DAY, version="23.05.5"))
    (phase,) = phases(stats)["phases"]
    assert phase["by_worker"][0]["worker"] == "w1"
    assert phase["by_version"][0]["version"] == "23.05.5"
    stats.record(build("h", end=NOW - 2 * DAY, build_id="b", phases={"setup": 3})[1])
    (row,) = phases(stats)["timeseries"]
    assert (row["day"], row["p50_seconds"]) == ("2026-09-28", 3.0)
    stats.record(build("h", "failure", end=NOW - 3 * DAY, build_id="b", phases={"setup": 3})[1])
    assert phases(stats)["basis"]["enough"] is False
    assert (phases(stats)["phases"], phases(stats)["timeseries"]) == ([], [])
    assert list(verify.differences(stats.engine)) == []


@pytest.mark.parametrize("archived", ["", "files"])
def test_older_databases_are_counted_from_their_details(stats: Stats, archived: str) -> None:
    fill(stats)
    stats.record(build("old", end=NOW - 40 * DAY, phases={"setup": 77}))
    before = phases(stats, days=90)
    assert before["timeseries"][0]["p50_seconds"] == 77
    if archived:
        archive(stats, archived)
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0021")
    migrate.upgrade(stats.engine)
    packer.pack(stats.engine, NOW.date())
    cached.forget(stats.engine)
    assert phases(stats, days=90) == before
    assert list(verify.differences(stats.engine)) == []


# (hour, worker) of starts and ends of one build, and its worker: that of the earliest end, else
# that of the earliest start.
Named = list[tuple[int, str | None]]
WORKERS: list[tuple[Named, Named, str]] = [
    ([(8, None), (9, "w1")], [(10, None)], "unknown"),
    ([(8, "w1"), (9, "w2")], [(10, None)], "w1"),
    ([(8, "w1")], [(10, None), (11, "w2")], "w1"),
    ([(8, None)], [(10, None), (11, "w2")], "unknown"),
    ([(8, "w2"), (8, "w1")], [(10, None)], "w1"),
    ([(8, "w1")], [(10, "w3"), (10, "w2")], "w2"),
    ([(8, "w1"), (9, "w1")], [(10, "w1"), (11, None)], "w1"),
]


@pytest.mark.parametrize("archived", [False, True])
def test_the_worker_depends_on_no_order(stats: Stats, archived: bool) -> None:
    """A job that a queue hands out again starts twice, and two workers may report its end."""
    day = (NOW - 9 * DAY).replace(hour=0, minute=0)
    arrivals: list[list[CloudEvent]] = [[] for _ in range(4)]
    for number, (starts, ends, _) in enumerate(WORKERS):
        given = [("build.started", *each) for each in starts]
        given += [("build.finished", *each) for each in ends]
        for build_id, order in enumerate(permutations(given)):
            for arriving, (kind, hour, named) in zip(arrivals, order, strict=False):
                data: dict[str, Any] = {"build_id": f"b{build_id}", "request_hash": f"h{number}"}
                if named:
                    data["worker_id"] = named
                if kind == "build.finished":
                    data |= {"status": "success", "phases": {f"case {number}": 1}}
                arriving.append(cloudevent(kind, day + timedelta(hours=hour), data))
    for events in arrivals:
        stats.record(*events)
        if archived:
            archive(stats, "tables")
    found = {
        row["phase"]: {each["worker"] for each in row["by_worker"]}
        for row in phases(stats)["phases"]
    }
    assert found == {f"case {n}": {worker} for n, (_, _, worker) in enumerate(WORKERS)}
    assert list(verify.differences(stats.engine)) == []
