"""Waiting requests are `building` while their build runs, in any order of events."""

from datetime import timedelta
from itertools import permutations

import pytest
from sqlalchemy import text

from asu_stats.store import migrate
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.verification import verify
from tests.store.older import back_to
from tests.support import NOW, CloudEvent, Stats, build, request

MINUTE = timedelta(minutes=1)


def statuses(stats: Stats) -> list[str]:
    with stats.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT status FROM client_stats ORDER BY timestamp, client")
        )
        return list(rows.scalars())


def story() -> list[CloudEvent]:
    started, finished = build("h", "success", end=NOW, seconds=60)
    joined = request("h", NOW - MINUTE / 2, outcome="joined", client="owut/1")
    return [request("h", NOW - 2 * MINUTE), started, joined, finished]


def test_a_request_is_building_once_its_build_has_started(stats: Stats) -> None:
    asked, started, joined, finished = story()
    stats.record(asked)
    assert statuses(stats) == ["queued"]
    stats.record(started)
    assert statuses(stats) == ["building"]
    stats.record(joined)
    assert statuses(stats) == ["building", "building"]
    stats.record(finished)
    assert statuses(stats) == ["success", "success"]
    assert list(verify.differences(stats.engine)) == []


def test_the_order_of_arrival_makes_no_difference(stats: Stats) -> None:
    for unfinished, wanted in ((True, "building"), (False, "success")):
        events = story()[:3] if unfinished else story()
        for order in permutations(events):
            for together in (True, False):
                stats.clear()
                if together:
                    stats.record(*order)
                else:
                    for event in order:
                        stats.record(event)
                assert statuses(stats) == [wanted, wanted], order


def test_a_cache_hit_and_other_hashes_stay_as_they_are(stats: Stats) -> None:
    stats.record(
        request("h", NOW - 2 * MINUTE, outcome="cache_hit"),
        request("h", NOW - MINUTE, outcome="rejected"),
        request("g", NOW),
    )
    stats.record(build("h")[0])
    assert statuses(stats) == ["success", "rejected", "queued"]


def test_an_end_before_the_request_leaves_it_queued(stats: Stats) -> None:
    started, finished = build("h", end=NOW - MINUTE, seconds=30)
    stats.record(request("h", NOW))
    stats.record(started)
    assert statuses(stats) == ["building"]
    stats.record(finished)
    assert statuses(stats) == ["queued"]


def test_a_later_end_that_is_corrected_goes_back_to_building(stats: Stats) -> None:
    (start, _), (_, end) = build("h", end=NOW, build_id="b1"), build("h", end=NOW, build_id="b2")
    stats.record(request("h", NOW - MINUTE), start, end)
    assert statuses(stats) == ["success"]  # that of the other build, the first to end
    earlier = {**end, "id": "earlier", "time": (NOW - 2 * MINUTE).isoformat()}
    stats.record(earlier)  # of several ends the earliest holds: it ended before the request
    assert statuses(stats) == ["building"]
    assert list(verify.differences(stats.engine)) == []


@pytest.mark.parametrize("times", [1, 2])
def test_an_older_database_learns_it(stats: Stats, times: int) -> None:
    stats.record(request("h", NOW - MINUTE), request("g"), build("h")[0], build("i")[0])
    with write_transaction(stats.engine) as connection:
        connection.execute(text("UPDATE client_stats SET status = 'queued'"))
        back_to(connection, "0013")
    for _ in range(times):
        migrate.upgrade(stats.engine)
    assert statuses(stats) == ["building", "queued"]
