"""`unique_rejected_requests`: repeated rejections of one hash count once."""

import runpy
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Table, text

from asu_stats.store import migrate
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import run as retention
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.schema import rejected_days
from asu_stats.store.rollups.definitions import CLIENT_UNIQUE_REJECTED, UNIQUE_REJECTED
from asu_stats.store.verification import verify
from tests.support import NOW, Stats, request

DAY = timedelta(days=1)


def figures(answer: Mapping[str, Any]) -> tuple[int, int]:
    return answer["rejected_requests"], answer["unique_rejected_requests"]


def seen(stats: Stats, **window: Any) -> dict[str, tuple[int, int]]:
    """Return raw and distinct rejections, of all (``), and of each client."""
    found = {"": figures(stats.get("overview", **window)["totals"])}
    for row in stats.get("clients", **window):
        one = stats.get(f"clients/{row['client']}", **window)
        assert figures(one) == figures(row)
        found[row["client"]] = figures(row)
    return found


def rejected(request_hash: str, days_ago: float = 0, client: str = "luci/1") -> dict[str, Any]:
    return request(request_hash, NOW - days_ago * DAY, outcome="rejected", client=client)


def fill(stats: Stats) -> None:
    stats.record([rejected("h1") for _ in range(720)])  # a browser tab, an hour long
    stats.record(rejected("h1", 3), rejected("h1", 1), rejected("h1", 2))  # in any order
    stats.record(rejected("h1", 1, "owut/1"), rejected("h2"), rejected("h2", 40))
    stats.record(request("h1"), request("h3"))  # accepted in the end


def test_distinct_hashes_of_any_window(stats: Stats) -> None:
    fill(stats)
    today = {"": (721, 2), "luci": (721, 2)}
    assert seen(stats, days=1) == today
    assert seen(stats, days=2) == {"": (723, 2), "luci": (722, 2), "owut": (1, 1)}
    assert seen(stats, days=30) == {"": (725, 2), "luci": (724, 2), "owut": (1, 1)}
    assert seen(stats, start="2026-09-27", end="2026-09-29")["luci"] == (3, 1)
    assert seen(stats, start="2026-08-01", end="2026-08-31") == {"": (1, 1), "luci": (1, 1)}
    assert figures(stats.get("overview", hours=24)["totals"]) == (721, 2)
    assert list(verify.differences(stats.engine)) == []


def test_they_are_rebuilt_and_outlive_the_details(stats: Stats) -> None:
    fill(stats)
    before = seen(stats, days=60)
    with write_transaction(stats.engine) as connection:
        for rollup in (UNIQUE_REJECTED, CLIENT_UNIQUE_REJECTED):
            connection.execute(rollup.table.update().values(requests=99))
    assert list(verify.differences(stats.engine))
    verify.rebuild(stats.engine)
    assert seen(stats, days=60) == before
    policy = Policy(
        build_metrics_days=1, client_stats_days=1, error_stats_days=1, hourly_rollup_days=1
    )
    retention(stats.engine, policy, NOW.date(), archive_directory=None)
    stats.record(rejected("h1", 2), rejected("h4", 2))  # late
    assert seen(stats, days=60)[""] == (before[""][0] + 2, before[""][1] + 1)


def test_the_upgrade_counts_what_is_there(stats: Stats) -> None:
    fill(stats)
    tables: list[Table] = [rejected_days, UNIQUE_REJECTED.table, CLIENT_UNIQUE_REJECTED.table]
    (migration,) = Path(migrate.__file__).parent.glob("migrations/versions/*_unique_rejections.py")
    names = runpy.run_path(str(migration))
    with write_transaction(stats.engine) as connection:
        before = [sorted(map(tuple, connection.execute(t.select()))) for t in tables]
        for table in tables:
            connection.execute(table.delete())
        for statement in ("_DAYS", "_OF_HASH", "_OF_CLIENT"):
            connection.execute(text(names[statement]))
        after = [sorted(map(tuple, connection.execute(t.select()))) for t in tables]
    assert [[row for row in rows if row[-1] != 0] for rows in before] == after
