"""`insights/regressions`: inserted changes are found, others are not."""

import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, Table
from sqlalchemy.event import listen

from asu_stats.reports.insights.build_days import BuildDays
from asu_stats.reports.insights.build_groups import Group
from asu_stats.reports.insights.build_memory import remembered
from asu_stats.store import migrate
from asu_stats.store.blocks import cached, packer
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.rollups.definitions import ATTEMPTS
from asu_stats.store.verification import verify
from asu_stats.windows import Window
from tests import histories
from tests.insights.archiving import archive
from tests.insights.test_failures import Naive
from tests.store.older import back_to
from tests.support import NOW, CloudEvent, Stats, cloudevent

DAYS = 14
VERSIONS = ("24.10.2", "23.05.5", "SNAPSHOT")
DEVICES = (
    ("ath79/generic", "tplink_archer-c7-v5"),
    ("ath79/generic", "glinet_gl-ar750"),
    ("x86/64", "generic"),
    ("mediatek/filogic", "glinet_gl-mt6000"),
)
FULL = "[Errno 28] No space left on device: '/srv/store/8ea8ae6f'"
USUAL = "Error: Impossible package selection: missing (tcpdump)"
Names = dict[str, str]
Spoil = Callable[[int, Names], Any]


def history(
    spoil: Spoil = lambda _, __: None, per_day: int = 60, seed: int = 1
) -> list[CloudEvent]:
    """Return builds of two weeks, 4% of which fail; day 0 is today.

    `spoil` says what becomes of a build: a text is an error, a number makes it take longer, and a
    hash with a text is a request that was seen before.
    """
    chance = random.Random(seed)
    found = []
    for day in range(DAYS):
        for number in range(per_day):
            target, profile = chance.choice(DEVICES)
            names = {
                "version": chance.choices(VERSIONS, (5, 3, 2))[0],
                "target": target,
                "profile": profile,
                "worker_id": chance.choice(("w1", "w2")),
            }
            seconds = round(60 * chance.lognormvariate(0, 0.3))
            text = USUAL if chance.random() < 0.04 else None
            request_hash = f"{seed}-{day}-{number}"
            match spoil(day, names):
                case str(error):
                    text = error
                case float(factor):
                    seconds = round(seconds * factor)
                case (again, error):
                    request_hash, text = again, error
            data: dict[str, Any] = {"request_hash": request_hash, "build_id": f"b-{day}-{number}"}
            data |= names | {"duration_seconds": seconds, "status": "success"}
            if text:
                data |= {"status": "failure", "error_message": text}
            time = NOW - timedelta(days=day, seconds=number * 60)
            found.append(cloudevent("build.finished", time, data))
    return found


def changes(stats: Stats, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stats.get("insights/regressions", **query)["regressions"]
    return found


def short(row: dict[str, Any]) -> tuple[str, str, str, str | None]:
    return row["measure"], row["dimension"], row["value"], row["recovered_on"]


def few_variables(connection: Any, *_: object) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 250)


def test_a_version_with_very_many_devices_is_found(sqlite_stats: Stats) -> None:
    """SQLite takes 32,766 variables in a statement; 250 here."""
    numbers = iter(range(DAYS * 60))

    def spoil(day: int, names: Names) -> str | None:
        names["profile"] = f"device-{next(numbers)}"
        return FULL if day < 3 and is_of(names, version="24.10.2") else None

    sqlite_stats.record(history(spoil))
    listen(sqlite_stats.engine, "checkout", few_variables)
    rows = changes(sqlite_stats)
    assert [short(row) for row in rows] == [("success_rate", "version", "24.10.2", None)]


def is_of(names: Names, **wanted: str) -> bool:
    return all(names[name] == value for name, value in wanted.items())


CULPRITS: dict[tuple[str, str], Names] = {
    ("all", "all"): {},
    ("version", "24.10.2"): {"version": "24.10.2"},
    ("target", "ath79/generic"): {"target": "ath79/generic"},
    ("version_target", "24.10.2 ath79/generic"): {"version": "24.10.2", "target": "ath79/generic"},
    ("profile", "tplink_archer-c7-v5"): {"profile": "tplink_archer-c7-v5"},
    ("worker", "w1"): {"worker_id": "w1"},
}


@pytest.mark.parametrize("culprit", CULPRITS)
@pytest.mark.parametrize("measure", ["success_rate", "duration"])
def test_a_clear_change_is_found_on_its_day(
    sqlite_stats: Stats, culprit: tuple[str, str], measure: str
) -> None:
    """With the group it is about, and no other: neither a broader one nor its parts."""
    what: Any = FULL if measure == "success_rate" else 4.0
    sqlite_stats.record(
        history(lambda day, names: what if not day and is_of(names, **CULPRITS[culprit]) else None)
    )
    (row,) = changes(sqlite_stats)
    assert short(row) == (measure, *culprit, None)
    assert (row["since"], row["p_value"] < 0.01) == ("2026-09-30", True)
    if measure == "success_rate":
        (fingerprint,) = (
            each["fingerprint"]
            for each in sqlite_stats.get("insights/fingerprints")["fingerprints"]
            if "No space" in each["example"]
        )
        assert (row["fingerprint"], row["after"]) == (fingerprint, 0.0)
        assert row["before"] > 90
    else:
        assert row["fingerprint"] is None
        assert 55 < row["before"] < 70
        assert 3.2 < row["after"] / row["before"] < 4.8


