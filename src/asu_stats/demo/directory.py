"""The directory of a demo: one demo at a time uses it, and each starts with new files."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asu_stats.demo import catalogue
from asu_stats.exceptions import AsuStatsError


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Create the directory and lock it for this process. Raises `AsuStatsError`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "demo.lock").open("w")
    except OSError as error:
        raise _unusable(directory, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AsuStatsError(
                f"{directory}: another demo uses this directory; choose another --directory"
            ) from None
        yield


def clear(directory: Path) -> None:
    """Remove the files of an earlier demo, and write the catalogue. Raises `AsuStatsError`."""
    try:
        for name in ("demo.db", "demo.db-wal", "demo.db-shm", "demo.db.lock"):
            (directory / name).unlink(missing_ok=True)
        for name in ("demo.db.spool", "images"):
            shutil.rmtree(directory / name, ignore_errors=True)
        catalogue.write(directory / "catalogue.json")
    except OSError as error:
        raise _unusable(directory, error) from None


def _unusable(directory: Path, error: OSError) -> AsuStatsError:
    return AsuStatsError(f"{error.filename or directory}: {error.strerror}")
