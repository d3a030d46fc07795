"""What is slow to make and the same for all workers of a run: the first one makes it."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import order


def made(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a directory that `make` has filled; others wait meanwhile.

    If `make` fails, the next worker tries it again.
    """
    base = factory.getbasetemp()
    shared = base.parent if order.workers() > 1 else base
    directory, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            directory.mkdir(exist_ok=True)
            make(directory)
            done.touch()
    return directory
