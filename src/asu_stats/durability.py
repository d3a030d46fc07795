"""Syncs files and directories to disk: without it, a power failure may take what was written.

A file that was created or renamed is there for good once its directory was synced.
"""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Write the entries of a directory to disk. Raises `OSError`."""
    _sync(directory)


def sync_tree(directory: Path) -> None:
    """Write a directory with the files below it, and its own name, to disk. Raises `OSError`."""
    for parent, _, names in os.walk(directory):
        for path in map(Path(parent).joinpath, names):
            if path.is_file() and not path.is_symlink():
                _sync(path)
        _sync(Path(parent))
    _sync(directory.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
