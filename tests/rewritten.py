"""Lets workers share the rewriting of assertions, which pytest does once per checkout."""

from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest


def import_part(tests: Path, worker: int, workers: int) -> None:
    """Import the part of the test modules that a worker rewrites for all.

    Pytest keeps the bytecode of a module that it has rewritten. Else each worker would rewrite all
    of them at the same time, which takes as long as everything else before the first test.
    """
    modules = sorted(tests.rglob("test_*.py"), key=lambda path: path.stat().st_size)
    for path in modules[worker::workers]:
        name = ".".join(path.relative_to(tests.parent).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception):  # shown when pytest collects the module
            import_module(name)
