"""Files that all workers of a run share: the first worker that needs them creates them."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import order


def made(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a directory that `make` has filled. Other workers wait until it is complete.

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
