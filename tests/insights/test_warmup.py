"""`insights/warmup`: ranking of images, and the backtest."""

import random
from collections import Counter
from datetime import date, timedelta
from typing import Any

from sqlalchemy import select

from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import package_lists, package_names
from asu_stats.store.details import package_lists as lists
from tests.support import NOW, CloudEvent, Stats, request

DAY = timedelta(days=1)
TODAY = NOW.date()
# As in the table that comes with asu-stats.
RELEASED = {
    "25.12.4": date(2026, 5, 14),
    "24.10.7": date(2026, 5, 30),
    "25.12.5": date(2026, 6, 30),
    "24.10.8": date(2026, 7, 25),
}


def branch(version: str) -> str:
    return version[:5]


def history(chance: random.Random) -> list[CloudEvent]:
    found = []
    for number in range(1_400):
        at = NOW - timedelta(hours=chance.randrange(24 * 150))
        known = ["23.05.6", "SNAPSHOT", *(v for v, day in RELEASED.items() if day <= at.date())]
        device = min(chance.randrange(6), chance.randrange(6))
        found.append(
            request(
                f"h{number}",
                at,
                version=known[-1] if chance.random() < 0.6 else chance.choice(known),
                target=f"t{device % 2}/x",
                profile=f"p{device}" if chance.random() > 0.05 else "unknown",
                packages=chance.choice((None, ["luci"], ["luci"], ["luci", "-x"], ["a", "+b"])),
                outcome=chance.choice(("queued", "queued", "joined", "cache_hit", "rejected")),
            )
        )
    return found


def counted(events: list[CloudEvent]) -> list[tuple[date, str, tuple[str, str, str]]]:
    """Return day, version and image of the requests that count."""
    found = []
    for event in events:
        data = event["data"]
        names = {n.removeprefix("+") for n in data["packages"] or () if not n.startswith("-")}
        if names and data["outcome"] not in ("cache_hit", "rejected"):
            image = (data["target"], data["profile"], lists._digest(tuple(sorted(names))))
            found.append((date.fromisoformat(event["time"][:10]), data["version"], image))
    return found


def ranked(events: list[CloudEvent], version: str, first: date, last: date, images: int) -> Any:
    weights: Counter[tuple[str, str, str]] = Counter()
    for day, name, image in counted(events):
        if first <= day <= last and image[1] != "unknown":
            weights[image] += 2 if branch(name) == branch(version) else 1
    best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:images]
    return best, sum(weights.values())


def backtest(events: list[CloudEvent], chosen: str, days: int, images: int) -> list[Any]:
    found = []
    for version, day in sorted(RELEASED.items(), key=lambda item: item[1], reverse=True):
        if (day, version) >= (RELEASED[chosen], chosen):
            continue
        first_days = [
            image
            for at, name, image in counted(events)
            if name == version and day <= at < day + 14 * DAY
        ]
        since = min(date.fromisoformat(event["time"][:10]) for event in events)
        if len(first_days) >= 20 and day - 14 * DAY >= since:
            best, _ = ranked(events, version, day - days * DAY, day - DAY, images)
            known = {image for image, _ in best}
            hits = sum(image in known for image in first_days)
            rate = int(hits * 10_000 / len(first_days) + 0.5) / 100
            found.append((version, str(day), len(first_days), rate))
    return found[:3]


def test_equal_to_naive_counting(stats: Stats) -> None:
    events = history(random.Random(2))
    for part in (events[500:], events[:300], events[200:]):  # late, and twice
        stats.record(*part)
    for images in (3, 8):
        found = stats.get("insights/warmup", days=30, images=images)
        assert (found["version"], found["basis"]["enough"]) == ("24.10.8", True)
        tried = [tuple(row.values()) for row in found["backtest"]]
        assert tried == backtest(events, "24.10.8", 30, images)
        assert len(tried) >= 2
        best, total = ranked(events, "24.10.8", TODAY - 29 * DAY, TODAY, images)
        mean = sum(requests for _, _, requests, _ in tried) / len(tried)
        assert [tuple(row.values()) for row in found["images"]] == [
            (*image, round(mean * weight / total, 1)) for image, weight in best
        ]
    coming = stats.get("insights/warmup", version="26.12.0", images=2)
    assert coming["version"] == "26.12.0"
    assert coming["backtest"][0]["version"] == "24.10.8"


def test_halves_are_rounded_up(sqlite_stats: Stats) -> None:
    """Without backtest, one request in 56 days is expected 14 / 56 = 0.25 times."""
    requests = [
        request(f"h{number}", NOW, version="24.10.8", profile=f"p{number}", packages=["luci"])
        for number in range(28)
    ]
    sqlite_stats.record(*requests)
    found = sqlite_stats.get("insights/warmup", days=56, version="26.12.0", images=1)
    assert found["images"][0]["expected_requests"] == 0.3


def test_a_list_made_before_a_release_would_have_served_it(sqlite_stats: Stats) -> None:
    """Ten images are asked for before and after each release, a new one by one request in five."""
    events = []
    for version, day in RELEASED.items():
        before, after = NOW + (day - TODAY) - 5 * DAY, NOW + (day - TODAY) + 2 * DAY
        for number in range(50):
            names: dict[str, Any] = {"profile": f"p{number % 10}", "packages": ["luci"]}
            events.append(request(f"{version}-{number}", before, version="23.05.6", **names))
            new = {**names, "packages": [f"new-{version}"]} if number % 5 == 0 else names
            events.append(request(f"{version}+{number}", after, version=version, **new))
    sqlite_stats.record(*events)
    found = sqlite_stats.get("insights/warmup", days=90, images=10)
    rates = {row["version"]: row["hit_rate"] for row in found["backtest"]}
    assert rates == {"25.12.5": 80, "24.10.7": 80}
    assert len(found["images"]) == 10
    few = sqlite_stats.get("insights/warmup", days=90, images=1)
    assert {row["hit_rate"] for row in few["backtest"]} <= {0, 10}


def test_too_little_data_has_no_images(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("a", packages=["luci"]))
    found = sqlite_stats.get("insights/warmup")
    assert (found["basis"]["enough"], found["images"], found["backtest"]) == (False, [], [])
    far = sqlite_stats.get("insights/warmup", start="2030-01-01", end="2030-02-01")
    assert far["images"] == []


def test_digests_are_those_of_the_stored_lists(sqlite_stats: Stats) -> None:
    names = ["b", "a"]
    sqlite_stats.record(*(request(f"h{n}", packages=names) for n in range(30)))
    (image,) = sqlite_stats.get("insights/warmup", version="24.10.9")["images"]
    with read_snapshot(sqlite_stats.engine) as connection:
        stored = connection.execute(select(package_lists.c.digest)).scalar_one()
        assert set(connection.execute(select(package_names.c.name)).scalars()) == {"a", "b"}
    assert image["packages_digest"] == stored
