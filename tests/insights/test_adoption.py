"""`insights/adoption`: equal to naive counts, and known cases."""

import random
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest

from asu_stats.reports import release_days
from tests.support import NOW, CloudEvent, Stats, request

DAY = timedelta(days=1)
TODAY = NOW.date()
# As in the table that comes with asu-stats.
KNOWN = {
    "24.10.8": date(2026, 7, 25),
    "25.12.5": date(2026, 6, 30),
    "23.05.6": date(2025, 8, 16),
    "24.10-SNAPSHOT": date(2024, 10, 31),
    "19.07.10": date(2022, 4, 17),
}
UNKNOWN = ("77.1.0", "77.1.0-rc2", "SNAPSHOT", "mine")


def percent(part: int, whole: int) -> float | None:
    return int(part * 10_000 / whole + 0.5) / 100 if whole else None


def day_of(event: CloudEvent) -> date:
    return date.fromisoformat(event["time"][:10])


def history(chance: random.Random) -> list[CloudEvent]:
    versions = [*KNOWN, *UNKNOWN]
    return [
        request(
            f"h{chance.randrange(9)}",
            NOW - chance.randrange(9 * 24) * timedelta(hours=1),
            version=chance.choice(versions),
            outcome=chance.choice(("queued", "joined", "cache_hit", "cached_failure", "rejected")),
        )
        for _ in range(40)
    ]


def expected(events: list[CloudEvent], first: date, last: date) -> dict[str, Any]:
    asked: Counter[tuple[date, str]] = Counter()
    for event in events:
        if event["data"]["outcome"] != "rejected":
            asked[day_of(event), event["data"]["version"]] += 1
    since = min(map(day_of, events))
    days = [first + n * DAY for n in range((last - first).days + 1)]
    of_day = {day: sum(n for (at, _), n in asked.items() if at == day) for day in days}
    of_version: Counter[str] = Counter()
    for (day, version), n in asked.items():
        if first <= day <= last:
            of_version[version] += n
    total = sum(of_version.values())
    new = "77.1.0"  # in no list: released on the day of its first request
    days_of_new = [day for day, name in asked if name == new and day <= last]

    def released(version: str) -> date | None:
        return min(days_of_new) if version == new else KNOWN.get(version)

    def after(version: str, day: date) -> int | None:
        found = released(version)
        return (day - found).days if found else None

    supported = ["24.10", "25.12"]
    if of_version[new] and of_version[new] * 100 >= total:
        supported = ["25.12", "77.1"]
    old = {name for name in +of_version if name[:1].isdigit() and name[:5] < supported[0]}
    return {
        "total": total,
        "supported": supported if total else [],
        "end_of_life": percent(sum(of_version[name] for name in old), total),
        "versions": {
            version: (
                str(released(version)) if released(version) else None,
                after(version, last),
                version in old,
                n,
                percent(n, total),
                [
                    (str(day), after(version, day), percent(asked[day, version], of_day[day]))
                    for day in days
                    if since <= day <= TODAY
                ],
            )
            for version, n in (+of_version).items()
        },
    }


def shown(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "total": found["basis"]["requests"],
        "supported": found["supported_branches"],
        "end_of_life": found["end_of_life_share"],
        "versions": {
            row["version"]: (
                row["released_on"],
                row["days_since_release"],
                row["end_of_life"],
                row["requests"],
                row["share"],
                [
                    (day["day"], day["days_since_release"], day["share"])
                    for day in row["share_by_day"]
                ],
            )
            for row in found["versions"]
        },
    }


def test_equal_to_naive_counting(stats: Stats) -> None:
    for seed in range(4):
        stats.clear()
        events = history(random.Random(seed))
        for part in (events[30:], events[:20], [*events[10:], *events[:5]]):  # late, and twice
            stats.record(*part)
        for first, last in (
            (TODAY - 6 * DAY, TODAY),
            (TODAY - 3 * DAY, TODAY - 2 * DAY),
            (TODAY - 30 * DAY, TODAY + 2 * DAY),
            (TODAY - 60 * DAY, TODAY - 40 * DAY),
        ):
            found = stats.get("insights/adoption", start=first, end=last)
            assert shown(found) == expected(events, first, last), (seed, first)
            assert found["versions_total"] == len(found["versions"])
            assert found["basis"]["enough"] == (found["basis"]["requests"] > 0)


def test_nothing_is_known_of_nothing(sqlite_stats: Stats) -> None:
    found = sqlite_stats.get("insights/adoption")
    assert (found["versions"], found["end_of_life_share"]) == ([], None)
    assert (found["supported_branches"], found["basis"]["enough"]) == ([], False)


def test_pages_of_versions(sqlite_stats: Stats) -> None:
    for number in range(5):
        names = [request(f"{number}-{n}", version=f"24.10.{number}") for n in range(number + 1)]
        sqlite_stats.record(*names)
    found = sqlite_stats.get("insights/adoption", limit=2, offset=1)
    assert [row["version"] for row in found["versions"]] == ["24.10.3", "24.10.2"]
    assert found["versions_total"] == 5


def test_one_odd_version_ends_no_branch(sqlite_stats: Stats) -> None:
    asked = [request(f"h{number}", version="24.10.8") for number in range(150)]
    sqlite_stats.record(*asked, request("odd", version="99.99.9"))
    found = sqlite_stats.get("insights/adoption")
    assert found["supported_branches"] == ["24.10", "25.12"]
    assert found["end_of_life_share"] == 0


def test_a_long_time_range_shows_the_last_days(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("a", NOW - 900 * DAY), request("b", NOW))
    (row,) = sqlite_stats.get("insights/adoption", start="1970-01-01", end="9998-12-31")["versions"]
    assert (len(row["share_by_day"]), row["share_by_day"][-1]["day"]) == (366, "2026-09-30")
    assert row["requests"] == 2


@pytest.mark.parametrize(
    ("on", "branches"),
    [
        (date(2026, 3, 2), {"23.05", "24.10"}),
        (date(2026, 3, 3), {"24.10", "25.12"}),
        (date(2019, 1, 1), set()),
        (date(2020, 1, 6), {"19.07"}),
    ],
)
def test_the_two_newest_branches_are_supported(on: date, branches: set[str]) -> None:
    assert release_days.supported_branches(release_days.shipped(), on) == branches
    assert not release_days.is_end_of_life("SNAPSHOT", branches)
    assert not release_days.is_end_of_life("19.07.10", set())
