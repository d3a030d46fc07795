"""Syncs directories to disk: without it, a file that was created or renamed may be lost."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Write the entries of a directory to disk. Raises `OSError`."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
