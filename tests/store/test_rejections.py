"""Upgrades count distinct rejected hashes, including archived rejections."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from asu_stats.exceptions import MissingArchiveError
from asu_stats.store import migrate
from asu_stats.store.archive import retention, segments
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.blocks import cached
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import rejected_days
from asu_stats.store.rollups.definitions import CLIENT_UNIQUE_REJECTED, UNIQUE_REJECTED
from asu_stats.store.verification import verify
from tests.store.older import back_to
from tests.support import NOW, CloudEvent, Stats, request

TABLES = (rejected_days, UNIQUE_REJECTED.table, CLIENT_UNIQUE_REJECTED.table)


def rejected(request_hash: str, days_ago: int, client: str = "luci/1") -> CloudEvent:
    at = NOW - timedelta(days=days_ago)
    return request(request_hash, at, outcome="rejected", client=client)


def counted(stats: Stats) -> list[list[tuple[Any, ...]]]:
    """Return the days of rejected hashes and their pairs, without pairs that add up to 0."""
    with read_snapshot(stats.engine) as connection:
        rows = [sorted(map(tuple, connection.execute(table.select()))) for table in TABLES]
    return [rows[0], *([row for row in pairs if row[-1]] for pairs in rows[1:])]


@pytest.mark.parametrize("kind", ["csv.gz", "parquet"])
def test_a_hash_rejected_in_files_and_tables_counts_once(
    stats: Stats, kind: Literal["csv.gz", "parquet"], tmp_path: Path
) -> None:
    days = (0, 1, 5, 30, 31, 60, 75)  # those over 20 days ago go to files
    stats.record([rejected("h1", day, client) for day in days for client in ("luci/1", "owut/2")])
    stats.record(rejected("h2", 70), rejected("h2", 2), rejected("h3", 65), request("h1"))
    before, archive_directory = counted(stats), ArchiveDirectory(tmp_path / "archive", kind)
    policy = Policy(20, 20, 20, 30, latest=1)
    assert retention.run(
        stats.engine, policy, NOW.date(), archive_directory=archive_directory
    ).files_written
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0016")
    cached.forget(stats.engine)
    segments._rows.cache_clear()
    migrate.upgrade(stats.engine)

    assert counted(stats) == before
    assert list(verify.differences(stats.engine)) == []
    stats.record(rejected("h1", 45))  # late, between days in files
    assert list(verify.differences(stats.engine)) == []
    assert stats.get("overview", days=90)["totals"]["unique_rejected_requests"] == 3


def test_a_rebuild_counts_files_that_were_missing_during_the_upgrade(
    stats: Stats, tmp_path: Path
) -> None:
    stats.record([rejected("h1", day) for day in (0, 1, 30, 60)])
    stats.record(rejected("h2", 70), rejected("h2", 2), rejected("h3", 65), request("h1"))
    before, directory = counted(stats), tmp_path / "archive"
    policy, archive_directory = (
        Policy(20, 20, 20, 30, latest=1),
        ArchiveDirectory(directory, "csv.gz"),
    )
    assert retention.run(
        stats.engine, policy, NOW.date(), archive_directory=archive_directory
    ).files_written
    with write_transaction(stats.engine) as connection:
        back_to(connection, "0016")
    directory.rename(tmp_path / "elsewhere")
    segments._rows.cache_clear()
    migrate.upgrade(stats.engine)
    with pytest.raises(MissingArchiveError):
        verify.rebuild(stats.engine)
    (tmp_path / "elsewhere").rename(directory)

    assert list(verify.differences(stats.engine)) != []
    verify.rebuild(stats.engine)
    assert list(verify.differences(stats.engine)) == []
    assert counted(stats) == before
    assert stats.get("overview", days=90)["totals"]["unique_rejected_requests"] == 3
