"""Package lists: stored once, counted by number, expanded in reports."""

from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from asu_stats.store.blocks import packer
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import package_lists as lists
from asu_stats.store.database.schema import package_names
from asu_stats.store.details import package_lists
from asu_stats.store.verification import verify
from tests.support import NOW, Stats, request

LUCI = ["luci", "luci-ssl", "tcpdump"]


def test_a_list_is_kept_once(stats: Stats) -> None:
    stats.record(request("h1", packages=LUCI), request("h2", packages=["+luci"]))
    stats.record(
        request("h3", packages=[*reversed(LUCI), "luci"], version="23.05.5"),
        request("h4", packages=["-tcpdump"]),
        request("h5", packages=["vim"], outcome="cache_hit"),
        request("h6"),
    )
    with read_snapshot(stats.engine) as connection:
        for table, rows in ((lists, 2), (package_names, 3)):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == rows
    assert stats.get("packages") == [
        {"package": "luci", "requests": 3, "percentage": 50.0},
        {"package": "luci-ssl", "requests": 2, "percentage": 33.33},
        {"package": "tcpdump", "requests": 2, "percentage": 33.33},
    ]
    assert [row["requests"] for row in stats.get("packages", version="23.05.5")] == [1, 1, 1]
    assert stats.get("packages", target="x86/64") == []


def test_a_day_that_was_packed_hears_of_late_ones(stats: Stats) -> None:
    before = NOW - timedelta(days=3)
    stats.record(request("h1", before, packages=LUCI))
    packer.pack(stats.engine, NOW.date())
    assert stats.get("packages")[0]["requests"] == 1
    stats.record(request("h2", before, packages=["luci"]))
    assert [row["requests"] for row in stats.get("packages")] == [2, 1, 1]
    packer.pack(stats.engine, NOW.date())
    assert [row["requests"] for row in stats.get("packages")] == [2, 1, 1]
    verify.rebuild(stats.engine)
    assert [row["requests"] for row in stats.get("packages")] == [2, 1, 1]
    assert list(verify.differences(stats.engine)) == []


def test_pages_and_csv(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("h1", packages=[f"p{number:03}" for number in range(250)]))
    answer = sqlite_stats.client.get("/api/v1/stats/packages", params={"limit": 100, "offset": 200})
    assert answer.headers["x-total-count"] == "250"
    assert answer.json()[0]["package"] == "p200"
    assert 'rel="prev"' in answer.headers["link"]
    assert answer.headers["etag"]
    csv = sqlite_stats.client.get("/api/v1/stats/packages", params={"format": "csv", "limit": 1})
    assert csv.text == "package,requests,percentage\r\np000,1,100.0\r\n"


@given(st.sets(st.integers(1, 2**31), min_size=1, max_size=300))
def test_numbers_come_out_as_they_went_in(numbers: set[int]) -> None:
    names = {f"p{number}": number for number in numbers}
    packed = package_lists._encode(tuple(sorted(names)), names)
    assert package_lists._decode(packed).tolist() == sorted(numbers)
    assert np.issubdtype(package_lists._decode(packed).dtype, np.int64)
