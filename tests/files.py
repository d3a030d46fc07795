"""Keeps the files of tests in memory where there is room: no test waits for a disk to sync.

An SQLite database syncs at each commit, and a spool at each event. Each sync takes milliseconds,
and 0.1 to 0.2 ms of processor time.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - on Linux; each test has a directory of its own there
ROOM: Final = 4 << 30  # bytes; all tests together take less than half of them
_AVAILABLE: Final = re.compile(r"^MemAvailable: +(\d+) kB$", re.MULTILINE)


def keep_in_memory() -> None:
    """Let this process and those that it starts create their temporary files in memory.

    Not if `TMPDIR` names another place.
    """
    if "TMPDIR" not in os.environ and has_room(MEMORY, Path("/proc/meminfo"), ROOM):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def has_room(directory: Path, meminfo: Path, room: int) -> bool:
    """Return whether a file system in memory has `room` bytes, and the machine twice as many.

    In a container a file system can be larger than the memory.
    """
    try:
        free, found = shutil.disk_usage(directory).free, _AVAILABLE.search(meminfo.read_text())
    except OSError:
        return False
    available = int(found[1]) << 10 if found else 0
    return os.access(directory, os.W_OK) and free >= room and available >= 2 * room
