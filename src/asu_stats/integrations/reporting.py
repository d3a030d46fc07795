"""Shared parts of plug-ins: the emitter from the environment, and the isolation of errors."""

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from asu_stats.emit import Emitter
from asu_stats.exceptions import InvalidSettingError
from asu_stats.logs import Condition

log = logging.getLogger(__name__)

_REQUIRED: Final = ("ASU_STATS_REMOTE_URL", "ASU_STATS_TOKEN", "ASU_STATS_SPOOL_DIRECTORY")
_SOURCE: Final = "ASU_STATS_SOURCE"
_condition = Condition(log, "asu-stats: statistics are incomplete")


@cache
def emitter() -> Emitter | None:
    """Return the emitter of this process, or `None` if the settings are missing or invalid.

    The first call logs the reason. `ASU_STATS_SOURCE` is the source of the events; the default
    contains the host name.
    """
    values = {name: os.environ.get(name, "").strip() for name in _REQUIRED}
    missing = [name for name, value in values.items() if not value]
    if missing:
        log.warning("asu-stats: no events are sent: set %s", ", ".join(missing))
        return None
    try:
        new = Emitter(*values.values(), source=os.environ.get(_SOURCE, "").strip() or None)
    except InvalidSettingError as error:
        log.warning("asu-stats: no events are sent: %s: %s", _REQUIRED[0], error)
        return None
    atexit.register(new.close)
    return new


@contextmanager
def errors_logged(*reraised: type[BaseException]) -> Iterator[None]:
    """Log exceptions of the block instead of raising them, except those of type `reraised`."""
    try:
        yield
    except reraised:
        raise
    except Exception as error:  # statistics must not break a build
        failed(error)


def failed(error: Exception) -> None:
    """Log an error of a plug-in: the first one, then a count every ten minutes."""
    _condition.failed(f"{type(error).__name__}: {error}", exc_info=error)