def test_what_is_over_has_a_day_of_recovery(sqlite_stats: Stats) -> None:
    """Two changes at different times are two rows, the newest first; `limit` cuts the list."""

    def spoil(day: int, names: Names) -> Any:
        if 4 <= day <= 6 and is_of(names, target="x86/64"):
            return FULL
        return 3.0 if 8 <= day <= 9 and is_of(names, worker_id="w2") else None

    sqlite_stats.record(history(spoil))
    rows = changes(sqlite_stats)
    assert [(*short(row), row["since"]) for row in rows] == [
        ("success_rate", "target", "x86/64", "2026-09-27", "2026-09-24"),
        ("duration", "worker", "w2", "2026-09-23", "2026-09-21"),
    ]
    found = sqlite_stats.get("insights/regressions", limit=1)
    assert (found["regressions"], found["regressions_total"]) == (rows[:1], 2)
    assert changes(sqlite_stats, days=7) == rows[:1]
    as_of = changes(sqlite_stats, start="2026-09-23", end="2026-09-24")
    assert [(*short(row), row["since"]) for row in as_of] == [
        ("success_rate", "target", "x86/64", None, "2026-09-24")
    ]


@pytest.mark.parametrize("seed", range(2, 6))
def test_quiet_days_say_nothing(sqlite_stats: Stats, seed: int) -> None:
    sqlite_stats.record(history(seed=seed))
    found = sqlite_stats.get("insights/regressions")
    assert (found["regressions"], found["basis"]["enough"]) == ([], True)
    assert found["basis"]["builds"] == DAYS * 60


def test_a_request_that_fails_again_and_again_is_no_change(sqlite_stats: Stats) -> None:
    again = ("again", USUAL)
    sqlite_stats.record(
        history(lambda day, names: again if not day and is_of(names, target="x86/64") else None)
    )
    assert changes(sqlite_stats) == []


@pytest.mark.parametrize("measure", ["success_rate", "duration"])
def test_another_mix_of_builds_is_no_change(sqlite_stats: Stats, measure: str) -> None:
    """Snapshots are slower and fail more often all along; today they are most of the builds."""
    chance = random.Random(5)

    def spoil(day: int, names: Names) -> Any:
        names["version"] = "SNAPSHOT" if chance.random() < (0.2 if day else 0.9) else "24.10.2"
        if names["version"] != "SNAPSHOT":
            return None
        if measure == "success_rate":
            return FULL if chance.random() < 0.4 else None
        return 3.0

    sqlite_stats.record(history(spoil))
    assert changes(sqlite_stats) == []


def test_too_little_is_said_to_be_too_little(sqlite_stats: Stats) -> None:
    assert sqlite_stats.get("insights/regressions")["basis"]["enough"] is False
    sqlite_stats.record(history(per_day=1)[:12])
    found = sqlite_stats.get("insights/regressions")
    assert (found["basis"]["enough"], found["regressions"]) == (False, [])
    assert sqlite_stats.get("insights/regressions", end="2020-01-01")["basis"]["enough"] is False
    assert sqlite_stats.get("insights/regressions", days=3650)["period"]["incomplete"]


# The series against raw events -------------------------------------------------------------------

Sums = Mapping[tuple[Group, date], tuple[int, ...]]


def workers_of(history: list[CloudEvent]) -> dict[str, str]:
    """Return the worker of each build, as all events about it say."""
    data = [event["data"] for event in history]
    return {each["build_id"]: each["worker_id"] for each in data if each.get("worker_id")}


def naive(history: list[CloudEvent], window: Window, without: tuple[Group, date] | None) -> Sums:
    """Return ended, failed and timed builds, their seconds and distinct failures, if any."""
    found: defaultdict[tuple[Group, date], list[int]] = defaultdict(lambda: [0] * 4)
    failing: defaultdict[tuple[Group, date], set[object]] = defaultdict(set)
    workers = workers_of(history)
    for build in Naive(history).window(window.start, window.end).finished:
        assert build.end is not None
        if not (build.succeeded or build.failed):
            continue
        day = build.end.date()
        groups = [Group("all", ()), Group("version", (build.version,))]
        groups += [Group("target", (build.target,)), Group("profile", (build.profile,))]
        groups += [Group("version_target", (build.version, build.target))]
        groups += [Group("worker", (workers.get(build.build_id, "unknown"),))]
        if without and without[1] == day and without[0] in groups:
            continue
        for group in groups:
            sums = found[group, day]
            timed = build.succeeded and build.seconds is not None
            amounts = (1, build.failed, timed, build.seconds if timed else 0)
            found[group, day] = [a + int(b or 0) for a, b in zip(sums, amounts, strict=True)]
            if build.failed:
                failing[group, day].add(build.request_hash or build.build_id)
    return {
        key: (*sums, len(failing[key]))
        for key, sums in found.items()
        if "unknown" not in key[0].names
    }


