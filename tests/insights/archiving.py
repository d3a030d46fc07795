"""Archives details while events about them still arrive."""

from datetime import timedelta

from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from tests.support import NOW, Stats


def archive(stats: Stats, into: str) -> None:
    """Archive all but the newest details: into `tables`, or whole months of them into `files`."""
    in_files = into == "files"
    archive_directory = (
        ArchiveDirectory(stats.settings.spool_path.parent / "archive", "csv.gz")
        if in_files
        else None
    )
    today = NOW.date() + timedelta(days=20 if in_files else 0)
    retention.run(
        stats.engine, Policy(2, 2, 2, 3650, latest=1), today, archive_directory=archive_directory
    )
