"""Properties of requested images: shares of known values, and distributions."""

from datetime import timedelta

import pytest

from asu_stats.store import migrate
from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.blocks import cached
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.verification import verify
from tests.store.older import back_to
from tests.support import NOW, CloudEvent, Stats, request

DAY = timedelta(days=1)


def story() -> list[CloudEvent]:
    """Hashes that are asked for once, with and without what they may say."""
    events = []
    for day in range(0, 60, 4):
        at = NOW - day * DAY
        events += [
            request(f"a{day}", at, has_custom_repos=True, has_defaults=False, rootfs_size_mb=256),
            request(f"b{day}", at, has_custom_repos=False, package_count=day, version="23.05.5"),
            request(f"c{day}", at, rootfs_size_mb=512 + day, client="owut/1"),
            request(f"d{day}", at, outcome="cache_hit", packages=["luci", "vim"]),
            request(f"e{day}", at, outcome="rejected", has_defaults=True, rootfs_size_mb=9),
        ]
    return events


def test_shares_are_of_those_that_said_so(stats: Stats) -> None:
    stats.record(
        request("h1", has_custom_repos=True, has_defaults=True, rootfs_size_mb=None),
        request("h2", has_custom_repos=False, rootfs_size_mb=0),
        request("h3", has_custom_repos=False, rootfs_size_mb=128, client="owut/1"),
        request("h4", outcome="cache_hit", has_custom_repos=None, package_count=0),
        request("h5", outcome="rejected", has_custom_repos=True, rootfs_size_mb=1, package_count=9),
    )
    found = stats.get("request-patterns")
    assert found["requests"] == 4
    assert found["with_custom_repositories"] == {"count": 1, "percentage": 33.33, "unknown": 1}
    assert found["with_defaults"] == {"count": 1, "percentage": 100.0, "unknown": 3}
    assert found["with_rootfs_size"] == {"count": 1, "percentage": 33.33, "unknown": 1}
    sizes = found["rootfs_size_mb"]
    assert [sizes[name] for name in ("requests", "p50", "p99", "max")] == [1, 128, 128, 128]
    (bar,) = sizes["histogram"]
    assert bar == {"from": 128, "to": 128, "requests": 1, "percentage": 100.0}
    assert found["package_count"]["requests"] == 1
    assert found["package_count"]["max"] == 0
    assert stats.get("request-patterns", client="owut")["with_rootfs_size"]["count"] == 1
    assert stats.get("request-patterns", client="owut", version="x")["requests"] == 0
    assert list(verify.differences(stats.engine)) == []


def test_a_window_without_requests_knows_nothing(stats: Stats) -> None:
    nothing = {"count": 0, "percentage": None, "unknown": 0}
    found = stats.get("request-patterns")
    assert found["with_defaults"] == nothing
    assert found["package_count"] == {
        "requests": 0,
        **dict.fromkeys(("p50", "p90", "p99", "max")),
        "histogram": [],
    }


def test_any_sizes_make_few_bars(stats: Stats) -> None:
    sizes = [1, 2, 300, 2**31 - 1, *range(1000, 1200)]
    stats.record(*(request(f"h{size}", rootfs_size_mb=size) for size in sizes))
    found = stats.get("request-patterns")["rootfs_size_mb"]
    assert found["max"] == 2**31 - 1
    assert len(found["histogram"]) <= 25
    assert sum(bar["requests"] for bar in found["histogram"]) == len(sizes)


def test_archived_details_change_nothing(stats: Stats) -> None:
    stats.record(*story())
    before = stats.get("request-patterns", days=90)
    assert before["with_custom_repositories"] == {"count": 15, "percentage": 50.0, "unknown": 30}
    report = retention.run(stats.engine, Policy(5, 5, 5, 5, latest=1), NOW.date())
    assert report.archived["client_stats"] > 20
    cached.forget(stats.engine)
    assert stats.get("request-patterns", days=90) == before
    assert list(verify.differences(stats.engine)) == []
    verify.rebuild(stats.engine)
    assert stats.get("request-patterns", days=90) == before


@pytest.mark.parametrize("archived", [False, True])
def test_older_databases_are_counted_from_their_details(stats: Stats, archived: bool) -> None:
    stats.record(*story())
    before = stats.get("request-patterns", days=90)
    if archived:
        retention.run(stats.engine, Policy(5, 5, 5, 5, latest=1), NOW.date())
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0017")
    migrate.upgrade(stats.engine)
    cached.forget(stats.engine)
    assert stats.get("request-patterns", days=90) == before
    assert list(verify.differences(stats.engine)) == []


def test_what_an_older_database_knows_of_a_hash_holds_for_its_requests(stats: Stats) -> None:
    stats.record(request("h", has_defaults=True), request("h", outcome="cache_hit"), request("g"))
    assert stats.get("request-patterns")["with_defaults"]["unknown"] == 2
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0017")
    migrate.upgrade(stats.engine)
    cached.forget(stats.engine)
    known = {"count": 2, "percentage": 100.0, "unknown": 1}
    assert stats.get("request-patterns")["with_defaults"] == known
    assert list(verify.differences(stats.engine)) == []