def stored(stats: Stats, window: Window, without: tuple[Group, date] | None) -> Sums:
    with read_snapshot(stats.engine) as connection, remembered(connection, window, None) as memory:
        days, groups = BuildDays(memory), memory.groups
        if without and groups.place(without[0]) is not None:
            start = (without[1] - window.start).days
            days.exclude(without[0], start, start + 1)
    found: dict[tuple[Group, date], tuple[int, ...]] = {}
    for place in range(groups.size):
        group = groups.group(place)
        assert groups.place(group) == place
        for number, sums in enumerate(np.diff(days.sums[:, place]).T.tolist()):
            if any(sums):
                found[group, days.day(number)] = tuple(sums)
    return found


WINDOW = Window(date(2026, 9, 26), date(2026, 9, 30))
PARTS = (
    None,
    (Group("all", ()), date(2026, 9, 28)),
    (Group("version", ("23.05.5",)), date(2026, 9, 27)),
    (Group("profile", ("generic",)), date(2026, 9, 29)),
    (Group("worker", ("w1",)), date(2026, 9, 28)),
)


@given(
    history=histories.histories(),
    cuts=st.lists(st.integers(0, 70), max_size=3),
    archived=st.sampled_from(("", "tables", "files")),
)
@histories.examples(6)
def test_series_equal_the_raw_events(
    stats: Stats, history: list[CloudEvent], cuts: list[int], archived: str
) -> None:
    """In batches of any order, late and twice, with details archived half way."""
    stats.clear()
    for event in history:
        if event["type"] == "asu.build.finished":
            event["data"]["worker_id"] = f"w{len(event['data']['build_id']) % 2}"
    for number, (first, after) in enumerate(pairwise(sorted({0, *cuts, len(history)}))):
        if number == 1 and archived:
            archive(stats, archived)
        if history[first:after]:
            stats.record(history[first:after])
    for part in PARTS:
        assert stored(stats, WINDOW, part) == naive(history, WINDOW, part)
    with read_snapshot(stats.engine) as connection, remembered(connection, WINDOW, None) as memory:
        found = BuildDays(memory).durations(Group("all", ()), 2, WINDOW.days)
        builds = zip(found.seconds.tolist(), (found.before + found.during).tolist(), strict=True)
        seconds = Counter(dict(builds))
    timed = [b for b in Naive(history).window(WINDOW.start, WINDOW.end).finished if b.succeeded]
    assert seconds == Counter(b.seconds for b in timed if b.seconds is not None)
    assert list(verify.differences(stats.engine)) == []


def test_days_without_builds_at_the_end_count_nothing(sqlite_stats: Stats) -> None:
    sqlite_stats.record(history(lambda _day, _names: None, per_day=30))
    today = NOW.date()
    found = stored(sqlite_stats, Window(today - timedelta(20), today), None)
    assert found
    assert stored(sqlite_stats, Window(today - timedelta(20), today + timedelta(2)), None) == found


@pytest.mark.parametrize("archived", ["", "files"])
def test_older_databases_are_counted_from_their_details(stats: Stats, archived: str) -> None:
    def spoil(day: int, names: Names) -> Any:
        return 4.0 if day < 3 and is_of(names, worker_id="w1") else None

    stats.record(history(spoil, per_day=30))
    before = changes(stats)
    assert [short(row) for row in before] == [("duration", "worker", "w1", None)]
    if archived:
        archive(stats, archived)
    kept = {"date": date(2020, 2, 2), "device": 1, "asker": 2, "worker": 3, "package_list": 0}
    with write_transaction(stats.engine) as connection:
        connection.execute(ATTEMPTS.table.delete())
        back_to(connection, "0029")
        then = Table("stats_attempts", MetaData(), autoload_with=connection)
        connection.execute(then.insert(), kept | {"successful_builds": 7, "failed_builds": 1})
    migrate.upgrade(stats.engine)
    packer.pack(stats.engine, NOW.date())
    cached.forget(stats.engine)
    assert changes(stats) == before
    with write_transaction(stats.engine) as connection:
        of = ATTEMPTS.table.c.date == kept["date"]
        (row,) = connection.execute(ATTEMPTS.table.select().where(of)).mappings()
        assert (row["seconds"], row["successful_builds"], row["failed_builds"]) == (-1, 7, 1)
        connection.execute(ATTEMPTS.table.delete().where(of))
    assert list(verify.differences(stats.engine)) == []
