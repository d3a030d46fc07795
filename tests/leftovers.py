"""What a test would leave in its process, where the next one finds it: nothing.

Which tests run in a process, and in which order, differs from run to run.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

# Levels that commands set, and so do tests that run a command in this process.
_LOGGERS: Final = ("", "asu_stats")
# Set by pytest, and by `asu_stats.server.protocol` when it is first imported.
_NOT_WATCHED: Final = {b"PYTEST_CURRENT_TEST", b"WEBSOCKETS_MAX_LINE_LENGTH"}


@contextmanager
def none() -> Iterator[None]:
    """Restore afterwards what a test changes of its process.

    A worker of RQ, for example, sets variables and handlers of signals when it works.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    hook, before = sys.excepthook, _state()
    yield
    sys.excepthook = hook  # typer's for the rest of the process
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    if _state() != before:
        _restore(before)


def _state() -> dict[str, Any]:
    return {
        "environment": _environment(),
        "directory": os.getcwd(),  # noqa: PTH109 - a tenth of the time
        "temporary directory": tempfile.tempdir,
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
    }


def _environment() -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = os.environ._data.copy()  # type: ignore[attr-defined]  # fast
    for name in _NOT_WATCHED:
        found.pop(name, None)
    return found


def _restore(state: dict[str, Any]) -> None:
    for name in os.environb.keys() - state["environment"].keys() - _NOT_WATCHED:
        del os.environb[name]
    os.environb.update(state["environment"])
    os.chdir(state["directory"])
    tempfile.tempdir = state["temporary directory"]
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), state["signals"], strict=True):
        signal.signal(number, handler)
