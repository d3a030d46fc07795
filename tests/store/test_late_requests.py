"""Requests that arrive late, between two others of their hash: exact gaps, and little to read."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from asu_stats.store.archive.archive import Restore
from asu_stats.store.verification import verify
from tests.support import NOW, CloudEvent, Stats, request

MORNING = NOW.replace(hour=1, minute=0)
# Minutes: some are equal.
FIRST = (0, 60, 65, 70, 480)
LATE = (240, 65, 65.5, 65.5, 71, 64)


def of_hashes(hashes: int, minutes: Sequence[float]) -> list[CloudEvent]:
    """Return a request of each hash at each of `minutes`, between two rejected ones."""
    return [
        request(f"h{number}", MORNING + timedelta(minutes=minute, seconds=seconds), outcome=outcome)
        for number in range(hashes)
        for minute in minutes
        for seconds, outcome in ((-9, "rejected"), (0, "cache_hit"), (9, "rejected"))
    ]


@pytest.mark.parametrize("hashes", [2, 70])  # looked up one by one, and among all of their day
def test_late_requests_count_by_the_nearest_ones_of_their_hash(stats: Stats, hashes: int) -> None:
    stats.record(of_hashes(hashes, FIRST))
    for minute in LATE:
        stats.record(of_hashes(hashes, [minute]))
    assert list(verify.differences(stats.engine)) == []
    found = stats.get("insights/cache")["what_if"]
    stats.clear()
    stats.record(of_hashes(hashes, sorted([*FIRST, *LATE])))
    assert stats.get("insights/cache")["what_if"] == found


def test_few_late_requests_do_not_read_their_whole_day(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats.record(of_hashes(20, [0, 60, 480]))
    monkeypatch.delattr(Restore, "requests")
    stats.record(of_hashes(20, [240]))
    assert list(verify.differences(stats.engine)) == []
